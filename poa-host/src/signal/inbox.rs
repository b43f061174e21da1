//! Signals that arrive while the server is busy with something else.
//!
//! None is lost: not a reload that is requested during the start or another reload, after which it takes place, and not a stop that arrives behind
//! many reloads.

use std::collections::VecDeque;
use std::pin::pin;

use tokio::sync::mpsc;

use super::Signal;

/// Signals that were not acted on yet. Two to stop are enough, as the second one ends the server immediately; and one to reload, as it reads what
/// is current then.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    stops: VecDeque<Signal>,
    reload: bool,
}

impl Waiting {
    pub(super) fn add(&mut self, signal: Signal) {
        match signal {
            Signal::Hangup => self.reload = true,
            stop if self.stops.len() < 2 => self.stops.push_back(stop),
            _ => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stops.is_empty() && !self.reload
    }

    /// The next one. Stops come first.
    pub(super) fn take(&mut self) -> Option<Signal> {
        let reload = || std::mem::take(&mut self.reload).then_some(Signal::Hangup);
        self.stops.pop_front().or_else(reload)
    }
}

/// The signals to a server.
#[derive(Debug)]
pub(crate) struct Inbox {
    signals: mpsc::Receiver<Signal>,
    waiting: Waiting,
}

impl Inbox {
    pub(crate) fn new(signals: mpsc::Receiver<Signal>) -> Self {
        Self { signals, waiting: Waiting::default() }
    }

    /// The next signal; `None` once none is left and the sender is dropped. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Signal> {
        match self.waiting.take() {
            None => self.signals.recv().await,
            some => some,
        }
    }

    /// The next signal to stop; a request to reload waits. Never returns once the sender is dropped. Cancel safe.
    pub(crate) async fn told_to_stop(&mut self) -> Signal {
        loop {
            if let Some(stop) = self.waiting.stops.pop_front() {
                return stop;
            }
            self.hear().await;
        }
    }

    /// Whether a signal to stop waits.
    pub(crate) fn is_told_to_stop(&self) -> bool {
        !self.waiting.stops.is_empty()
    }

    /// The output of `work`. Signals that arrive meanwhile wait, except a second one to stop.
    ///
    /// # Errors
    /// That second signal. The work is dropped then.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Signal> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                output = &mut work => return Ok(output),
                () = self.hear() => {}
            }
            if let Some(second) = self.waiting.stops.get(1) {
                return Err(*second);
            }
        }
    }

    /// The output of `work`; `None` once there is a signal to stop, which waits to be acted upon. The work is dropped then.
    pub(crate) async fn unless_told_to_stop<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        while !self.is_told_to_stop() {
            tokio::select! {
                biased;
                output = &mut work => return Some(output),
                () = self.hear() => {}
            }
        }
        None
    }

    /// Waits for a signal, and keeps it. Never returns once the sender is dropped.
    async fn hear(&mut self) {
        match self.signals.recv().await {
            Some(signal) => self.waiting.add(signal),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn inbox(signals: &[Signal]) -> Inbox {
        let (tell, receive) = mpsc::channel(signals.len());
        signals.iter().for_each(|signal| tell.try_send(*signal).unwrap());
        Inbox::new(receive)
    }

    #[tokio::test]
    async fn signals_during_work_wait_and_stops_come_first() {
        let mut inbox = inbox(&[Signal::Hangup, Signal::Hangup, Signal::Terminate]);
        let work = async {
            // The work is polled again after each signal.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(inbox.during(work).await, Ok(()));
        assert!(inbox.is_told_to_stop());
        for expected in [Some(Signal::Terminate), Some(Signal::Hangup), None] {
            assert_eq!(inbox.next().await, expected);
        }
    }

    #[tokio::test]
    async fn a_second_stop_ends_the_work() {
        let mut inbox = inbox(&[Signal::Terminate, Signal::Hangup, Signal::Interrupt]);
        assert_eq!(inbox.during(pending::<()>()).await, Err(Signal::Interrupt));
    }

    #[tokio::test]
    async fn work_that_a_stop_makes_useless_ends_with_it() {
        let mut inbox = inbox(&[Signal::Hangup, Signal::Terminate]);
        assert_eq!(inbox.unless_told_to_stop(ready(7)).await, Some(7));
        assert_eq!(inbox.unless_told_to_stop(pending::<()>()).await, None);
        for expected in [Signal::Terminate, Signal::Hangup] {
            assert_eq!(inbox.next().await, Some(expected));
        }
    }

    #[tokio::test]
    async fn a_reload_requested_before_a_stop_is_remembered() {
        let mut inbox = inbox(&[Signal::Hangup, Signal::Terminate]);
        assert_eq!(inbox.told_to_stop().await, Signal::Terminate);
        assert_eq!(inbox.next().await, Some(Signal::Hangup));
        assert_eq!(inbox.during(ready(7)).await, Ok(7));
    }
}
