//! The order in which passwords are checked.
//!
//! Checking a password deliberately keeps a core busy for some milliseconds. So attempts queue, and guessers must neither lock out the owner of a
//! name nor starve other users:
//!
//! - Addresses without recent failures come first, then those that failed for other names, then those that failed for this one. Among equals,
//!   addresses take turns.
//! - A name under attack is checked a few times a second, for all addresses together. Few attempts wait for one name; a newcomer replaces one
//!   that ranks no better, chosen at random, so that no attempt can hold its place.
//! - No attempt waits for longer than [`PATIENCE`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::rand_core::{OsRng, RngCore as _};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::failures::{Failures, Rank};

/// How long an attempt waits before it is refused.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// The most attempts that wait for one name under attack.
const FOR_NAME: usize = 16;
/// The most attempts that wait from one address.
const FROM_ADDRESS: usize = 256;
/// The most attempts that wait in all.
const IN_ALL: usize = 1024;

/// An attempt was not checked: others took its place, or its time was over.
#[derive(Debug)]
pub(crate) struct Crowded;

/// The queue. Clones share it.
#[derive(Clone)]
pub(crate) struct Queue(Arc<Mutex<State>>);

struct State {
    /// The number of hashes that may be computed now.
    free: usize,
    failures: Failures,
    waiting: Vec<Waiting>,
    last_id: u64,
    turns: u64,
    /// The last turn of each address that waits.
    turn_of: HashMap<IpAddr, u64>,
}

struct Waiting {
    id: u64,
    name: String,
    from: IpAddr,
    rank: Rank,
    due: Option<Instant>,
    /// True: it is the turn of this attempt. False: others took its place.
    call: oneshot::Sender<bool>,
}

/// The permit to compute one hash.
pub(crate) struct Permit(Queue);

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.free += 1;
        state.call_next();
    }
}

/// A place in the queue, released on drop.
struct Ticket {
    queue: Queue,
    id: u64,
    called: oneshot::Receiver<bool>,
    settled: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut state = self.queue.0.lock();
        match state.waiting.iter().position(|waiting| waiting.id == self.id) {
            Some(at) => drop(state.waiting.swap_remove(at)),
            None if self.called.try_recv() == Ok(true) => {
                state.free += 1;
                state.call_next();
            }
            None => {}
        }
    }
}

impl Queue {
    /// A queue that checks this many attempts at once.
    pub(crate) fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: at_once,
            failures: Failures::new(),
            waiting: Vec::new(),
            last_id: 0,
            turns: 0,
            turn_of: HashMap::new(),
        })))
    }

    /// Waits until a password for this name, presented from this address, may be checked.
    ///
    /// Cancel safe: a dropped call releases its place.
    pub(crate) async fn enter(&self, name: &str, from: IpAddr) -> Result<Permit, Crowded> {
        let ticket = self.0.lock().ticket(self, name, from, None)?;
        ticket.called(Instant::now() + PATIENCE).await
    }

    /// Waits for a permit to compute a hash on behalf of an admin who is logged in.
    pub(crate) async fn enter_first(&self) -> Result<Permit, Crowded> {
        let nobody = IpAddr::from([0; 4]);
        let ticket = self.0.lock().ticket(self, "", nobody, Some(Rank::Urgent))?;
        ticket.called(Instant::now() + PATIENCE).await
    }

    pub(crate) fn failed(&self, name: &str, from: IpAddr) {
        let mut state = self.0.lock();
        state.failures.failed(name, from);
        state.rank_again(name, from);
    }

    pub(crate) fn succeeded(&self, name: &str, from: IpAddr) {
        let mut state = self.0.lock();
        state.failures.succeeded(name, from);
        state.rank_again(name, from);
        state.call_next();
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }
}

impl Ticket {
    async fn called(mut self, latest: Instant) -> Result<Permit, Crowded> {
        loop {
            let due = self.queue.0.lock().due(self.id).unwrap_or(latest);
            tokio::select! {
                biased;
                called = &mut self.called => {
                    self.settled = true;
                    return if called == Ok(true) { Ok(Permit(self.queue.clone())) } else { Err(Crowded) };
                }
                () = sleep_until(due.min(latest)) => {
                    if Instant::now() >= latest {
                        return Err(Crowded);
                    }
                    self.queue.0.lock().call_next();
                }
            }
        }
    }
}

