//! Delivers three messages through a host, and shows what was stored: `cargo run --example deliver`.

use custom_receiver::{Config, JsonLines};
use poa_core::{Ack, AgentId, Draft, Host, Payload, ReceiverOptions};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config { path: "messages.jsonl".into() };
    let host = Host::builder()
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .data_dir("poa-data")
        .data_types(["system_metrics"])
        .ack(Ack::Delivered)
        .receiver::<JsonLines>("demo", ReceiverOptions::subscribe(["system_metrics"]), config)
        .start()
        .await?;
    let handle = host.handle();
    let data_type = handle.data_types().get("system_metrics").ok_or("declared above")?;
    for load in [1.5, 2.5, 3.5] {
        let data = Payload::json(&json!({"cpu_load": load}))?;
        let message = Draft::new(AgentId::new("pump-7")?, data_type.clone(), data);
        // With `Ack::Delivered` this is good once the receiver has confirmed the message.
        handle.send_to_receivers(message)?.await?;
    }
    host.stop().await;
    print!("{}", std::fs::read_to_string("poa-data/messages.jsonl")?);
    Ok(())
}
