//! What is printed for people and scripts.

use std::fmt::Display;
use std::io::Write as _;

/// Prints a line on stdout. Whoever has closed that wants to read no more, which is no reason to end a server.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Writes these bytes to stdout, and nothing else.
pub(crate) fn give(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}
