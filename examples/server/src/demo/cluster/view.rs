//! The state of the cluster, as the servers report it, and the counts of the fleet.

use std::fmt::Write as _;
use std::time::Duration;

use poa_engine_nats::{Admin, Config, ReceiverState};
use poa_fleet::Monitor;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::agents::acknowledged;
use super::layout::Layout;
use super::member::Event;

/// How often the servers are asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Every so many times the counts are told, too.
const COUNTS: u64 = 10;

/// Asks, and reports changes.
pub(super) struct View {
    config: Config,
    monitors: Vec<Monitor>,
    admin: Option<Admin>,
    told: String,
}

impl View {
    pub(super) fn new(layout: &Layout, monitors: Vec<Monitor>) -> Self {
        Self { config: layout.bus(), monitors, admin: None, told: String::new() }
    }

    /// Runs until no event is wanted any more.
    pub(super) async fn run(mut self, events: mpsc::Sender<Event>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in 1.. {
            ticks.tick().await;
            let (state, backlog) = self.look().await;
            if state != self.told {
                self.told.clone_from(&state);
                if events.send(Event::Seen(state)).await.is_err() {
                    return;
                }
            }
            if turn % COUNTS == 0 {
                let counts = self.counts(backlog);
                let _ = events.send(Event::Seen(counts)).await;
            }
        }
    }

    /// The leader and the holders of partitions, and the backlog of the receivers.
    async fn look(&mut self) -> (String, Option<u64>) {
        match timeout(PATIENCE, self.ask()).await {
            Ok(Some(found)) => found,
            _ => ("the NATS servers do not answer".to_owned(), None),
        }
    }

    async fn ask(&mut self) -> Option<(String, Option<u64>)> {
        let admin = match self.admin.take() {
            Some(admin) => admin,
            None => Admin::connect(&self.config).await.ok()?,
        };
        let admin = self.admin.insert(admin);
        let stream = admin.stream().await.ok()?;
        let receivers = admin.receivers().await.ok()?;
        let leader = stream.leader.as_deref().unwrap_or("none");
        let mut text = format!("the stream is led by {leader}");
        receivers.iter().for_each(|receiver| describe(receiver, &mut text));
        let backlog = receivers.iter().map(|receiver| receiver.backlog_messages).sum();
        Some((text, Some(backlog)))
    }

    fn counts(&mut self, backlog: Option<u64>) -> String {
        let acknowledged = acknowledged(&mut self.monitors);
        let backlog =
            backlog.map_or_else(|| "unknown".to_owned(), |messages| format!("about {messages}"));
        format!("{acknowledged} messages acknowledged; backlog of the receivers: {backlog}")
    }
}

fn describe(receiver: &ReceiverState, text: &mut String) {
    let mut separator = ';';
    // Writing to a string cannot fail.
    for (node, partitions) in &receiver.held {
        let _ = write!(text, "{separator} {node} holds {partitions} partitions");
        separator = ',';
    }
    if receiver.free > 0 {
        let _ = write!(text, "{separator} {} partitions wait for a node", receiver.free);
    }
}

/// How many messages are stored in the database of the receivers.
pub(super) async fn rows(layout: &Layout) -> u64 {
    let path = layout.rows();
    let count = move || {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.query_row(
            "SELECT (SELECT count(*) FROM eth_stats) + (SELECT count(*) FROM system_stats) + (SELECT count(*) FROM metrics)",
            [],
            |row| row.get::<_, i64>(0),
        )
    };
    match tokio::task::spawn_blocking(count).await {
        Ok(Ok(count)) => u64::try_from(count).unwrap_or(0),
        _ => 0,
    }
}
