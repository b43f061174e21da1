//! The turns in which the lanes of a node send what shares publishes.
//!
//! All lanes publish into one stream, whose leader takes publishes one after the other. So the fewer there are, the sooner each is stored: a lane
//! that sends as soon as it may makes many small ones. In a turn each lane sends once; the next turn begins when everything that was sent in it
//! is answered. It is the group commit of the log engine, for all lanes together.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep_until};

/// How long a turn holds up the lanes. One whose answers stay away for longer is over for the others.
const LONGEST: Duration = Duration::from_millis(100);

/// The turns of a node.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    now: Mutex<Turn>,
    begins: Notify,
}

/// The number of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Number(u64);

#[derive(Debug, Default)]
struct Turn {
    number: Number,
    /// Publishes that are not answered.
    open: usize,
    /// When the first was sent.
    began: Option<Instant>,
}

impl Turn {
    fn end(&mut self) {
        *self = Self { number: Number(self.number.0 + 1), ..Self::default() };
    }
}

impl Turns {
    /// Whether a lane that sent last in this turn may send now.
    pub(super) fn permit(&self, last: Option<Number>) -> bool {
        last != Some(self.now.lock().number)
    }

    /// A publish is sent in the turn of now, which does not end before the seat is dropped.
    pub(super) fn join(self: &Arc<Self>) -> Seat {
        let mut now = self.now.lock();
        now.open += 1;
        now.began.get_or_insert_with(Instant::now);
        Seat { turns: self.clone(), number: now.number }
    }

    /// Resolves when a turn begins after this call.
    pub(super) fn begins(&self) -> Notified<'_> {
        self.begins.notified()
    }

    /// Ends the turn of now once it has lasted too long.
    pub(super) async fn overdue(&self) {
        let (number, began) = {
            let now = self.now.lock();
            (now.number, now.began)
        };
        sleep_until(began.unwrap_or_else(Instant::now) + LONGEST).await;
        self.end(number, |_| true);
    }

    /// Ends this turn, if it is that of now and is over.
    fn end(&self, number: Number, is_over: impl FnOnce(&mut Turn) -> bool) {
        let mut now = self.now.lock();
        // Another one, if this one has lasted too long.
        if now.number == number && is_over(&mut now) {
            now.end();
            drop(now);
            self.begins.notify_waiters();
        }
    }
}

/// The part of a publish in a turn.
#[derive(Debug)]
pub(super) struct Seat {
    turns: Arc<Turns>,
    pub(super) number: Number,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.turns.end(self.number, |turn| {
            turn.open -= 1;
            turn.open == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lane_sends_once_in_a_turn_which_ends_with_its_last_answer() {
        let turns = Arc::new(Turns::default());
        assert!(turns.permit(None));
        let (first, second) = (turns.join(), turns.join());
        let last = Some(first.number);
        assert!(turns.permit(None), "another lane joins");
        assert!(!turns.permit(last));
        let mut begins = Box::pin(turns.begins());
        begins.as_mut().enable();
        drop(first);
        assert!(!turns.permit(last) && begins.as_mut().now_or_never().is_none());
        drop(second);
        assert!(turns.permit(last) && begins.as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stays_away_holds_others_up_for_a_while_only() {
        let turns = Arc::new(Turns::default());
        let seat = turns.join();
        let last = Some(seat.number);
        turns.overdue().await;
        assert!(turns.permit(last));
        let next = turns.join();
        drop(seat);
        assert!(!turns.permit(Some(next.number)), "it counts in its own turn only");
        drop(next);
    }
}
