//! Output for people and scripts.

use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

/// Prints a line on stdout. A server must not stop because its stdout was closed, so errors are ignored.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Writes these bytes to stdout, and nothing else.
pub(crate) fn give(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Prints a line on stderr, for people who read along while scripts read stdout.
pub(crate) fn aside(line: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints a line on stdout, but waits no more than a second for a reader that is slow: the server must start all the same.
pub(crate) fn announce(line: String) {
    let (done, written) = std::sync::mpsc::channel();
    let write = move || {
        say(line);
        let _ = done.send(());
    };
    if std::thread::Builder::new().name("poa-announce".to_owned()).spawn(write).is_ok() {
        let _ = written.recv_timeout(Duration::from_secs(1));
    }
}
