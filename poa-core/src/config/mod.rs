//! Types for the fields of plugin configurations, and the problems that validation reports.

mod duration;
mod problem;
mod secret;
mod size;

pub use duration::Duration;
pub use problem::Problem;
pub use secret::Secret;
pub use size::Size;
