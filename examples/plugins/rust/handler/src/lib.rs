//! A handler in a shared library, by example: one that takes lines over TCP.
//!
//! Each line is `token agent type key json`, and is answered by a line: `ok` once the message is as safe as the host's `ack`
//! promises, `later` when the same line may work later, `no: …` when it never will. The key tells a line that is sent again
//! from a new one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use poa_plugin::poa_core::auth::Authenticator;
use poa_plugin::poa_core::{
    AgentId, BoxError, BuildContext, BuildError, CustomHandler, Draft, Format, HandlerContext,
    IdempotencyKey, Payload, Plugin, PluginError, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The configuration section. These comments become the documentation of the keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address to listen on.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Accepts messages for every agent without a token: for networks that you trust.
    #[serde(default)]
    pub anonymous: bool,
}

/// The longest line, its end included. Whatever a stranger can make grow has a bound.
const LONGEST: u64 = 64 << 10;
/// The most connections at once; further ones wait.
const CONNECTIONS: usize = 1000;
/// How long a line may take, once it has begun.
const PATIENCE: Duration = Duration::from_secs(60);

/// Accepts lines over TCP.
struct Tcp {
    listener: TcpListener,
    anonymous: bool,
}

#[async_trait]
impl Plugin for Tcp {
    type Config = Config;

    /// Binds, so that a port in use is found before anything runs. It spawns nothing: that is for `run`.
    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        if !config.anonymous && !cx.has_authenticator() {
            let message = "no authenticator is configured; add [auth], or set `anonymous`";
            return Err(BuildError::failed(message));
        }
        let at = config.listen;
        let failed =
            |error| BuildError::failed(format!("cannot listen on {at}")).with_source(error);
        let listener = TcpListener::bind(at).await.map_err(failed)?;
        Ok(Self { listener, anonymous: config.anonymous })
    }
}

#[async_trait]
impl CustomHandler for Tcp {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        tracing::info!("listening");
        // A set that is dropped ends its tasks, so nothing outlives the handler.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = cx.shutdown().cancelled() => break,
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => {
                    let (stream, _) = accepted.map_err(|e| PluginError::new("cannot accept").with_source(e))?;
                    connections.spawn(serve(stream, cx.clone(), self.anonymous));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        // Accept nothing new, answer what was taken.
        while connections.join_next().await.is_some() {}
        Ok(())
    }

    fn endpoints(&self) -> Vec<String> {
        self.listener.local_addr().map(|at| format!("tcp://{at}")).into_iter().collect()
    }
}

/// Serves one connection until it ends, breaks, or the host stops. A broken connection does not affect others.
async fn serve(stream: TcpStream, cx: HandlerContext, anonymous: bool) {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    let mut line = String::new();
    loop {
        line.clear();
        let mut bounded = (&mut input).take(LONGEST);
        let read = tokio::select! {
            () = cx.shutdown().cancelled() => return,
            read = tokio::time::timeout(PATIENCE, bounded.read_line(&mut line)) => read,
        };
        if !matches!(read, Ok(Ok(_))) || !line.ends_with('\n') {
            return;
        }
        let answer = match draft(line.trim_end(), &cx, anonymous) {
            Ok(draft) => send(draft, &cx).await,
            Err(error) => format!("no: {error}\n"),
        };
        if output.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Converts a line to a message, if its sender may send for its agent.
fn draft(line: &str, cx: &HandlerContext, anonymous: bool) -> Result<Draft, BoxError> {
    let parts: Vec<_> = line.splitn(5, ' ').collect();
    let [token, agent, kind, key, json] = parts[..] else {
        return Err("a line is `token agent type key json`".into());
    };
    if !anonymous {
        let authenticator: &Arc<dyn Authenticator> =
            cx.authenticator().ok_or("no authenticator")?;
        if !authenticator.verify(token)?.may_speak_for(agent) {
            return Err("not your agent".into());
        }
    }
    let data_type = cx.data_types().get(kind).ok_or("unknown type")?;
    // The host relies on handlers to let only well-formed objects in.
    serde_json::from_str::<Map<String, Value>>(json)?;
    let agent = AgentId::new(agent)?;
    let key = IdempotencyKey::new(&agent, key)?;
    cx.activity().ping(&agent);
    let data = Payload::new(Format::Json, json.to_owned().into());
    Ok(Draft::new(agent, data_type.clone(), data).with_idempotency_key(key))
}

/// Gives one message to the receivers, and waits until it is as safe as it is to be.
async fn send(draft: Draft, cx: &HandlerContext) -> String {
    match cx.send_to_receivers(draft) {
        Ok(receipt) => match receipt.await {
            Ok(()) => "ok\n".to_owned(),
            Err(_) => "later\n".to_owned(),
        },
        Err(_) => "later\n".to_owned(),
    }
}

poa_plugin::export! {
    threads: 1,
    handlers: { "tcp" => Tcp },
}