impl State {
    fn ticket(
        &mut self,
        queue: &Queue,
        name: &str,
        from: IpAddr,
        rank: Option<Rank>,
    ) -> Result<Ticket, Crowded> {
        let urgent = rank.is_some();
        let rank = rank.unwrap_or_else(|| self.failures.rank(name, from));
        if !urgent {
            self.make_place(name, from, rank)?;
        }
        self.last_id += 1;
        let (call, called) = oneshot::channel();
        let due = if urgent { None } else { self.failures.due(name, from) };
        let (id, name) = (self.last_id, name.to_owned());
        self.waiting.push(Waiting { id, name, from, rank, due, call });
        self.call_next();
        Ok(Ticket { queue: queue.clone(), id, called, settled: false })
    }

    /// Refuses one attempt if there are too many, chosen at random among those that rank worst; an error if that is the newcomer.
    fn make_place(&mut self, name: &str, from: IpAddr, rank: Rank) -> Result<(), Crowded> {
        if self.failures.is_guessed_at(name) {
            self.send_away(FOR_NAME, rank, |waiting| waiting.name == name)?;
        }
        self.send_away(FROM_ADDRESS, rank, |waiting| waiting.from == from)?;
        self.send_away(IN_ALL, rank, |_| true)
    }

    fn send_away(
        &mut self,
        most: usize,
        rank: Rank,
        concerned: impl Fn(&Waiting) -> bool,
    ) -> Result<(), Crowded> {
        let of: Vec<_> =
            (0..self.waiting.len()).filter(|at| concerned(&self.waiting[*at])).collect();
        if of.len() < most {
            return Ok(());
        }
        let worst = of.iter().map(|at| self.waiting[*at].rank).max().unwrap_or(rank);
        if rank > worst {
            return Err(Crowded);
        }
        let worst: Vec<_> = of.into_iter().filter(|at| self.waiting[*at].rank == worst).collect();
        let chosen = worst[OsRng.next_u32() as usize % worst.len()];
        let _ = self.waiting.swap_remove(chosen).call.send(false);
        Ok(())
    }

    /// The time at which a waiting attempt may be checked, if that is later than now.
    fn due(&self, id: u64) -> Option<Instant> {
        let waiting = self.waiting.iter().find(|waiting| waiting.id == id)?;
        waiting.due.filter(|due| *due > Instant::now())
    }

    fn rank_again(&mut self, name: &str, from: IpAddr) {
        for waiting in &mut self.waiting {
            if waiting.rank != Rank::Urgent && (waiting.name == name || waiting.from == from) {
                waiting.rank = self.failures.rank(&waiting.name, waiting.from);
                waiting.due = self.failures.due(&waiting.name, waiting.from);
            }
        }
    }

    /// Wakes as many attempts as hashes may be computed.
    fn call_next(&mut self) {
        while self.free > 0 {
            let Some(at) = self.next() else { break };
            let next = self.waiting.swap_remove(at);
            self.turns += 1;
            self.turn_of.insert(next.from, self.turns);
            self.failures.looked_at(&next.name, next.from);
            self.rank_again(&next.name, next.from);
            self.free -= 1;
            if next.call.send(true).is_err() {
                self.free += 1;
            }
        }
        if self.waiting.is_empty() {
            self.turn_of.clear();
        }
    }

