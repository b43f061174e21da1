//! The subscriptions that stand on the current connection, and the tasks that wait for one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use crate::engine::State;

/// A channel or a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) channel: Arc<str>,
    pub(super) pattern: bool,
}

impl Key {
    pub(super) fn exact(channel: Arc<str>) -> Self {
        Self { channel, pattern: false }
    }
}

/// The broker's answer to a subscription: nothing, or the reason of a refusal.
pub(super) type Settled = oneshot::Receiver<Result<(), String>>;

/// Whether a subscription stands.
#[derive(Debug)]
pub(super) enum Standing {
    Now,
    Soon(Settled),
    /// Not on this connection: there is none.
    Never,
}

/// Shared by those who subscribe and the task that holds the connection.
///
/// There is no queue: what changed is a set, and the task asks the table what is wanted by then.
#[derive(Debug)]
pub(super) struct Link {
    inside: Mutex<Inside>,
    state: watch::Sender<State>,
    /// True once the first attempt to connect has ended.
    tried: watch::Sender<bool>,
    changes: Notify,
    breaks: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    connected: bool,
    standing: HashSet<Key>,
    changed: HashSet<Key>,
    waiting: HashMap<Key, Vec<oneshot::Sender<Result<(), String>>>>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            inside: Mutex::default(),
            state: watch::Sender::new(State::Down("not connected yet".into())),
            tried: watch::Sender::new(false),
            changes: Notify::new(),
            breaks: Notify::new(),
        }
    }
}

impl Link {
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Waits until the first attempt to connect has ended. Cancel safe.
    pub(super) async fn tried(&self) {
        if *self.tried.borrow() {
            return;
        }
        // The sender is part of `self`.
        let _ = self.tried.subscribe().wait_for(|tried| *tried).await;
    }

    /// Why there is no connection.
    pub(super) fn cause(&self) -> Arc<str> {
        match &*self.state.borrow() {
            State::Down(cause) => cause.clone(),
            State::Up => "the connection was lost".into(),
        }
    }

    pub(super) fn stands(&self, key: &Key) -> bool {
        self.inside.lock().standing.contains(key)
    }

    /// The table has a subscription that is to stand.
    pub(super) fn want(&self, key: Key) -> Standing {
        let mut inside = self.inside.lock();
        if !inside.connected {
            return Standing::Never;
        }
        if inside.standing.contains(&key) {
            return Standing::Now;
        }
        Standing::Soon(self.wait(&mut inside, key))
    }

    /// The table has changed at this key; what tells when the broker has been told. Nothing without a connection.
    pub(super) fn changed(&self, key: Key) -> Option<Settled> {
        let mut inside = self.inside.lock();
        inside.connected.then(|| self.wait(&mut inside, key))
    }

    fn wait(&self, inside: &mut Inside, key: Key) -> Settled {
        let (settled, settles) = oneshot::channel();
        inside.changed.insert(key.clone());
        inside.waiting.entry(key).or_default().push(settled);
        self.changes.notify_one();
        settles
    }

    /// There is a connection, on which nothing stands yet. From now on subscriptions are taken.
    pub(super) fn connected(&self, wanted: impl IntoIterator<Item = Key>) {
        let mut inside = self.inside.lock();
        inside.connected = true;
        inside.standing.clear();
        inside.changed.extend(wanted);
    }

    /// All that is wanted stands.
    pub(super) fn up(&self) -> bool {
        let was_down = !self.state.borrow().is_up();
        if was_down {
            self.state.send_replace(State::Up);
        }
        self.tried.send_replace(true);
        was_down
    }

    /// There is no connection, for this reason. Those who wait are told by the end of their channels. Whether there was one.
    pub(super) fn down(&self, cause: &str) -> bool {
        // First, so that who is told finds the cause.
        let was_up = self.state.send_replace(State::Down(cause.into())).is_up();
        let waiting = {
            let mut inside = self.inside.lock();
            inside.connected = false;
            inside.standing.clear();
            inside.changed.clear();
            std::mem::take(&mut inside.waiting)
        };
        drop(waiting);
        self.tried.send_replace(true);
        was_up
    }

    /// The engine was closed.
    pub(super) fn closed(&self) {
        self.down("the engine is closed");
    }

    /// The connection is of no use any more.
    pub(super) fn broken(&self) {
        self.breaks.notify_one();
    }

