//! A handler for poa hosts that speaks a line protocol over TCP.
//!
//! Each line is `agent type json`, such as `pump-7 system_metrics {"cpu_load": 1.5}`. The answer is a line as well: `ok`
//! once the message has reached the host's `ack` level, or `error: …`. Try it with `nc 127.0.0.1 4010`.
//!
//! A handler consists of a configuration, [`Plugin`] to build it, and [`CustomHandler`] to run it. A program adds it
//! to a registry, and then `kind = "lines"` works in its configuration file:
//!
//! ```
//! let registry = poa_core::Registry::new().handler::<custom_handler::Lines>("lines");
//! assert!(registry.handlers().contains_key("lines"));
//! ```

use std::net::SocketAddr;

use poa_core::{
    AgentId, BoxError, BuildContext, BuildError, CustomHandler, Draft, Format, HandlerContext,
    Payload, Plugin, PluginError, async_trait,
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
    /// The address to listen on. Every client that reaches it can send for every agent, so keep it on loopback.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
}

/// The longest line, including its end. Everything that a client can make grow has a limit.
const LONGEST: u64 = 64 << 10;
/// The most concurrent connections; further ones wait.
const CONNECTIONS: usize = 1000;

/// Accepts lines over TCP.
#[derive(Debug)]
pub struct Lines {
    listener: TcpListener,
}

#[async_trait]
impl Plugin for Lines {
    type Config = Config;

    /// Your own: bind, so that a port in use is reported before anything runs. It spawns nothing; `run` does.
    async fn build(config: Config, _: &BuildContext) -> Result<Self, BuildError> {
        let at = config.listen;
        let listener = TcpListener::bind(at).await;
        let failed =
            |error| BuildError::failed(format!("cannot listen on {at}")).with_source(error);
        Ok(Self { listener: listener.map_err(failed)? })
    }
}

#[async_trait]
impl CustomHandler for Lines {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        // A set that is dropped aborts its tasks, so none outlives the handler.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = cx.shutdown().cancelled() => break,
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => {
                    let (stream, _) = accepted.map_err(|e| PluginError::new("cannot accept").with_source(e))?;
                    connections.spawn(serve(stream, cx.clone()));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        // Accept no new connections, answer the requests accepted so far.
        while connections.join_next().await.is_some() {}
        Ok(())
    }

    fn endpoints(&self) -> Vec<String> {
        self.listener.local_addr().map(|at| format!("tcp://{at}")).into_iter().collect()
    }
}

/// Your own: the protocol. Serves one connection until it ends, breaks, or the host stops. A broken connection does not affect
/// others.
async fn serve(stream: TcpStream, cx: HandlerContext) {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    let mut line = String::new();
    loop {
        line.clear();
        let mut bounded = (&mut input).take(LONGEST);
        let read = tokio::select! {
            () = cx.shutdown().cancelled() => return,
            read = bounded.read_line(&mut line) => read,
        };
        if read.is_err() || !line.ends_with('\n') {
            return;
        }
        let answer = match take(line.trim_end(), &cx).await {
            Ok(()) => "ok\n".to_owned(),
            Err(error) => format!("error: {error}\n"),
        };
        if output.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Your own: converts a line to a message. Sends it to the receivers, and waits until it is acknowledged.
async fn take(line: &str, cx: &HandlerContext) -> Result<(), BoxError> {
    let mut parts = line.splitn(3, ' ');
    let (Some(agent), Some(kind), Some(json)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("a line is `agent type json`".into());
    };
    let data_type = cx.data_types().get(kind).ok_or("unknown type")?;
    // The host relies on handlers to accept only well-formed objects.
    serde_json::from_str::<Map<String, Value>>(json)?;
    let data = Payload::new(Format::Json, json.to_owned().into());
    let message = Draft::new(AgentId::new(agent)?, data_type.clone(), data);
    cx.send_to_receivers(message)?.await?;
    Ok(())
}
