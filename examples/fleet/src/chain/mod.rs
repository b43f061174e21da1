//! The chain that all agents look at.

mod block;
mod decimal;

use std::collections::VecDeque;
use std::sync::Arc;

use fastrand::Rng;
use parking_lot::Mutex;

pub(crate) use block::Block;

use crate::seed::{bell, derive, hex};
use block::{Header, Parent, STEP_SECONDS};
use decimal::Decimal;

/// Blocks kept: enough for a history and for agents that lag behind.
const KEPT: usize = 128;

/// The number and the total difficulty of the chain in the recording.
const FIRST_NUMBER: u64 = 282_336;
const FIRST_TOTAL_DIFFICULTY: &str = "96073962346990082020395333163855709749076544";

/// How often an authority misses its turn.
const MISSED_STEPS: f64 = 0.08;

/// In wei. A random walk of its logarithm, so that it ranges from 0.1 to 100 gwei.
const GAS_PRICES: std::ops::RangeInclusive<f64> = 1e8..=1e11;

/// A chain of blocks that follow each other, sealed in turn by a few authorities. It grows as time passes, and the same
/// seed and start give the same blocks.
#[derive(Debug)]
pub(crate) struct Chain(Mutex<State>);

#[derive(Debug)]
struct State {
    rng: Rng,
    authorities: Vec<String>,
    total_difficulty: Decimal,
    gas_price: f64,
    /// Seconds since 1970 at the fleet's start.
    start: u64,
    step: u64,
    blocks: VecDeque<Arc<Block>>,
}

impl Chain {
    /// A chain whose first blocks were sealed before `start`, in seconds since 1970.
    pub(crate) fn new(seed: u64, start: u64) -> Self {
        let mut rng = derive(seed, "chain", 0);
        let mut state = State {
            authorities: (0..5).map(|_| hex(&mut rng, 20)).collect(),
            gas_price: 1e9 * (1.0 + 4.0 * rng.f64()),
            rng,
            total_difficulty: Decimal::new(FIRST_TOTAL_DIFFICULTY),
            start,
            step: start / STEP_SECONDS - 2 * KEPT as u64,
            blocks: VecDeque::with_capacity(KEPT),
        };
        state.grow(0.0);
        Self(Mutex::new(state))
    }

    /// The last block that was sealed by `at`, in seconds since the start. Looking back further than the chain is kept gives
    /// the oldest block.
    pub(crate) fn head(&self, at: f64) -> Arc<Block> {
        let mut state = self.0.lock();
        state.grow(at);
        let sealed = state.blocks.partition_point(|block| block.sealed <= at);
        Arc::clone(&state.blocks[sealed.saturating_sub(1)])
    }

    /// Up to `count` blocks that end with the one of this number, the newest first.
    pub(crate) fn before(&self, number: u64, count: usize) -> Vec<Arc<Block>> {
        let state = self.0.lock();
        let newest_first = state.blocks.iter().rev().skip_while(|b| b.header.number > number);
        newest_first.take(count).map(Arc::clone).collect()
    }
}

impl State {
    /// Seals all blocks up to this time.
    fn grow(&mut self, at: f64) {
        while self.sealed_at(self.step + 1) <= at {
            self.step += 1;
            if self.blocks.is_empty() || self.rng.f64() >= MISSED_STEPS {
                self.seal();
            }
        }
    }

    /// Seconds since the start at which a step begins.
    fn sealed_at(&self, step: u64) -> f64 {
        (step * STEP_SECONDS) as f64 - self.start as f64
    }

    fn seal(&mut self) {
        let sealed = self.sealed_at(self.step);
        self.gas_price = (self.gas_price * (0.06 * bell(&mut self.rng)).exp())
            .clamp(*GAS_PRICES.start(), *GAS_PRICES.end());
        let genesis = hex(&mut self.rng, 32);
        let last = self.blocks.back().map(|block| &block.header);
        let parent = Parent {
            number: last.map_or(FIRST_NUMBER - 1, |last| last.number),
            hash: last.map_or(&genesis, |last| &last.hash),
            step: last.map_or(self.step - 1, |last| last.timestamp / STEP_SECONDS),
            total_difficulty: &mut self.total_difficulty,
        };
        let turn = usize::try_from(self.step).unwrap_or_default() % self.authorities.len();
        let author = self.authorities[turn].clone();
        let transactions = self.rng.u64(0..=12);
        let header = Header::seal(&mut self.rng, parent, self.step, author, transactions);
        let pending = self.rng.u64(0..=40);
        if self.blocks.len() == KEPT {
            self.blocks.pop_front();
        }
        let block = Block::new(header, sealed, self.gas_price as u64, pending);
        self.blocks.push_back(Arc::new(block));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_795_282_524;

    #[test]
    fn blocks_follow_each_other() {
        let chain = Chain::new(7, START);
        let head = chain.head(600.0);
        let blocks = chain.before(head.header.number, KEPT);
        assert_eq!(blocks.len(), KEPT);
        for pair in blocks.windows(2) {
            let (block, parent) = (&pair[0].header, &pair[1].header);
            assert_eq!(block.parent_hash, parent.hash);
            assert_eq!(block.number, parent.number + 1);
            assert!(block.timestamp > parent.timestamp);
            assert!(block.gas_used <= block.gas_limit);
            let mut total = Decimal::new(&parent.total_difficulty);
            total.add(block.difficulty.parse().unwrap());
            assert_eq!(block.total_difficulty, total.to_string());
        }
    }

    #[test]
    fn the_head_is_never_from_the_future_and_at_most_a_few_steps_old() {
        let chain = Chain::new(7, START);
        for second in 0..600 {
            let head = chain.head(f64::from(second));
            assert!(head.sealed <= f64::from(second) && head.sealed > f64::from(second) - 60.0);
            assert_eq!(head.header.timestamp as f64 - START as f64, head.sealed);
        }
    }

    #[test]
    fn somebody_who_lags_sees_the_block_that_was_the_head_then() {
        let chain = Chain::new(7, START);
        let then = chain.head(100.0);
        let now = chain.head(130.0);
        assert!(now.header.number > then.header.number);
        assert!(Arc::ptr_eq(&then, &chain.head(100.0)));
    }

    #[test]
    fn the_same_seed_gives_the_same_chain_however_often_one_looks() {
        let (often, seldom, other) =
            (Chain::new(7, START), Chain::new(7, START), Chain::new(8, START));
        (0..1000).for_each(|tenth| drop(often.head(f64::from(tenth) / 10.0)));
        assert_eq!(often.head(100.0).data, seldom.head(100.0).data);
        assert_ne!(often.head(100.0).data, other.head(100.0).data);
    }
}
