//! Prints the messages of the handler until Ctrl-C: `cargo run --example listen`, and in another window
//! `echo 'pump-7 system_metrics {"cpu_load": 1.5}' | nc -N 127.0.0.1 4010`. An argument sets another address.

use custom_handler::{Config, Lines};
use poa_core::{
    Ack, BuildContext, BuildError, DeliveryError, Host, Message, Plugin, Receiver, ReceiverOptions,
    async_trait,
};

/// Prints each message.
struct Print;

#[async_trait]
impl Plugin for Print {
    type Config = ();

    async fn build(_: (), _: &BuildContext) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

#[async_trait]
impl Receiver for Print {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        for message in batch {
            let data = message.payload().to_json().map_err(DeliveryError::permanent)?;
            println!("{} {} {data}", message.agent_id(), message.data_type().name());
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4010".to_owned());
    let config = Config { listen: listen.parse()? };
    let host = Host::builder()
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .data_types(["system_metrics"])
        .ack(Ack::Delivered)
        .handler::<Lines>("demo", config)
        .receiver::<Print>("print", ReceiverOptions::subscribe(["system_metrics"]), ())
        .start()
        .await?;
    let plugins = host.handle().status().plugins;
    println!("listening on {}; stop it with Ctrl-C", plugins[0].endpoints.join(" "));
    tokio::signal::ctrl_c().await?;
    host.stop().await;
    Ok(())
}
