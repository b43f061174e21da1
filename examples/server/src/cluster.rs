//! The cluster, from the command line. Asks the NATS servers of the configuration; no node needs to run.

use std::sync::{Arc, OnceLock};

use poa_core::config::Problem;
use poa_core::engine::Engine;
use poa_core::{BuildError, Factory, Kind, Timestamp};
use poa_engine_nats::{Admin, Config, Nats, ReceiverState, StreamStatus};
use poa_host::Source;
use serde_json::{Value, json};

use crate::cli::{Cluster, Receivers};
use crate::failure::Failure;
use crate::output::say;
use crate::registry::{ENGINE_NATS, plugins, registry};

/// Lists or forgets receivers.
pub(crate) async fn receivers(command: Receivers, source: Source) -> Result<u8, Failure> {
    let admin = connect(&source).await?;
    match command {
        Receivers::List { json } => {
            let found = admin.receivers().await.map_err(failed)?;
            match json {
                true => say(format_args!("{:#}", json!(found))),
                false => found.iter().for_each(show),
            }
        }
        Receivers::Forget { name } => {
            let found = admin.forget(&name).await.map_err(failed)?;
            say(format_args!(
                "receiver {name} is forgotten; about {} messages of its backlog are discarded",
                found.backlog_messages
            ));
        }
    }
    Ok(0)
}

/// Shows the stream and its receivers.
pub(crate) async fn cluster(command: Cluster, source: Source) -> Result<u8, Failure> {
    let Cluster::Status { json } = command;
    let admin = connect(&source).await?;
    let stream = admin.stream().await.map_err(failed)?;
    let found = admin.receivers().await.map_err(failed)?;
    if json {
        say(format_args!("{:#}", json!({ "stream": stream, "receivers": found })));
        return Ok(0);
    }
    show_stream(&stream);
    found.iter().for_each(show);
    Ok(0)
}

fn show_stream(stream: &StreamStatus) {
    let StreamStatus { name, messages, bytes, max_bytes, .. } = stream;
    let leader = stream.leader.as_deref().unwrap_or("a single server");
    let percent = (bytes * 100).checked_div(*max_bytes).unwrap_or(0);
    say(format_args!(
        "stream {name}: {messages} messages, {bytes} bytes ({percent} % of its limit), led by {leader}"
    ));
    for (replica, current) in &stream.replicas {
        let state = if *current { "current" } else { "behind or offline" };
        say(format_args!("  replica {replica}: {state}"));
    }
}

fn show(receiver: &ReceiverState) {
    let ReceiverState { name, backlog_messages, backlog_bytes, free, .. } = receiver;
    let age = receiver
        .oldest
        .map(|oldest| format!(", the oldest {:?} old", Timestamp::now().since(oldest)));
    let age = age.unwrap_or_default();
    say(format_args!(
        "receiver {name}: about {backlog_messages} messages, {backlog_bytes} bytes behind{age}"
    ));
    for (node, partitions) in &receiver.held {
        say(format_args!("  {node}: {partitions} partitions"));
    }
    if *free > 0 {
        say(format_args!("  no node: {free} partitions"));
    }
    let idle = receiver.nodes.iter().filter(|node| !receiver.held.contains_key(*node));
    idle.for_each(|node| say(format_args!("  {node}: configured, holds nothing")));
}

/// Whether the configuration says `engine = "nats"`, as far as it can be read.
pub(crate) fn is_configured(source: &Source) -> bool {
    source.load(&registry()).is_ok_and(|config| config.engine() == ENGINE_NATS)
}

/// Connects to the servers of the configuration.
pub(crate) async fn connect(source: &Source) -> Result<Admin, Failure> {
    connect_to(&configuration(source)?.1).await
}

/// Connects to these servers.
pub(crate) async fn connect_to(config: &Config) -> Result<Admin, Failure> {
    Admin::connect(config).await.map_err(failed)
}

/// The configuration, and its section of the engine.
pub(crate) fn configuration(source: &Source) -> Result<(poa_host::Config, Config), Failure> {
    let config = Arc::new(OnceLock::new());
    let kind = Arc::new(Noted { config: config.clone() });
    let loaded = source.load(&plugins().engine_kind(ENGINE_NATS, kind))?;
    let Some(config) = config.get().filter(|_| loaded.engine() == ENGINE_NATS) else {
        return Err(Failure::because(format_args!(
            "the configuration has engine = \"{}\"; this command needs engine = \"nats\"",
            loaded.engine()
        )));
    };
    Ok((loaded, config.clone()))
}

fn failed(error: BuildError) -> Failure {
    Failure::new("cluster", error)
}

/// The engine, with a note of the configuration it was given.
struct Noted {
    config: Arc<OnceLock<Config>>,
}

impl Kind<dyn Engine> for Noted {
    fn schema(&self) -> Value {
        schemars::schema_for!(Config).to_value()
    }

    fn configure(&self, config: Value) -> Result<Factory<dyn Engine>, Vec<Problem>> {
        let typed: Result<Config, _> = serde_json::from_value(config.clone());
        if let Ok(typed) = typed {
            // Set once: a command loads its configuration once.
            let _ = self.config.set(typed);
        }
        let registry = poa_core::Registry::new().engine::<Nats>(ENGINE_NATS);
        registry.engines()[ENGINE_NATS].configure(config)
    }
}
