use poa_core::MemoryBudget;
use poa_http::Limits;

use crate::support::{start, start_with};

#[tokio::test]
async fn bodies_share_a_budget_and_return_it() {
    let server = start_with(Limits::default(), None, MemoryBudget::new(100_000));
    let mut one = server.client().await;
    let mut two = server.client().await;
    one.send(format!(
        "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 80000\r\n\r\n{}",
        "x".repeat(70_000)
    ))
    .await;
    // A small request shows that the first is in flight: its bytes arrived earlier, on the same
    // runtime thread.
    while server.shared.memory.used() < 70_000 {
        tokio::task::yield_now().await;
    }
    let refused = two.post("/echo", &"y".repeat(50_000)).await;
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (503, "too much is being received at once; try again later")
    );
    one.send("x".repeat(10_000)).await;
    assert_eq!(one.answer().await.body.len(), 80_000);
    assert_eq!(server.shared.memory.used(), 0);
}

#[tokio::test]
async fn announced_bytes_that_are_never_sent_cost_nothing() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\nxxxx").await;
    while server.shared.memory.used() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.shared.memory.used(), 4);
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let server = start(Limits::default());
    let mut client = server.client().await;
    let body: String = (0..7_000_000 / 8).map(|n| format!("{n:08}")).collect();
    assert!(client.post("/echo", &body).await.body == body);
    let mut chunked =
        String::from("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    for part in body.as_bytes().chunks(99_999) {
        chunked += &format!("{:x}\r\n{}\r\n", part.len(), std::str::from_utf8(part).unwrap());
    }
    chunked += "0\r\n\r\n";
    client.send(chunked).await;
    assert!(client.answer().await.body == body);
    assert_eq!(server.shared.memory.used(), 0);
}
