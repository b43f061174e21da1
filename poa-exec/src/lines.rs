//! Lines of limited length.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Reads lines.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    /// The line is complete; the next call starts a new one.
    whole: bool,
    max: usize,
}

/// The reason why there is no next line.
#[derive(Debug)]
pub(crate) enum NoLine {
    /// The other end is closed. A line without its end counts as not written.
    End,
    TooLong,
    Io(io::Error),
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(crate) fn new(input: R, max: usize) -> Self {
        Self { input, line: Vec::new(), whole: false, max }
    }

    /// Reads the next line. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<(), NoLine> {
        if std::mem::take(&mut self.whole) {
            self.line.clear();
        }
        loop {
            let read = self.input.fill_buf().await.map_err(NoLine::Io)?;
            if read.is_empty() {
                return Err(NoLine::End);
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let part = &read[..end.unwrap_or(read.len())];
            if self.line.len() + part.len() > self.max {
                return Err(NoLine::TooLong);
            }
            self.line.extend_from_slice(part);
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                self.whole = true;
                return Ok(());
            }
        }
    }

    /// The last line read, without its end.
    pub(crate) fn line(&self) -> &[u8] {
        self.line.trim_ascii_end()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    #[tokio::test]
    async fn lines_end_with_a_line_feed() {
        let mut lines = Lines::new(BufReader::with_capacity(3, &b"one\ntwo\r\n\nhalf"[..]), 5);
        for expected in ["one", "two", ""] {
            lines.next().await.unwrap();
            assert_eq!(lines.line(), expected.as_bytes());
        }
        assert!(matches!(lines.next().await, Err(NoLine::End)));
    }

    #[tokio::test]
    async fn a_long_line_is_not_kept() {
        let mut lines = Lines::new(BufReader::with_capacity(4, &b"12345\n123456\n"[..]), 5);
        lines.next().await.unwrap();
        assert_eq!(lines.line(), b"12345");
        assert!(matches!(lines.next().await, Err(NoLine::TooLong)));
    }
}
