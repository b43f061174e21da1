//! Detects connections that are silent for too long.

use std::time::Duration;

use tokio::time::Instant;

/// The last signs of life of a client, and their time.
pub(crate) struct Presence {
    interval: Duration,
    message_time: Duration,
    received: u64,
    heard: Instant,
    /// A ping was sent since.
    asked: bool,
    /// The latest time at which the arriving message can have begun.
    unfinished_since: Option<Instant>,
}

/// The action that a client's silence requires.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// Ping it.
    Ping,
    /// Drop it.
    Drop,
    /// Close it because its message took too long.
    Slow,
}

impl Presence {
    pub(crate) fn new(interval: Duration, message_time: Duration) -> Self {
        Self {
            interval,
            message_time,
            received: 0,
            heard: Instant::now(),
            asked: false,
            unfinished_since: None,
        }
    }

    /// A message has arrived as a whole.
    pub(crate) fn finish_message(&mut self) {
        self.unfinished_since = None;
    }

    /// This many bytes have arrived so far, and a part of a message is or is not among them.
    pub(crate) fn hear(&mut self, received: u64, receiving: bool) {
        if !receiving {
            self.unfinished_since = None;
        }
        if received != self.received {
            self.received = received;
            self.heard = Instant::now();
            self.asked = false;
            if receiving {
                self.unfinished_since.get_or_insert(self.heard);
            }
        }
    }

    /// The client could not be heard: the server did not read.
    pub(crate) fn excuse(&mut self) {
        self.heard = Instant::now();
        self.unfinished_since = None;
    }

    /// The time of the next check.
    pub(crate) fn next(&self) -> Instant {
        let silent = self.heard + self.interval * (1 + u32::from(self.asked));
        let slow = self.unfinished_since.map(|since| since + self.message_time);
        slow.map_or(silent, |slow| slow.min(silent))
    }

    pub(crate) fn look(&mut self) -> Due {
        let now = Instant::now();
        if self.unfinished_since.is_some_and(|since| now - since >= self.message_time) {
            return Due::Slow;
        }
        let silent = now - self.heard;
        if silent >= self.interval * 2 {
            return Due::Drop;
        }
        if silent >= self.interval && !self.asked {
            self.asked = true;
            return Due::Ping;
        }
        Due::Nothing
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep_until};

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(20);
    const MESSAGE: Duration = Duration::from_secs(30);

    async fn next(presence: &mut Presence) -> (Due, Duration) {
        let begin = Instant::now();
        sleep_until(presence.next()).await;
        (presence.look(), begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn silent_clients_are_pinged_and_then_dropped() {
        let mut presence = Presence::new(INTERVAL, MESSAGE);
        assert_eq!(next(&mut presence).await, (Due::Ping, INTERVAL));
        presence.hear(6, false);
        assert_eq!(next(&mut presence).await, (Due::Ping, INTERVAL));
        assert_eq!(next(&mut presence).await, (Due::Drop, INTERVAL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_has_a_time_limit_however_it_trickles() {
        let mut presence = Presence::new(INTERVAL, MESSAGE);
        presence.hear(1, true);
        for bytes in 2..4 {
            advance(Duration::from_secs(10)).await;
            presence.hear(bytes, true);
            assert_eq!(presence.look(), Due::Nothing);
        }
        assert_eq!(next(&mut presence).await, (Due::Slow, Duration::from_secs(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn messages_in_a_row_are_not_a_slow_message() {
        let mut presence = Presence::new(INTERVAL, MESSAGE);
        for bytes in 1..10 {
            presence.finish_message();
            presence.hear(bytes, true);
            advance(Duration::from_secs(10)).await;
            assert_eq!(presence.look(), Due::Nothing);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_client_is_blamed_while_the_server_does_not_read() {
        let mut presence = Presence::new(INTERVAL, MESSAGE);
        presence.hear(1, true);
        advance(Duration::from_secs(100)).await;
        presence.excuse();
        assert_eq!(presence.look(), Due::Nothing);
    }
}
