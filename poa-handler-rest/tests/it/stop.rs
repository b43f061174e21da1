use poa_core::Ack;

use crate::support::{any_port, metric, request, soon, start_with};

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_stop() {
    let server = start_with(any_port(), |host| host.ack(Ack::Delivered), 64 << 20).await;
    let mut idle = server.client().await;
    assert_eq!(idle.post("/ping", r#"{"id":"a"}"#).await.status, 200);
    server.open.send(false).unwrap();
    let mut busy = server.client().await;
    let head_and_half = request("valid", "/data", "application/json", metric("b", "{}").as_bytes());
    let (most, rest) = head_and_half.split_at(head_and_half.len() - 5);
    busy.send(most).await;
    // Once this is answered, everything sent before it has been read.
    assert_eq!(idle.post("/ping", r#"{"id":"a"}"#).await.status, 200);

    let addr = server.addr;
    let stopped = tokio::spawn(server.host.stop());
    assert_eq!(idle.end().await, "");
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    busy.send(rest).await;
    server.open.send(true).unwrap();
    let answer = busy.answer().await;
    assert_eq!(answer.status, 200);
    assert!(answer.has("connection: close"), "{}", answer.head);
    assert!(soon(stopped).await.unwrap().is_clean());
}
