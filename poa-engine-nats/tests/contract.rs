//! The engine keeps the contract of engines, on the cluster that tests share.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use common::{prefix, shared};
use poa_core::engine_factory;
use poa_engine_nats::Nats;
use poa_testkit::EngineContract;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    EngineContract::new(|| {
        let mut config = shared(&prefix());
        config.node = Some("subject".to_owned());
        // After a crash, the next node waits for it.
        config.lease = poa_core::config::Duration::from_secs(3);
        engine_factory::<Nats>(config)
    })
    .check()
    .await;
}
