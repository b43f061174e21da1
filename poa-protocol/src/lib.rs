#![doc = include_str!("../README.md")]

mod call;
mod encode;
mod field;
mod format;
#[cfg(feature = "host")]
pub mod host;
mod json;
mod limits;
mod malformed;
mod msgpack;
mod refusal;
mod scan;
mod socket;
mod unknown;

pub use call::{Batch, Bye, Call, CallKind, Data, MAX_ID_BYTES, Ping, decode};
pub use encode::{Frame, Outcome, SUCCESS, accepted, answer};
pub use field::{Field, FieldValue, decode_fields, decode_known_fields};
pub use format::Format;
pub use limits::Limits;
pub use malformed::{Malformed, Problem};
pub use refusal::Refusal;
pub use scan::Kind;
pub use socket::{MAX_REFERENCE_BYTES, Reference, Request, Session, SocketCall, decode_request};