    /// The best of those that are due.
    fn next(&self) -> Option<usize> {
        let now = Instant::now();
        let due = |waiting: &Waiting| waiting.due.is_none_or(|due| due <= now);
        let order = |waiting: &Waiting| {
            (waiting.rank, self.turn_of.get(&waiting.from).copied(), waiting.id)
        };
        let due = self.waiting.iter().enumerate().filter(|(_, waiting)| due(waiting));
        due.min_by_key(|(_, waiting)| order(waiting)).map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Enters in a task of its own, and records the order of the results.
    struct Racers {
        queue: Queue,
        order: Arc<Mutex<Vec<&'static str>>>,
        tasks: tokio::task::JoinSet<()>,
    }

    impl Racers {
        fn new(queue: &Queue) -> Self {
            let (order, tasks) = (Arc::default(), tokio::task::JoinSet::new());
            Self { queue: queue.clone(), order, tasks }
        }

        async fn enter(&mut self, label: &'static str, name: &'static str, from: IpAddr) {
            let (queue, order) = (self.queue.clone(), self.order.clone());
            let before = queue.waiting();
            self.tasks.spawn(async move {
                let permit = queue.enter(name, from).await;
                order.lock().push(if permit.is_ok() { label } else { "sent away" });
            });
            while self.queue.waiting() == before {
                tokio::task::yield_now().await;
            }
        }

        async fn order(mut self) -> Vec<&'static str> {
            while self.tasks.join_next().await.is_some() {}
            self.order.lock().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_failed_wait_behind_those_that_did_not() {
        let queue = Queue::new(1);
        queue.failed("alice", address(1));
        let held = queue.enter("x", address(9)).await.unwrap();
        let mut racers = Racers::new(&queue);
        racers.enter("failed", "alice", address(1)).await;
        racers.enter("suspect", "bob", address(1)).await;
        racers.enter("clean", "alice", address(2)).await;
        drop(held);
        assert_eq!(racers.order().await, ["clean", "suspect", "failed"]);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_take_turns() {
        let queue = Queue::new(1);
        let held = queue.enter("x", address(9)).await.unwrap();
        let mut racers = Racers::new(&queue);
        for label in ["flood 1", "flood 2", "flood 3"] {
            racers.enter(label, "bob", address(1)).await;
        }
        racers.enter("other", "alice", address(2)).await;
        drop(held);
        assert_eq!(racers.order().await, ["flood 1", "other", "flood 2", "flood 3"]);
    }

    /// The places of a name are taken by guesses from addresses that failed; the owner, elsewhere, takes one.
    #[tokio::test(start_paused = true)]
    async fn a_newcomer_takes_the_place_of_a_guess() {
        let queue = Queue::new(1);
        (0..20).for_each(|_| queue.failed("alice", address(1)));
        let mut guesses = Racers::new(&queue);
        for _ in 0..FOR_NAME {
            guesses.enter("guess", "alice", address(1)).await;
        }
        let owner = queue.enter("alice", address(2)).await;
        assert!(owner.is_ok());
        drop(owner);
        let order = guesses.order().await;
        assert_eq!(order.iter().filter(|one| **one == "guess").count(), 5, "{order:?}");
        assert_eq!(order.len(), FOR_NAME);
        // An attempt that ranks worse than all that wait is refused immediately.
        let held = queue.enter("x", address(9)).await.unwrap();
        queue.failed("alice", address(1));
        let mut owners = Racers::new(&queue);
        for last in 100..116 {
            owners.enter("owner", "alice", address(last)).await;
        }
        assert!(queue.enter("alice", address(1)).await.is_err());
        drop(held);
        drop(owners);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_attempt_releases_its_place_or_its_turn() {
        let queue = Queue::new(1);
        let held = queue.enter("x", address(9)).await.unwrap();
        let mut dropped = Box::pin(queue.enter("alice", address(1)));
        assert!(tokio::time::timeout(Duration::ZERO, &mut dropped).await.is_err());
        drop(dropped);
        assert_eq!(queue.waiting(), 0);
        let mut called = Box::pin(queue.enter("alice", address(1)));
        assert!(tokio::time::timeout(Duration::ZERO, &mut called).await.is_err());
        drop(held);
        drop(called);
        assert!(queue.enter("bob", address(2)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn no_attempt_waits_longer_than_the_patience() {
        let queue = Queue::new(1);
        let _held = queue.enter("x", address(9)).await.unwrap();
        let begin = Instant::now();
        assert!(queue.enter("alice", address(1)).await.is_err());
        assert_eq!(begin.elapsed(), PATIENCE);
        assert!(queue.enter_first().await.is_err());
    }
}
