use poa_core::config::Duration;

use crate::support::{limits, post, soon, start};

#[tokio::test]
async fn the_connection_idle_longest_is_closed() {
    let server = start(limits(|limits| {
        limits.max_connections = 2;
        limits.idle_timeout = Duration::from_secs(3600);
    }));
    let mut older = server.client().await;
    assert_eq!(older.post("/echo", "x").await.status, 200);
    let mut newer = server.client().await;
    assert_eq!(newer.post("/echo", "x").await.status, 200);
    let mut third = server.client().await;
    assert_eq!(third.post("/echo", "x").await.status, 200);
    assert_eq!(older.end().await, "");
    assert_eq!(newer.post("/echo", "x").await.status, 200);
    assert!(server.counts(r#"poa_http_connections{handler="test"} 2"#));
    assert!(server.counts(r#"poa_http_connections_gave_way_total{handler="test"} 1"#));
}

#[tokio::test]
async fn when_none_is_idle_a_new_connection_waits() {
    let server = start(limits(|limits| limits.max_connections = 1));
    let mut busy = server.client().await;
    busy.send(post("/gate", "")).await;
    soon(server.shared.arrived.notified()).await;

    let mut waiting = server.client().await;
    waiting.send(post("/echo", "x")).await;
    server.shared.gate.notify_one();
    assert_eq!(busy.answer().await.body, "passed");
    // It is idle now, and is closed.
    assert_eq!(waiting.answer().await.body, "x");
    assert_eq!(busy.end().await, "");
}
