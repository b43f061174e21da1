//! poa as an operator gets it: the REST handler, tokens of poa-auth, one receiver.

use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use poa_auth::{Auth, AuthConfig, NewUser};
use poa_core::auth::Authenticator as _;
use poa_core::{
    Ack, BuildContext, DeliveryError, Host, Message, Receiver, ReceiverFactory, ReceiverOptions,
};
use poa_handler_rest::{Config, Rest};

use super::{TYPES, announce};
use crate::Failure;
use crate::engine::Engine;
use crate::process::scratch;

/// Reads its messages, like the yardstick's consumer.
struct Discard;

#[async_trait]
impl Receiver for Discard {
    async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
        Ok(())
    }
}

pub(super) async fn serve(engine: Engine, ack: Ack) -> Result<(), Failure> {
    let dir = scratch()?;
    let auth = Auth::open(AuthConfig::default(), dir.path())?;
    let user = auth.add_user(NewUser::default()).await?;
    let token = auth.login(&user.user, user.password.expose()).await?;
    let discard: ReceiverFactory =
        Arc::new(|_: &BuildContext| Box::pin(async { Ok(Box::new(Discard) as Box<dyn Receiver>) }));
    let host = Host::builder()
        .data_types(TYPES)
        .data_dir(dir.path())
        .engine_from(engine.name(), engine.factory())
        .ack(ack)
        .authenticator(Arc::new(auth))
        .handler::<Rest>("rest", Config::listen((Ipv4Addr::LOCALHOST, 0)))
        .receiver_from("discard", ReceiverOptions::subscribe(TYPES), discard)
        .start()
        .await?;
    let status = host.handle().status();
    let endpoints = status.plugins.iter().find(|plugin| plugin.name == "rest");
    let endpoint = endpoints.and_then(|plugin| plugin.endpoints.first()).ok_or("no endpoint")?;
    announce(endpoint.trim_start_matches("http://"), &token);
    // The parent closes stdin when it is done with this server.
    tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await??;
    host.stop().await;
    Ok(())
}
