//! Publishing: messages wait in the lane of their partition until they may be sent.
//!
//! Messages with a key are sent as they come, each as a publish of its own. The others share publishes: what arrives while some of them are on
//! their way goes with the next, so the busier the node, the more share one. An agent's messages wait for those that it sent before, so their
//! order holds even if a publish has to be repeated.

mod in_flight;
mod item;
mod lane;
mod round;
mod turns;

pub(crate) use item::{Call, Content, Item, Shared};
pub(crate) use lane::{Lane, Sender, WAITS, hex};
