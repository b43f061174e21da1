//! A reading goes through the service, the host and a receiver, and back.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_reading_that_was_taken_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (routes, host) = embed_axum::service(dir.path()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });

    let ask = |method: &'static str, sensor: &'static str, body: &'static str| {
        ask(address.clone(), method, sensor, body)
    };
    assert!(ask("GET", "kitchen", "").await.starts_with("HTTP/1.1 404"));
    let taken = ask("POST", "kitchen", r#"{"celsius":21.5}"#).await;
    assert!(taken.starts_with("HTTP/1.1 201"), "{taken}");
    let shown = ask("GET", "kitchen", "").await;
    assert!(shown.starts_with("HTTP/1.1 200") && shown.ends_with(r#"{"celsius":21.5}"#), "{shown}");
    assert!(ask("POST", "kitchen", "[1]").await.starts_with("HTTP/1.1 422"));

    let stopped = host.stop().await;
    assert!(stopped.is_clean(), "{stopped:?}");
    let refused = ask("POST", "kitchen", r#"{"celsius":0}"#).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    server.abort();
}

async fn ask(address: String, method: &str, sensor: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} /readings/{sensor} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
