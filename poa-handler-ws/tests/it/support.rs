//! A host with a WebSocket handler, users whose tokens can be revoked, and a receiver that forwards to the
//! test.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use poa_core::auth::{AuthError, Authenticator, Principal};
use poa_core::{
    Ack, Activity, AgentId, DeliveryError, Host, HostBuilder, Message, Receiver, ReceiverFactory,
    ReceiverOptions, WhenFull, async_trait,
};
use poa_handler_ws::{Config, Ws};
use tokio::sync::{Notify, mpsc, watch};

use crate::client::Client;

pub(crate) const METRICS: [&str; 3] = ["ethereum_metrics", "networking_metrics", "system_metrics"];

/// Longer than any operation here should ever take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Knows a few tokens by their names.
#[derive(Default)]
pub(crate) struct Users {
    revoked: Mutex<HashSet<String>>,
    expired: Mutex<HashSet<String>>,
    revocations: watch::Sender<u64>,
    /// Lets one login of `slow` continue.
    pub(crate) gate: Notify,
    logins: AtomicUsize,
}

impl Users {
    pub(crate) fn revoke(&self, token: &str) {
        self.revoked.lock().unwrap().insert(token.to_owned());
        self.revocations.send_modify(|count| *count += 1);
    }

    /// How many passwords were presented.
    pub(crate) fn logins(&self) -> usize {
        self.logins.load(Ordering::Relaxed)
    }

    pub(crate) fn expire(&self, token: &str) {
        self.expired.lock().unwrap().insert(token.to_owned());
    }
}

#[async_trait]
impl Authenticator for Users {
    fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        if self.revoked.lock().unwrap().contains(token) {
            return Err(AuthError::Unauthorized);
        }
        if self.expired.lock().unwrap().contains(token) {
            return Err(AuthError::Expired);
        }
        match token {
            "valid" | "of-alice" | "of-slow" => Ok(Principal::new("alice", None)),
            "bound" => Ok(Principal::new("bob", Some(AgentId::new("agent1").unwrap()))),
            "busy" => Err(AuthError::Busy),
            _ => Err(AuthError::Unauthorized),
        }
    }

    async fn login(&self, user: &str, password: &str) -> Result<String, AuthError> {
        self.logins.fetch_add(1, Ordering::Relaxed);
        if user == "slow" {
            self.gate.notified().await;
        }
        match password {
            "right" => Ok(format!("of-{user}")),
            _ => Err(AuthError::Unauthorized),
        }
    }

    fn revocations(&self) -> watch::Receiver<u64> {
        self.revocations.subscribe()
    }
}

/// The events that a receiver got.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(Message),
    Activity(String, bool),
}

/// Forwards its events to the test; delivers nothing while the gate is closed.
struct Recorder {
    heard: mpsc::UnboundedSender<Heard>,
    open: watch::Receiver<bool>,
}

impl Recorder {
    fn tell(&self, heard: Heard) {
        // A test that has seen enough no longer receives.
        let _ = self.heard.send(heard);
    }

    fn tell_activity(&self, agents: &[Activity]) {
        for agent in agents {
            self.tell(Heard::Activity(agent.agent_id.to_string(), agent.active));
        }
    }
}

#[async_trait]
impl Receiver for Recorder {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        self.open.wait_for(|open| *open).await.unwrap();
        for message in batch {
            self.tell(Heard::Message(message.clone()));
        }
        Ok(())
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.tell_activity(agents);
        Ok(())
    }

    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.tell_activity(agents);
        Ok(())
    }
}

pub(crate) struct Running {
    pub(crate) host: Host,
    pub(crate) addr: SocketAddr,
    pub(crate) users: Arc<Users>,
    pub(crate) open: watch::Sender<bool>,
    heard: mpsc::UnboundedReceiver<Heard>,
    _dir: tempfile::TempDir,
}

pub(crate) fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::listen(([127, 0, 0, 1], 0));
    change(&mut config);
    config
}

pub(crate) async fn start() -> Running {
    start_with(config(|_| ()), |host| host, 64 << 20).await
}

/// A host whose only receiver has a backlog of at most this many bytes.
pub(crate) async fn start_with(
    config: Config,
    change: impl FnOnce(HostBuilder) -> HostBuilder,
    backlog: u64,
) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let (told, heard) = mpsc::unbounded_channel();
    let (open, is_open) = watch::channel(true);
    let users = Arc::new(Users::default());
    let options = ReceiverOptions::subscribe(METRICS)
        .batch(100, Duration::from_millis(1))
        .backlog(backlog, WhenFull::Refuse);
    let host = Host::builder()
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .data_types(METRICS)
        .data_dir(dir.path())
        .ack(Ack::Memory)
        .authenticator(users.clone())
        .handler::<Ws>("ws", config)
        .receiver_from("recorder", options, recorders(told, is_open));
    let host = change(host).start().await.unwrap();
    let endpoint = host.handle().status().plugins[0].endpoints[0].clone();
    let addr = endpoint.strip_prefix("ws://").unwrap().strip_suffix("/ws").unwrap();
    Running { host, addr: addr.parse().unwrap(), users, open, heard, _dir: dir }
}

impl Running {
    /// A connection of a user who may send for every agent.
    pub(crate) async fn client(&self) -> Client {
        Client::open(self.addr, Some("valid")).await
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        soon(self.heard.recv()).await.unwrap()
    }

    /// Expects the next event to be that this agent became active, or inactive.
    pub(crate) async fn hears_of(&mut self, agent: &str, active: bool) {
        match self.hear().await {
            Heard::Activity(heard, now) => assert_eq!((&*heard, now), (agent, active)),
            other @ Heard::Message(_) => panic!("{other:?}"),
        }
    }

    /// The next message; changes of activity are skipped.
    pub(crate) async fn message(&mut self) -> Message {
        loop {
            if let Heard::Message(message) = self.hear().await {
                return message;
            }
        }
    }

    pub(crate) fn counts(&self, line: &str) -> bool {
        self.host.handle().metrics().lines().any(|found| found == line)
    }

    /// All remaining events until the host has stopped.
    pub(crate) async fn stop(mut self) -> Vec<Heard> {
        self.open.send_replace(true);
        let stopped = soon(self.host.stop()).await;
        assert!(stopped.is_clean(), "{stopped:?}");
        let mut rest = Vec::new();
        while let Some(heard) = self.heard.recv().await {
            rest.push(heard);
        }
        rest
    }
}

fn recorders(heard: mpsc::UnboundedSender<Heard>, open: watch::Receiver<bool>) -> ReceiverFactory {
    Arc::new(move |_| {
        let recorder = Recorder { heard: heard.clone(), open: open.clone() };
        Box::pin(async { Ok(Box::new(recorder) as Box<dyn Receiver>) })
    })
}
