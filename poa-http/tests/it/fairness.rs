//! Limits on what one client can take from others.

use poa_core::MemoryBudget;
use poa_core::config::Duration;
use poa_http::{Limits, ShareLimits, Shares};

use crate::support::{limits, start, start_sharing};

const POOL: u64 = 400_000;

/// One user sends bodies and never completes them. The others still have memory for theirs.
#[tokio::test]
async fn one_user_cannot_hold_the_memory_of_all() {
    let shares = Shares::new(POOL, ShareLimits::default(), ShareLimits::default());
    let memory = MemoryBudget::new(2 * POOL);
    let server = start_sharing(Limits::default(), None, memory, shares.clone());
    let mut held = Vec::new();
    loop {
        let mut mallory = server.client().await;
        let before = shares.held();
        let head = "POST /as-mallory HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n";
        mallory.send(format!("{head}{}", "x".repeat(50_000))).await;
        // Either the bytes are taken, or the request is refused.
        let refused = tokio::select! {
            answer = mallory.answer() => Some(answer),
            () = async { while shares.held() < before + 50_000 { tokio::task::yield_now().await } } => None,
        };
        match refused {
            None => held.push(mallory),
            Some(answer) => {
                assert_eq!(answer.status, 429, "{}", answer.body);
                break;
            }
        }
    }
    assert!(shares.held() <= POOL / 2, "{}", shares.held());
    let mut other = server.client().await;
    assert_eq!(other.post("/echo", &"y".repeat(60_000)).await.status, 200);
    assert_eq!(other.post("/echo", "small").await.status, 200);
}

/// Unknown clients open connections and never send a whole request. A client that sends one is admitted, and those that did
/// before stay.
#[tokio::test]
async fn connections_without_a_completed_request_are_closed_first() {
    let server = start(limits(|limits| {
        limits.max_connections = 8;
        limits.header_timeout = Duration::from_secs(3600);
        limits.idle_timeout = Duration::from_secs(3600);
    }));
    let mut known = server.client().await;
    assert_eq!(known.post("/echo", "x").await.status, 200);
    let mut strangers = Vec::new();
    for _ in 0..40 {
        let mut stranger = server.client().await;
        stranger.send("P").await;
        strangers.push(stranger);
    }
    for _ in 0..10 {
        let mut fresh = server.client().await;
        assert_eq!(fresh.post("/echo", "fresh").await.status, 200);
    }
    assert_eq!(known.post("/echo", "still there").await.body, "still there");
}
