//! The contract of all handlers: a positive answer to a change means that its message was delivered.

use std::sync::atomic::{AtomicUsize, Ordering};

use poa_handler_leviathan::Networks;
use poa_testkit::{handler_contract, handler_factory};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::config;

/// Adds a container that was never there; whether the answer is positive.
async fn add(endpoints: &[String], container: usize) -> std::io::Result<bool> {
    let address = endpoints[0].trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "PUT /host/host1/c{container}/cen1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200 "))
}

#[tokio::test]
async fn honours_the_handler_contract() {
    let factory = handler_factory::<Networks>(config("events = \"system_metrics\""));
    let count = AtomicUsize::new(0);
    handler_contract(factory, async |endpoints| {
        let container = count.fetch_add(1, Ordering::SeqCst);
        add(endpoints, container).await.unwrap_or(false)
    })
    .await;
}
