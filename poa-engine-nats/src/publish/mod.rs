//! Publishing: messages wait in the lane of their partition, and go in rounds.
//!
//! A lane sends one round at a time and waits until all of it is stored, so the order of an agent's messages holds. What arrives
//! meanwhile forms the next round; the busier the lane, the more messages share a publish.

mod item;
mod lane;
mod round;

pub(crate) use item::{Call, Content, Item, Shared};
pub(crate) use lane::{Lane, Sender, WAITS, hex};
