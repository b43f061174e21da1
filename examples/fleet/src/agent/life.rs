//! When an agent is away, and how it goes.

use std::time::Duration;

use fastrand::Rng;

use crate::seed::around;

/// How an agent goes away. It always comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It says bye.
    Bye,
    /// It falls silent: no ping, no data, and its connection stays.
    Silence,
    /// Its connection is cut.
    Crash,
}

/// From when to when an agent is away, in seconds since the fleet's start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Absence {
    pub(crate) from: f64,
    pub(crate) until: f64,
    pub(crate) leave: Leave,
}

/// The absences of one agent, one after the other.
#[derive(Debug)]
pub(crate) struct Life {
    rng: Rng,
    stay: f64,
    away: f64,
    /// Never leaves at all.
    steady: bool,
    present_since: f64,
}

impl Life {
    /// A life that begins at `begin`. The share of `restless` agents leaves after about `stay`, for about `away`.
    pub(crate) fn new(
        mut rng: Rng,
        begin: f64,
        restless: f64,
        stay: Duration,
        away: Duration,
    ) -> Self {
        Self {
            steady: rng.f64() >= restless,
            rng,
            stay: stay.as_secs_f64(),
            away: away.as_secs_f64(),
            present_since: begin,
        }
    }
}

impl Iterator for Life {
    type Item = Absence;

    /// `None` if the agent stays from now on.
    fn next(&mut self) -> Option<Absence> {
        if self.steady {
            return None;
        }
        let from = self.present_since + around(&mut self.rng, self.stay);
        let until = from + around(&mut self.rng, self.away);
        self.present_since = until;
        // Most just fall silent: it is the way to go that the server has to notice by itself.
        let leave = match self.rng.u8(0..4) {
            0 => Leave::Bye,
            1 => Leave::Crash,
            _ => Leave::Silence,
        };
        Some(Absence { from, until, leave })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::derive;

    const MINUTE: Duration = Duration::from_secs(60);

    fn life(index: u64, restless: f64) -> Life {
        Life::new(derive(1, "life", index), 5.0, restless, MINUTE, MINUTE / 2)
    }

    #[test]
    fn the_share_that_leaves_is_about_the_one_asked_for() {
        let restless = (0..1000).filter(|index| life(*index, 0.2).next().is_some()).count();
        assert!((150..250).contains(&restless), "{restless}");
        assert!((0..1000).all(|index| life(index, 0.0).next().is_none()));
        assert!((0..1000).all(|index| life(index, 1.0).next().is_some()));
    }

    #[test]
    fn absences_follow_each_other_and_each_ends() {
        let absences: Vec<_> = life(3, 1.0).take(100).collect();
        assert!(absences[0].from >= 5.0 + 30.0);
        assert!(
            absences.iter().all(|absence| (15.0..=45.0).contains(&(absence.until - absence.from)))
        );
        assert!(absences.windows(2).all(|pair| pair[1].from - pair[0].until >= 30.0));
        for leave in [Leave::Bye, Leave::Silence, Leave::Crash] {
            assert!(absences.iter().any(|absence| absence.leave == leave), "{leave:?}");
        }
        assert_eq!(absences, life(3, 1.0).take(100).collect::<Vec<_>>());
    }
}
