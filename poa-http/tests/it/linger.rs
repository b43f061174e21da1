//! Clients that write everything before they read anything must still get the response.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use poa_core::MemoryBudget;
use poa_http::{Limits, Tls};
use tokio_rustls::rustls;

use crate::support::{soon, start, start_with};

const SIZE: usize = 20_000_000;

fn upload(stream: &mut (impl std::io::Read + std::io::Write), path: &str) -> String {
    write!(stream, "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {SIZE}\r\n\r\n").unwrap();
    for _ in 0..SIZE / 100_000 {
        stream.write_all(&[b'x'; 100_000]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

async fn plain_upload(addr: SocketAddr, path: &'static str) -> String {
    let upload =
        tokio::task::spawn_blocking(move || upload(&mut TcpStream::connect(addr).unwrap(), path));
    soon(upload).await.unwrap()
}

#[tokio::test]
async fn the_response_to_a_large_refused_body_arrives() {
    let server = start(Limits::default());
    for _ in 0..5 {
        let answer = plain_upload(server.addr, "/refuse").await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        let answer = plain_upload(server.addr, "/echo").await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
}

#[tokio::test]
async fn the_response_to_a_large_refused_body_arrives_over_tls() {
    let server = start_with(Limits::default(), Some(&Tls::SelfSigned), MemoryBudget::new(1 << 30));
    let config = crate::tls::client_config(
        &server.dir.path().join("test.cert.pem"),
        &rustls::version::TLS13,
    );
    let addr = server.addr;
    let upload = tokio::task::spawn_blocking(move || {
        let name = "localhost".try_into().unwrap();
        let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = rustls::StreamOwned::new(session, TcpStream::connect(addr).unwrap());
        upload(&mut stream, "/refuse")
    });
    let answer = soon(upload).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_never_stops_sending_is_cut_off() {
    let server = start(Limits::default());
    let addr = server.addr;
    let flood = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream
            .write_all(b"POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999\r\n\r\n")
            .unwrap();
        let mut sent = 0_u64;
        while stream.write_all(&[0; 100_000]).is_ok() {
            sent += 100_000;
        }
        let mut answer = [0; 12];
        (sent, stream.read(&mut answer))
    });
    let (sent, _) = soon(flood).await.unwrap();
    assert!((32_000_000..64_000_000).contains(&sent), "{sent}");
}
