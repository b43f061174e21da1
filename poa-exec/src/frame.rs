//! The frames of both directions: one JSON object on one line each. The README is the reference.

mod from_child;
mod salvage;
mod to_child;

pub(crate) use from_child::{Frame, FrameError, Ready, Sent, excerpt, parse};
pub(crate) use salvage::id_of_send;
pub(crate) use to_child::{Outcome, STOP, activity, batch, hello, result, start};

/// The newest version of the protocol that this host speaks.
pub(crate) const PROTOCOL: u64 = 1;
