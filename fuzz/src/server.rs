//! A listener on loopback, to be sent anything. A panic in one of its tasks ends the fuzzer.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use poa_core::{BuildContext, MemoryBudget};
use poa_http::websocket::{CloseCode, Message, Options, WebSocket, upgrade};
use poa_http::{Body, Encoding, Limits, Server};
use tokio_util::sync::CancellationToken;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends bytes over a connection of their own, stops sending, and returns everything the server says.
pub fn exchange(parts: &[&[u8]]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address()).expect("the listener is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time that is not zero");
    // The server may close the connection first.
    for part in parts {
        let _ = stream.write_all(part);
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return said,
            Ok(count) => said.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("the server said nothing for {PATIENCE:?}")
            }
            Err(_) => return said,
        }
    }
}

/// A write to a connection that the other side has closed fails, and does not end the process. The runtime of Rust sees to that where
/// `main` is written in Rust, which that of libFuzzer is not.
fn ignore_closed_connections() {
    const SIGPIPE: i32 = 13;
    const IGNORE: usize = 1;
    unsafe extern "C" {
        fn signal(number: i32, handler: usize) -> usize;
    }
    // SAFETY: the function of the C library with its own types; to ignore a signal runs no code.
    unsafe { signal(SIGPIPE, IGNORE) };
}

fn address() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        ignore_closed_connections();
        let (told, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(serve(&told));
        });
        address.recv().expect("the listener is bound")
    })
}

async fn serve(told: &std::sync::mpsc::Sender<SocketAddr>) {
    let cx = BuildContext::detached("fuzz", std::env::temp_dir());
    let listen = ([127, 0, 0, 1], 0);
    let server = Server::bind(listen, None, Limits::default(), &cx).expect("a free port");
    told.send(server.local_addr()).expect("the caller waits for it");
    let memory = MemoryBudget::new(64 << 20);
    let service = service_fn(move |request| {
        let memory = memory.clone();
        async move { Ok::<_, Infallible>(answer(request, &memory).await) }
    });
    server.serve(service, CancellationToken::new()).await;
}

async fn answer(mut request: Request<Body>, memory: &MemoryBudget) -> Response<Full<Bytes>> {
    if request.uri().path() == "/ws" {
        let options = Options::default().memory(memory.clone());
        return match upgrade(&mut request, &options, echo) {
            Ok(switching) => switching.map(|()| Full::default()),
            Err(refused) => refused.answer().map(Full::from),
        };
    }
    let encoding = Encoding::of(request.headers()).unwrap_or(Encoding::Identity);
    match request.into_body().read_as(encoding, memory).await {
        Ok(body) => Response::new(Full::from(body.keep(0..body.len()))),
        Err(error) => {
            let mut answer = Response::new(Full::from(error.to_string()));
            *answer.status_mut() = error.status();
            answer
        }
    }
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
