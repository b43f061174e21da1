use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use poa_auth::{Auth, AuthConfig, NewUser};
use poa_core::auth::Authenticator as _;
use poa_core::{
    Ack, BuildContext, DeliveryError, Host, Message, Receiver, ReceiverFactory, ReceiverOptions,
};
use poa_handler_ws::{Config, Ws};

use super::idle::raise_file_limit;
use crate::Failure;
use crate::process::scratch;

const TYPES: [&str; 3] = ["ethereum_metrics", "networking_metrics", "system_metrics"];

/// Reads its messages.
struct Discard;

#[async_trait]
impl Receiver for Discard {
    async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
        Ok(())
    }
}

/// The WebSocket handler in its default configuration, until stdin closes.
pub(crate) async fn serve() -> Result<(), Failure> {
    raise_file_limit()?;
    let dir = scratch()?;
    let auth = Auth::open(AuthConfig::default(), dir.path())?;
    let user = auth.add_user(NewUser::default()).await?;
    let token = auth.login(&user.user, user.password.expose()).await?;
    let discard: ReceiverFactory =
        Arc::new(|_: &BuildContext| Box::pin(async { Ok(Box::new(Discard) as Box<dyn Receiver>) }));
    let mut config = Config::listen((Ipv4Addr::LOCALHOST, 0));
    config.limits.max_connections = 20_000;
    let host = Host::builder()
        .data_types(TYPES)
        .data_dir(dir.path())
        .engine::<poa_engine_local::Log>("log", Default::default())
        .ack(Ack::Stored)
        .authenticator(Arc::new(auth))
        .handler::<Ws>("ws", config)
        .receiver_from("discard", ReceiverOptions::subscribe(TYPES), discard)
        .start()
        .await?;
    let status = host.handle().status();
    let handler = status.plugins.iter().find(|plugin| plugin.name == "ws");
    let endpoint = handler.and_then(|plugin| plugin.endpoints.first()).ok_or("no endpoint")?;
    let address = endpoint.trim_start_matches("ws://").trim_end_matches("/ws");
    println!("{address} {token}");
    // The parent closes stdin when it is done with this server.
    tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await??;
    host.stop().await;
    Ok(())
}
