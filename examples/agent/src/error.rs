//! Helpers for all errors of this crate.

use std::error::Error;
use std::fmt;

/// Any error that can cross threads.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Displays an error and all its causes on one line, separated by `: `.
#[derive(Debug)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
