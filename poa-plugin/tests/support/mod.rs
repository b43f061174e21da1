//! Plugins that do as they are told, linked into the test but reached through the border alone.

use std::collections::VecDeque;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use poa_core::config::Problem;
use poa_core::status::PluginStatus;
use poa_core::{
    Ack, Activity, BuildContext, BuildError, ControlMessage, CustomHandler, DeliveryError,
    HandlerContext, Host, Message, Plugin, PluginError, Receiver, ReceiverContext, ReceiverOptions,
    Registry, async_trait,
};
use poa_plugin::host::Library;
use schemars::JsonSchema;
use serde::Deserialize;

/// The reaction of the receiver to a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Ok,
    Transient,
    PermanentFirst,
    Panic,
    Wait,
    Block(Duration),
    BlockForGood,
}

/// The record of the plugins. One for the whole process, as for any library: a test is a process.
#[derive(Default)]
pub(crate) struct Seen {
    steps: Mutex<VecDeque<Step>>,
    messages: Mutex<Vec<Message>>,
    log: Mutex<Vec<String>>,
    dropped: Mutex<usize>,
    context: Mutex<Option<HandlerContext>>,
    started: Mutex<Vec<ReceiverContext>>,
}

impl Seen {
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap().clone()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn dropped(&self) -> usize {
        *self.dropped.lock().unwrap()
    }

    /// The contexts of all starts of the receiver.
    pub(crate) fn started(&self) -> Vec<ReceiverContext> {
        self.started.lock().unwrap().clone()
    }

    fn note(&self, text: impl Into<String>) {
        self.log.lock().unwrap().push(text.into());
    }
}

fn seen() -> &'static Seen {
    static SEEN: OnceLock<Seen> = OnceLock::new();
    SEEN.get_or_init(Seen::default)
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// A number.
    #[serde(default)]
    number: u64,
}

/// Its number. With 1, its first start fails, and its second one panics.
pub(crate) struct Scripted(u64);

#[async_trait]
impl Plugin for Scripted {
    type Config = Config;

    fn validate(config: &Config) -> Vec<Problem> {
        if config.number == 13 { vec![Problem::new("number", "unlucky")] } else { Vec::new() }
    }

    async fn build(config: Config, _: &BuildContext) -> Result<Self, BuildError> {
        match config.number {
            404 => Err(BuildError::failed("not found")),
            500 => panic!("five hundred"),
            number => Ok(Self(number)),
        }
    }
}

#[async_trait]
impl Receiver for Scripted {
    async fn start(&mut self, cx: ReceiverContext) -> Result<(), DeliveryError> {
        seen().started.lock().unwrap().push(cx);
        match (self.0, seen().started().len()) {
            (1, 1) => Err(DeliveryError::transient("no network")),
            (1, 2) => panic!("no network again"),
            _ => Ok(()),
        }
    }

    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let step = seen().steps.lock().unwrap().pop_front().unwrap_or(Step::Ok);
        match step {
            Step::Ok => {}
            Step::Transient => return Err(DeliveryError::transient("not now")),
            Step::PermanentFirst => return Err(DeliveryError::permanent_for(vec![0], "never")),
            Step::Panic => panic!("told to"),
            Step::Wait => std::future::pending().await,
            Step::Block(time) => std::thread::sleep(time),
            Step::BlockForGood => loop {
                std::thread::park();
            },
        }
        if !matches!(step, Step::Block(_)) {
            seen().messages.lock().unwrap().extend_from_slice(batch);
        }
        Ok(())
    }

    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        agents.iter().for_each(|change| seen().note(format!("active {}", change.agent_id)));
        Ok(())
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        agents.iter().for_each(|change| seen().note(format!("inactive {}", change.agent_id)));
        Ok(())
    }

    async fn handle_message(&mut self, _: ControlMessage) -> Result<(), DeliveryError> {
        seen().note("stopping");
        Ok(())
    }

    async fn terminate(&mut self) {
        seen().note("terminate");
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        *seen().dropped.lock().unwrap() += 1;
    }
}

/// Gives its context away.
struct Generous;

#[async_trait]
impl Plugin for Generous {
    type Config = Config;

    async fn build(_: Config, _: &BuildContext) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

#[async_trait]
impl CustomHandler for Generous {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        *seen().context.lock().unwrap() = Some(cx.clone());
        cx.shutdown().cancelled().await;
        Ok(())
    }
}

poa_plugin::export! {
    threads: 4,
    receivers: { "scripted" => Scripted },
    handlers: { "generous" => Generous },
}

/// The kinds, as a host knows those of a library.
pub(crate) fn kinds() -> Registry {
    // The plugin is part of this program, so its log must not go to the host: that is itself.
    let _ = tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::new());
    Library::linked(&poa_plugin_descriptor_v1).unwrap().register(Registry::new())
}

/// Subscribes to everything, and waits for nothing.
pub(crate) fn options() -> ReceiverOptions {
    serde_json::from_value(serde_json::json!({
        "subscribe": ["m"],
        "timeout": "300ms",
        "batch": { "linger": "1ms" },
        "retry": { "initial": "1ms", "max": "1ms" },
    }))
    .unwrap()
}

/// A host with both plugins, whose receiver goes through these steps.
pub(crate) async fn host(steps: &[Step]) -> (Host, &'static Seen) {
    host_with(0, steps).await
}

/// The same with a receiver of this number.
pub(crate) async fn host_with(number: u64, steps: &[Step]) -> (Host, &'static Seen) {
    *seen().steps.lock().unwrap() = steps.iter().copied().collect();
    let kinds = kinds();
    let config = |number: u64| serde_json::json!({ "number": number });
    let receiver = kinds.receivers()["scripted"].configure(config(number)).unwrap();
    let handler = kinds.handlers()["generous"].configure(config(0)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let host = Host::builder()
        .data_types(["m"])
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .ack(Ack::Memory)
        .data_dir(dir.path())
        .receiver_from("r", options(), receiver)
        .handler_from("h", handler)
        .start()
        .await
        .unwrap();
    (host, seen())
}

/// The context of the handler behind the border.
pub(crate) async fn of(_: &Host) -> HandlerContext {
    until(|| seen().context.lock().unwrap().is_some()).await;
    seen().context.lock().unwrap().clone().unwrap()
}

/// The status of the receiver.
pub(crate) fn receiver(host: &Host) -> PluginStatus {
    let plugins = host.handle().status().plugins;
    plugins.into_iter().find(|plugin| plugin.name == "r").unwrap()
}

/// Polls for a condition that has no event.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(30), "waited in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