    /// Ready when a command found the connection broken. Cancel safe.
    pub(super) async fn breaks(&self) {
        self.breaks.notified().await;
    }

    /// Ready when something has changed. Cancel safe.
    pub(super) async fn changes(&self) {
        self.changes.notified().await;
    }

    /// The changes, split by the table into subscriptions to begin and subscriptions to end. Those to end do not
    /// stand any more from here on, so a task that wants one meanwhile waits for the next round.
    pub(super) fn take_changes(&self, wanted: impl Fn(&Key) -> bool) -> (Vec<Key>, Vec<Key>) {
        let mut inside = self.inside.lock();
        let (mut begin, mut end) = (Vec::new(), Vec::new());
        for key in std::mem::take(&mut inside.changed) {
            if wanted(&key) {
                if inside.standing.contains(&key) {
                    settle(&mut inside, &key, Ok(()));
                } else {
                    begin.push(key);
                }
            } else if inside.standing.remove(&key) {
                end.push(key);
            } else {
                settle(&mut inside, &key, Ok(()));
            }
        }
        (begin, end)
    }

    /// The broker has acknowledged these.
    pub(super) fn stand(&self, keys: &[Key]) {
        let mut inside = self.inside.lock();
        for key in keys {
            inside.standing.insert(key.clone());
            settle(&mut inside, key, Ok(()));
        }
    }

    /// The broker has ended these. Who wanted one of them meanwhile is served in the next round.
    pub(super) fn ended(&self, keys: &[Key]) {
        let mut inside = self.inside.lock();
        for key in keys {
            if !inside.changed.contains(key) {
                settle(&mut inside, key, Ok(()));
            }
        }
    }

    /// The broker has refused this one.
    pub(super) fn refused(&self, key: &Key, why: &str) {
        settle(&mut self.inside.lock(), key, Err(why.to_owned()));
    }
}

fn settle(inside: &mut Inside, key: &Key, how: Result<(), String>) {
    for waiting in inside.waiting.remove(key).unwrap_or_default() {
        // Who was dropped meanwhile has taken its subscription out of the table.
        let _ = waiting.send(how.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(channel: &str) -> Key {
        Key::exact(channel.into())
    }

    #[tokio::test]
    async fn a_subscription_stands_once_it_is_acknowledged() {
        let link = Link::default();
        assert!(matches!(link.want(key("a")), Standing::Never));
        link.connected([]);
        let Standing::Soon(settled) = link.want(key("a")) else { panic!("not yet") };
        assert_eq!(link.take_changes(|_| true), (vec![key("a")], vec![]));
        link.stand(&[key("a")]);
        assert_eq!(settled.await, Ok(Ok(())));
        assert!(matches!(link.want(key("a")), Standing::Now));
    }

    #[tokio::test]
    async fn who_wants_what_is_being_ended_waits_for_the_next_round() {
        let link = Link::default();
        link.connected([]);
        link.stand(&[key("a")]);
        let ended = link.changed(key("a")).unwrap();
        assert_eq!(link.take_changes(|_| false), (vec![], vec![key("a")]));
        let Standing::Soon(settled) = link.want(key("a")) else { panic!("it is being ended") };
        link.ended(&[key("a")]);
        assert_eq!(link.take_changes(|_| true), (vec![key("a")], vec![]));
        link.stand(&[key("a")]);
        assert_eq!((ended.await, settled.await), (Ok(Ok(())), Ok(Ok(()))));
    }

    #[tokio::test]
    async fn a_lost_connection_tells_all_who_wait() {
        let link = Link::default();
        link.connected([]);
        let Standing::Soon(settled) = link.want(key("a")) else { panic!("not yet") };
        assert!(!link.down("gone"));
        assert!(settled.await.is_err());
        assert_eq!(&*link.cause(), "gone");
        link.connected([key("a")]);
        assert_eq!(link.take_changes(|_| true).0, [key("a")]);
    }

    #[tokio::test]
    async fn a_refusal_reaches_who_asked() {
        let link = Link::default();
        link.connected([]);
        let Standing::Soon(settled) = link.want(key("a")) else { panic!("not yet") };
        link.take_changes(|_| true);
        link.refused(&key("a"), "NOPERM");
        assert_eq!(settled.await, Ok(Err("NOPERM".to_owned())));
        assert!(!link.stands(&key("a")));
    }
}
