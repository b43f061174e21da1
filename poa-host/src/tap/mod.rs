//! A view of messages as receivers confirm them: limited, sampled, and without effect on delivery.

mod count;
mod show;
mod stream;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use poa_core::{Attempt, Message, Observer};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) use stream::Stream;

use count::Counting;

/// The most clients that watch at once.
const MAX_WATCHERS: usize = 8;
/// The number of lines that wait for a slow client; later ones are left out.
const WAITING: usize = 256;
/// The default number of lines a second.
const RATE: u32 = 100;
/// The most lines a second.
const MAX_RATE: u32 = 1000;

/// The messages to show.
#[derive(Clone, Debug, Default)]
pub(crate) struct TapFilter {
    /// Only this data type.
    data_type: Option<String>,
    /// Only messages of this agent.
    agent: Option<String>,
    /// Only messages that this receiver gets.
    receiver: Option<String>,
    /// The most lines a second.
    rate: Option<u32>,
}

impl TapFilter {
    /// Reads the query of a URL.
    ///
    /// # Errors
    /// The unknown key or value.
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match &*key {
                "type" => filter.data_type = Some(value),
                "agent" => filter.agent = Some(value),
                "receiver" => filter.receiver = Some(value),
                "rate" => filter.rate = Some(rate(&value)?),
                _ => {
                    return Err(format!(
                        "unknown key `{key}`; known keys: type, agent, receiver, rate"
                    ));
                }
            }
        }
        Ok(filter)
    }

    fn wants(&self, receiver: &str, message: &Message) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        is(&self.receiver, receiver)
            && is(&self.data_type, message.data_type().name())
            && is(&self.agent, message.agent_id().as_str())
    }
}

fn rate(text: &str) -> Result<u32, String> {
    let rate = text.parse().ok().filter(|rate| (1..=MAX_RATE).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is not a rate; write a number from 1 to {MAX_RATE}"))
}

/// All clients that watch. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taps(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// False while no client watches: then a batch costs one read of this flag.
    watched: AtomicBool,
    watchers: Mutex<Vec<Watcher>>,
}

#[derive(Debug)]
struct Watcher {
    lines: mpsc::Sender<Bytes>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tap { filter: TapFilter, pace: Pace },
    Top(Box<Counting>),
}

impl Taps {
    /// Shows messages, one JSON object a line. `None` if too many clients watch already.
    pub(crate) fn tap(&self, filter: TapFilter) -> Option<Stream> {
        let rate = filter.rate.unwrap_or(RATE);
        self.watch(Kind::Tap { filter, pace: Pace::new(rate, Instant::now()) })
    }

    /// Shows each second how many messages each agent sent and each receiver got, one JSON object a line.
    pub(crate) fn top(&self) -> Option<Stream> {
        let stream = self.watch(Kind::Top(Box::default()))?;
        tokio::spawn(self.clone().tick());
        Some(stream)
    }

    /// A receiver has confirmed these messages.
    fn show(&self, receiver: &str, batch: &[Message]) {
        if !self.0.watched.load(Ordering::Relaxed) {
            return;
        }
        let mut watchers = self.watchers();
        watchers.retain_mut(|watcher| watcher.show(receiver, batch));
        self.0.watched.store(!watchers.is_empty(), Ordering::Relaxed);
    }

    /// Disconnects all clients.
    pub(crate) fn close(&self) {
        self.watchers().clear();
        self.0.watched.store(false, Ordering::Relaxed);
    }

    fn watch(&self, kind: Kind) -> Option<Stream> {
        let (lines, come) = mpsc::channel(WAITING);
        let mut watchers = self.watchers();
        watchers.retain(|watcher| !watcher.lines.is_closed());
        if watchers.len() >= MAX_WATCHERS {
            return None;
        }
        watchers.push(Watcher { lines, kind });
        self.0.watched.store(true, Ordering::Relaxed);
        Some(Stream::new(come))
    }

    /// Makes each count report, every second, as long as there is one.
    async fn tick(self) {
        let mut every = tokio::time::interval(count::EVERY);
        loop {
            every.tick().await;
            let mut watchers = self.watchers();
            watchers.retain_mut(Watcher::tell);
            let counts = watchers.iter().any(|watcher| matches!(watcher.kind, Kind::Top(_)));
            self.0.watched.store(!watchers.is_empty(), Ordering::Relaxed);
            if !counts {
                return;
            }
        }
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.0.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Taps {
    fn delivered(&self, attempt: &Attempt<'_>) {
        self.show(attempt.receiver, attempt.messages);
    }

    fn failed(&self, _: &Attempt<'_>, _: &str) {}

    fn set_aside(&self, _: &str, _: &Message, _: &str) {}
}

impl Watcher {
    /// False if it has disconnected.
    fn show(&mut self, receiver: &str, batch: &[Message]) -> bool {
        let Self { lines, kind } = self;
        match kind {
            Kind::Top(counting) => counting.add(receiver, batch),
            Kind::Tap { filter, pace } => {
                for message in batch.iter().filter(|message| filter.wants(receiver, message)) {
                    show_one(lines, pace, receiver, message);
                }
            }
        }
        !lines.is_closed()
    }

    /// Sends the counts; false if it has disconnected. One second is reported at a time, however many ticks
    /// come.
    fn tell(&mut self) -> bool {
        if let Kind::Top(counting) = &mut self.kind
            && let Some(line) = counting.take(Instant::now())
        {
            let _ = self.lines.try_send(line);
        }
        !self.lines.is_closed()
    }
}

fn show_one(lines: &mpsc::Sender<Bytes>, pace: &mut Pace, receiver: &str, message: &Message) {
    let Some(left_out) = pace.take(Instant::now()) else { return };
    // Reserve a place first: a line that cannot be sent need not be formatted.
    match lines.try_reserve() {
        Ok(place) => place.send(show::line(receiver, message, left_out)),
        Err(_) => pace.missed(left_out + 1),
    }
}

/// A rate limit of lines a second, with the number that were left out since the last one.
#[derive(Debug)]
struct Pace {
    rate: u32,
    left: u32,
    since: Instant,
    left_out: u64,
}

impl Pace {
    fn new(rate: u32, since: Instant) -> Self {
        Self { rate, left: rate, since, left_out: 0 }
    }

    /// The number of lines left out before this one; `None` if this one is to be left out, too.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= count::EVERY {
            (self.since, self.left) = (now, self.rate);
        }
        if self.left == 0 {
            self.left_out += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.left_out))
    }

    fn missed(&mut self, count: u64) {
        self.left_out += count;
    }
}

#[cfg(test)]
mod tests;
