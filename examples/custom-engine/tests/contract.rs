//! The engine keeps the contract, and its quota.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use custom_engine::{Quota, QuotaConfig};
use poa_core::config::Duration;
use poa_core::{AgentId, Draft, Host, HostHandle, Payload, ReceiverOptions, Refused};
use poa_testkit::{EngineContract, Recording, engine_factory};
use serde_json::json;

fn quota(messages: u64, period: Duration) -> QuotaConfig {
    QuotaConfig { messages, period, log: Default::default() }
}

#[tokio::test]
async fn keeps_the_contract_of_engines() {
    let config = || quota(u64::MAX, Duration::from_secs(3600));
    EngineContract::new(move || engine_factory::<Quota>(config())).check().await;
}

fn draft(host: &HostHandle) -> Draft {
    let data_type = host.data_types().get("pumps").unwrap().clone();
    let data = Payload::json(&json!({"flow": 1.5})).unwrap();
    Draft::new(AgentId::new("pump-7").unwrap(), data_type, data)
}

#[tokio::test]
async fn refuses_messages_above_the_quota() {
    let (recording, data_dir) = (Recording::new(), std::env::temp_dir());
    let data_dir = data_dir.join(format!("custom-engine-{}", std::process::id()));
    let host = Host::builder()
        .data_dir(&data_dir)
        .data_types(["pumps"])
        .engine::<Quota>("quota", quota(2, Duration::from_secs(3600)))
        .receiver_from("seen", ReceiverOptions::subscribe(["pumps"]), recording.factory())
        .start()
        .await
        .unwrap();
    let handle = host.handle();
    for _ in 0..2 {
        handle.send_to_receivers(draft(&handle)).unwrap().await.unwrap();
    }
    let refused = handle.send_to_receivers(draft(&handle)).unwrap_err();
    let used_up = "the quota of 2 messages in 1h is used up";
    assert_eq!(*refused.reason(), Refused::Unavailable(used_up.into()));
    assert!(refused.is_transient());
    assert_eq!(recording.messages(2).await.len(), 2);
    assert!(host.stop().await.is_clean());
    std::fs::remove_dir_all(data_dir).unwrap();
}
