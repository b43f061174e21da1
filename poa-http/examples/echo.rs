//! A WebSocket server that says everything back: what the Autobahn test suite talks to.
//!
//! `cargo run -p poa-http --example echo -- 127.0.0.1:9001`

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use poa_core::BuildContext;
use poa_http::websocket::{CloseCode, Message, Options, WebSocket, upgrade};
use poa_http::{Body, Limits, Server};
use tokio_util::sync::CancellationToken;

/// The suite sends messages of up to 16 MiB.
const MAX_MESSAGE: usize = 32 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr: SocketAddr = std::env::args().nth(1).ok_or("give an address to listen on")?.parse()?;
    let cx = BuildContext::detached("echo", std::env::temp_dir());
    let server = Server::bind(addr, None, Limits::default(), &cx)?;
    println!("{}", server.local_addr());
    server.serve(service_fn(answer), CancellationToken::new()).await;
    Ok(())
}

async fn answer(mut request: Request<Body>) -> Result<Response<Full<Bytes>>, Infallible> {
    let options = Options::default().max_message(MAX_MESSAGE);
    Ok(match upgrade(&mut request, &options, echo) {
        Ok(switching) => switching.map(|()| Full::default()),
        Err(refused) => refused.answer().map(Full::from),
    })
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.next().await {
        if matches!(message, Message::Text(_) | Message::Binary(_))
            && socket.send(message).await.is_err()
        {
            break;
        }
    }
    socket.close_with(CloseCode::NORMAL, "").await;
}
