//! Output for people and scripts.

use std::fmt::Display;
use std::io::Write;
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
    let _ = write_line(&mut std::io::stderr().lock(), line);
}

/// In one write: stderr has no buffer, so a line written in pieces would mix with those of other processes that share it.
fn write_line(to: &mut impl Write, line: impl Display) -> std::io::Result<()> {
    to.write_all(format!("{line}\n").as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what each write gave.
    struct Writes(Vec<String>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.push(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_write() {
        let mut writes = Writes(Vec::new());
        write_line(&mut writes, format_args!("{} and {}", 1, 2)).unwrap();
        assert_eq!(writes.0, ["1 and 2\n"]);
    }
}
