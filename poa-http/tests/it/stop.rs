use poa_http::Limits;

use crate::support::{post, soon, start};

#[tokio::test]
async fn idle_connections_close_and_requests_finish() {
    let server = start(Limits::default());
    let mut fresh = server.client().await;
    let mut idle = server.client().await;
    assert_eq!(idle.post("/echo", "x").await.status, 200);
    let mut busy = server.client().await;
    busy.send(post("/gate", "")).await;
    soon(server.shared.arrived.notified()).await;

    server.shutdown.cancel();
    assert_eq!(fresh.end().await, "");
    assert_eq!(idle.end().await, "");
    assert!(tokio::net::TcpStream::connect(server.addr).await.is_err(), "nothing listens");
    assert!(!server.task.is_finished());

    server.shared.gate.notify_one();
    let answer = busy.answer().await;
    assert_eq!(answer.body, "passed");
    assert!(answer.has("connection: close"), "{}", answer.head);
    soon(server.task).await.unwrap();
    assert_eq!(busy.end().await, "");
}

#[tokio::test]
async fn a_body_in_transit_is_still_accepted() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    client
        .send("POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 100);
    server.shutdown.cancel();
    client.send("late").await;
    assert_eq!(client.answer().await.body, "late");
    soon(server.task).await.unwrap();
}

#[tokio::test]
async fn a_dropped_future_drops_its_connections() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    client.send(post("/gate", "")).await;
    soon(server.shared.arrived.notified()).await;
    server.task.abort();
    assert_eq!(client.end().await, "");
    assert!(server.counts(r#"poa_http_connections{handler="test"} 0"#));
}
