//! Log output that cannot harm the server: it never blocks, never panics, and counts the lines it could not
//! write.

mod layer;
mod queue;
mod repeats;
mod sink;

pub use layer::{LogFormat, log_layer};
pub use queue::LogCounts;
pub use repeats::Repeats;
pub use sink::{LogGuard, LogSink};
