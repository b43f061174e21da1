//! The thread that writes the log output, and its other end, which never blocks.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Repeats;
use super::queue::{LogCounts, Next, Queue};

/// The destination of log lines: a bounded queue to a thread that writes them.
///
/// Writing to it never blocks and never fails. A line that cannot be written is lost and counted, see [`LogCounts`]; once
/// writing works again, a line reports how many were lost. One call of `write` is one line.
#[derive(Clone, Debug)]
pub struct LogSink(Arc<Queue>);

/// Ends a log: dropping it writes the queued lines, for at most a second.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub struct LogGuard(Arc<Queue>);

/// How long the queued lines may take at the end.
const FAREWELL: Duration = Duration::from_secs(1);
/// The interval at which repeated lines are checked when no new one arrives.
const TICK: Duration = Duration::from_secs(1);
/// The wait before the next attempt when the reader is temporarily full.
const FULL: Duration = Duration::from_millis(20);

impl LogSink {
    /// Starts the thread, which also writes the summaries of `repeats`.
    ///
    /// # Errors
    /// When the operating system cannot create a thread.
    pub fn start(
        out: impl Write + Send + 'static,
        repeats: &Repeats,
    ) -> io::Result<(Self, LogGuard)> {
        let queue = Arc::new(Queue::counted_by(repeats.counts().clone()));
        let (shared, repeats) = (Arc::clone(&queue), repeats.clone());
        thread::Builder::new().name("poa-logging".to_owned()).spawn(move || {
            let mut writer = Writer { queue: shared, out, torn: false, told: 0 };
            writer.run(&repeats);
            writer.queue.end();
        })?;
        Ok((Self(Arc::clone(&queue)), LogGuard(queue)))
    }

    /// The numbers of written and lost lines.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        self.0.counts.clone()
    }
}

impl Write for LogSink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.close();
        self.0.wait_for_end(Instant::now() + FAREWELL);
    }
}

struct Writer<W> {
    queue: Arc<Queue>,
    out: W,
    /// Whether a part of a line was written, and nothing after it.
    torn: bool,
    /// The number of lost lines that were reported.
    told: u64,
}

impl<W: Write> Writer<W> {
    fn run(&mut self, repeats: &Repeats) {
        loop {
            match self.queue.next(TICK) {
                Next::Line(line) => self.line(&line),
                Next::Idle => {}
                Next::End => return,
            }
            repeats.summarise(Instant::now());
        }
    }

    fn line(&mut self, line: &[u8]) {
        match self.whole(line) {
            Ok(()) => {
                self.queue.counts.add_written();
                self.tell_of_lost();
            }
            Err(_) => self.queue.counts.add_failed(),
        }
    }

    /// Reports lost lines in a line of its own.
    fn tell_of_lost(&mut self) {
        let lost = self.queue.counts.lost();
        if lost > self.told && !self.queue.is_closed() {
            let lines = lost - self.told;
            self.told = lost;
            tracing::warn!(lines, "lost log lines: they could not be written");
        }
    }

    /// Writes a line, starting on a new line.
    fn whole(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.bytes(b"\n")?;
        }
        self.bytes(line)
    }

    fn bytes(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    self.torn = !rest.is_empty();
                }
                // Another program may have made the pipe or terminal non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Answers each write as configured, then remembers what it received.
    struct Scripted {
        answers: Receiver<io::Result<usize>>,
        taken: Arc<Mutex<String>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.answers.recv().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
            self.taken.lock().unwrap().push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scripted() -> (LogSink, LogGuard, Sender<io::Result<usize>>, Arc<Mutex<String>>) {
        let (tell, answers) = channel();
        let taken = Arc::default();
        let out = Scripted { answers, taken: Arc::clone(&taken) };
        let (sink, guard) = LogSink::start(out, &Repeats::default()).unwrap();
        (sink, guard, tell, taken)
    }

    #[test]
    fn a_failed_write_loses_only_that_line() {
        let (mut sink, guard, tell, taken) = scripted();
        for answer in [Ok(9), Err(ErrorKind::BrokenPipe.into()), Ok(9)] {
            tell.send(answer).unwrap();
        }
        for line in ["one\n", "two\n", "three\n"] {
            sink.write_all(line.as_bytes()).unwrap();
        }
        drop((tell, guard));
        assert_eq!(*taken.lock().unwrap(), "one\nthree\n");
        assert_eq!((sink.counts().written(), sink.counts().failed()), (2, 1));
    }

    #[test]
    fn the_line_after_a_torn_one_starts_on_a_new_line() {
        let (mut sink, guard, tell, taken) = scripted();
        for answer in [Ok(2), Err(ErrorKind::StorageFull.into()), Ok(9), Ok(9)] {
            tell.send(answer).unwrap();
        }
        sink.write_all(b"one\n").unwrap();
        sink.write_all(b"two\n").unwrap();
        drop((tell, guard));
        assert_eq!(*taken.lock().unwrap(), "on\ntwo\n");
        assert_eq!(sink.counts().lost(), 1);
    }

    #[test]
    fn a_temporarily_full_reader_loses_nothing() {
        let (mut sink, guard, tell, taken) = scripted();
        tell.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        sink.write_all(b"one\n").unwrap();
        drop((tell, guard));
        assert_eq!((&**taken.lock().unwrap(), sink.counts().lost()), ("one\n", 0));
    }

    #[test]
    fn a_stopped_reader_blocks_neither_the_writer_nor_the_end() {
        let (mut sink, guard, tell, taken) = scripted();
        let line = [b'x'; 1 << 16];
        (0..40).for_each(|_| sink.write_all(&line).unwrap());
        assert!(sink.counts().overflowed() >= 20);
        drop(guard);
        assert_eq!(*taken.lock().unwrap(), "");
        drop(tell);
    }
}
