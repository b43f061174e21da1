//! What is printed for people and scripts.

use std::fmt::Display;
use std::io::Write as _;

/// Prints a line on stdout. Whoever has closed that wants to read no more, which is no reason to end a server.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
