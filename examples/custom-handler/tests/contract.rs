//! The handler contract.

use std::io;

use custom_handler::{Config, Lines};
use poa_testkit::{handler_contract, handler_factory};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Your own: sends a message. Returns whether the answer was positive.
async fn send(endpoints: &[String]) -> io::Result<bool> {
    let address = endpoints.first().map_or("", |endpoint| endpoint.trim_start_matches("tcp://"));
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    stream.write_all(b"pump-7 system_metrics {\"cpu_load\": 1.5}\n").await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    Ok(answer == "ok\n")
}

#[tokio::test]
async fn honours_the_handler_contract() {
    let config = Config { listen: ([127, 0, 0, 1], 0).into() };
    let factory = handler_factory::<Lines>(config);
    handler_contract(factory, async |endpoints| send(endpoints).await.unwrap_or(false)).await;
}
