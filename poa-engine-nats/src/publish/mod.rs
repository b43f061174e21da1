//! Publishing: messages wait in the lane of their partition, and go in rounds.
//!
//! Messages without a key go in rounds: a lane sends one at a time and waits until all of it is stored. What arrives meanwhile forms the
//! next round; the busier the lane, the more messages share a publish. A message with a key is a publish of its own, and need not wait for
//! those of other agents. Nothing of an agent is sent while something that was taken before it is on its way, so its order holds.

mod item;
mod lane;
mod round;
mod sender;

pub(crate) use item::{Call, Content, Item, Shared};
pub(crate) use lane::Lane;
pub(crate) use sender::{Sender, WAITS, hex};
