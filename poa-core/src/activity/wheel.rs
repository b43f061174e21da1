//! A timing wheel for the agents to look at.

use crate::AgentId;

/// The slots of the wheel. An entry further ahead than one turn is looked at once a turn.
const SLOTS: u64 = 512;

/// A timing wheel: agents by the tick at which their deadline may pass.
#[derive(Debug)]
pub(super) struct Wheel {
    slots: Vec<Vec<(AgentId, u32)>>,
    /// The last tick that was processed.
    now: u64,
    len: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { slots: vec![Vec::new(); SLOTS as usize], now: 0, len: 0 }
    }
}

impl Wheel {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets the time of an empty wheel that has not been advanced meanwhile.
    pub(super) fn start_at(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// Files an agent to come up at `tick`, or once a turn before that.
    pub(super) fn insert(&mut self, tick: u64, agent: AgentId, generation: u32) {
        let tick = tick.clamp(self.now + 1, self.now + SLOTS - 1);
        self.slots[(tick % SLOTS) as usize].push((agent, generation));
        self.len += 1;
    }

    /// Removes and returns every agent up to and including `now`.
    pub(super) fn advance(&mut self, now: u64) -> Vec<(AgentId, u32)> {
        let mut due = Vec::new();
        let last = now.min(self.now + SLOTS);
        for tick in self.now + 1..=last {
            due.append(&mut self.slots[(tick % SLOTS) as usize]);
        }
        self.now = self.now.max(now);
        self.len -= due.len();
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> AgentId {
        AgentId::new("a").unwrap()
    }

    #[test]
    fn comes_up_at_its_tick_and_not_before() {
        let mut wheel = Wheel::default();
        wheel.start_at(1000);
        wheel.insert(1140, agent(), 1);
        assert!(wheel.advance(1139).is_empty());
        assert_eq!(wheel.advance(1140), [(agent(), 1)]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_late_advance_misses_nothing() {
        let mut wheel = Wheel::default();
        for tick in 1..SLOTS {
            wheel.insert(tick, agent(), 0);
        }
        assert_eq!(wheel.advance(10 * SLOTS).len(), SLOTS as usize - 1);
    }

    #[test]
    fn a_distant_entry_comes_up_within_a_turn() {
        let mut wheel = Wheel::default();
        wheel.insert(1_000_000, agent(), 0);
        assert_eq!(wheel.advance(SLOTS).len(), 1);
    }

    #[test]
    fn an_overdue_entry_comes_up_next() {
        let mut wheel = Wheel::default();
        wheel.start_at(100);
        wheel.insert(7, agent(), 0);
        assert_eq!(wheel.advance(101).len(), 1);
    }
}
