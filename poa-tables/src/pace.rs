//! The pace at which old rows are removed while new ones are stored.

use std::time::Duration;

/// The longest that a step may delay the writer of new rows.
const STEP: Duration = Duration::from_millis(10);
/// The reciprocal of the fraction of time that steps may take: one twelfth. With one fifth, a machine with two cores at full load stored 0.89 of
/// the rows that it stores alone.
const SHARE: u32 = 12;
/// The wait after a step of negligible duration.
const PAUSE: Duration = Duration::from_millis(5);
/// The fewest and the most rows of a step.
const ROWS: std::ops::RangeInclusive<u32> = 50..=10_000;

/// Sizes the steps in which old rows are removed, so that storing new ones is not held up.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rows: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rows: 200 }
    }
}

impl Pace {
    /// The number of rows to remove in the next step.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Adapts to the duration of a step, and returns how long to wait before the next one.
    pub fn rest(&mut self, took: Duration) -> Duration {
        self.rows =
            if took > STEP { self.rows / 2 } else { self.rows.saturating_add(self.rows / 2) }
                .clamp(*ROWS.start(), *ROWS.end());
        PAUSE.max(took * (SHARE - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_shrink_while_slow_and_grow_while_fast() {
        let mut pace = Pace::default();
        assert_eq!(pace.rest(Duration::from_millis(100)), Duration::from_millis(1100));
        assert_eq!(pace.rows(), 100);
        let rests: Vec<_> = (0..100).map(|_| pace.rest(Duration::from_secs(1))).collect();
        assert_eq!(rests[99], Duration::from_secs(11));
        assert_eq!(pace.rows(), *ROWS.start());
        let rests: Vec<_> = (0..100).map(|_| pace.rest(Duration::from_micros(10))).collect();
        assert_eq!((pace.rows(), rests[0]), (*ROWS.end(), PAUSE));
    }
}
