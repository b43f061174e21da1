//! Lines that repeat each other: the first few are logged, a summary replaces the rest.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use super::queue::LogCounts;

/// How long repetitions are counted before a summary reports them.
const WINDOW: Duration = Duration::from_secs(10);
/// The number of lines of one place in the code, about one plugin, that are logged within that time.
const BURST: u64 = 10;
/// The same for lines of plugins outside of this process, whose importance this program cannot judge.
const BURST_OF_OTHERS: u64 = 500;
/// The most places that are counted. Lines of other places are logged.
const MAX_PLACES: usize = 1024;
/// The most text of a line that its summary repeats.
const MAX_TEXT: usize = 512;

/// The fields that identify a plugin.
const SUBJECTS: [&str; 5] = ["handler", "receiver", "plugin", "library", "server"];
/// Each of these lines matters: an account's action, a problem in a file, and the summaries themselves.
const ALWAYS: [&str; 3] = ["poa_audit", "poa_host::problems", module_path!()];
/// Forwards the log lines of children and libraries.
const OTHERS: [&str; 2] = ["poa_exec::stderr", "poa_plugin"];

/// A filter of log events that passes the first few of each kind within ten seconds, and replaces the rest by one summary.
///
/// Two events are of one kind when they come from the same place in the code and are about the same plugin. Debug and trace
/// events always pass. Cloning is cheap; all clones share one table of limited size.
#[derive(Clone, Debug, Default)]
pub struct Repeats(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    places: Mutex<HashMap<u64, Place>>,
    counts: LogCounts,
}

/// One kind of event within the current window.
#[derive(Debug)]
struct Place {
    since: Instant,
    seen: u64,
    burst: u64,
    level: Level,
    target: &'static str,
    text: String,
}

impl Place {
    fn more(&self) -> u64 {
        self.seen.saturating_sub(self.burst)
    }
}

impl Repeats {
    pub(super) fn counts(&self) -> &LogCounts {
        &self.0.counts
    }

    /// Logs a summary of each kind whose time is over.
    pub(super) fn summarise(&self, now: Instant) {
        let mut over = Vec::new();
        self.places().retain(|_, place| {
            let ended = now.saturating_duration_since(place.since) >= WINDOW;
            if ended && place.more() > 0 {
                over.push((
                    place.level,
                    place.target,
                    place.more(),
                    std::mem::take(&mut place.text),
                ));
            }
            !ended
        });
        // The summary passes this filter again, so the lock must be free.
        over.into_iter().for_each(|(level, from, more, text)| tell(level, from, more, &text));
    }

    /// Counts an event, and returns whether to log it.
    fn passes(&self, event: &Event<'_>, now: Instant) -> bool {
        let meta = event.metadata();
        if *meta.level() > Level::INFO || ALWAYS.contains(&meta.target()) {
            return true;
        }
        let mut read = Read::new(meta);
        event.record(&mut read);
        let key = read.key.finish();
        let mut places = self.places();
        if !places.contains_key(&key) && places.len() >= MAX_PLACES {
            return true;
        }
        let place = places.entry(key).or_insert_with(|| Place::new(meta, read.text, now));
        place.seen += 1;
        if place.more() > 0 {
            self.0.counts.add_summarised();
        }
        place.more() == 0
    }

    fn places(&self) -> MutexGuard<'_, HashMap<u64, Place>> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn new(meta: &Metadata<'static>, text: String, since: Instant) -> Self {
        let target = meta.target();
        let burst = if OTHERS.contains(&target) { BURST_OF_OTHERS } else { BURST };
        Self { since, seen: 0, burst, level: *meta.level(), target, text }
    }
}

fn tell(level: Level, from: &'static str, repeated: u64, text: &str) {
    let seconds = WINDOW.as_secs();
    match level {
        Level::ERROR => tracing::error!(repeated, seconds, from, "more lines such as: {text}"),
        Level::WARN => tracing::warn!(repeated, seconds, from, "more lines such as: {text}"),
        _ => tracing::info!(repeated, seconds, from, "more lines such as: {text}"),
    }
}

/// Reads the fields that distinguish an event, and its message.
struct Read {
    key: DefaultHasher,
    text: String,
}

impl Read {
    fn new(meta: &Metadata<'static>) -> Self {
        let mut key = DefaultHasher::new();
        meta.callsite().hash(&mut key);
        Self { key, text: String::new() }
    }
}

impl Visit for Read {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(Bounded(&mut self.text), "{value:?}");
        } else if SUBJECTS.contains(&field.name()) {
            let mut subject = String::new();
            let _ = write!(Bounded(&mut subject), "{value:?}");
            subject.hash(&mut self.key);
        }
    }
}

/// Keeps the beginning of a text.
struct Bounded<'t>(&'t mut String);

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_TEXT.saturating_sub(self.0.len());
        let end = (0..=room.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
        self.0.push_str(&text[..end.unwrap_or(0)]);
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

impl<S: Subscriber> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.passes(event, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{Layer as _, fmt, registry};

    use super::*;

    /// The lines logged while `log` runs, and then by the summary.
    fn logged(log: impl FnOnce()) -> (Repeats, Vec<String>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (repeats, out) = (Repeats::default(), Arc::clone(&lines));
        let layer = fmt::layer()
            .without_time()
            .with_ansi(false)
            .with_writer(move || Lines(Arc::clone(&out)))
            .with_filter(repeats.clone());
        tracing::subscriber::with_default(registry().with(layer), || {
            log();
            repeats.summarise(Instant::now() + WINDOW);
        });
        let lines = std::mem::take(&mut *lines.lock().unwrap());
        (repeats, lines)
    }

    struct Lines(Arc<Mutex<Vec<String>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn three_hundred_repeated_lines_become_eleven() {
        let (repeats, lines) =
            logged(|| (0..300).for_each(|n| tracing::error!(receiver = "a", n, "set aside {n}")));
        assert_eq!(lines.len(), 11, "{lines:#?}");
        let last = &lines[10];
        assert!(last.contains("ERROR") && last.contains("repeated=290"), "{last}");
        assert!(last.contains("more lines such as: set aside 0"), "{last}");
        assert_eq!(repeats.counts().summarised(), 290);
    }

    #[test]
    fn each_plugin_has_lines_of_its_own() {
        let fail = |receiver: &str| tracing::warn!(receiver, "failed");
        let (_, lines) = logged(|| {
            (0..20).for_each(|_| fail("a"));
            fail("b");
        });
        assert_eq!(lines.iter().filter(|line| line.contains("receiver=\"b\"")).count(), 1);
        assert_eq!(lines.len(), 12, "{lines:#?}");
    }

    #[test]
    fn requested_and_audit_lines_are_not_summarised() {
        let (_, lines) = logged(|| {
            (0..30).for_each(|_| tracing::debug!("detail"));
            (0..30).for_each(|_| tracing::info!(target: "poa_audit", "user added"));
            (0..30).for_each(|_| tracing::info!(target: "poa_exec::stderr", plugin = "x", "hello"));
        });
        assert_eq!(lines.len(), 90);
    }

    #[test]
    fn a_long_message_is_cut_in_the_summary() {
        let long = "ä".repeat(MAX_TEXT);
        let (_, lines) = logged(|| (0..11).for_each(|_| tracing::info!("{long}")));
        assert!(lines[10].len() < MAX_TEXT + 200 && lines[10].contains("ää"), "{}", lines[10]);
    }

    #[test]
    fn the_table_has_a_limited_size() {
        let (repeats, lines) = logged(|| {
            for n in 0..MAX_PLACES + 50 {
                tracing::info!(plugin = n, "hello");
            }
        });
        assert_eq!(lines.len(), MAX_PLACES + 50);
        assert!(repeats.places().len() <= MAX_PLACES);
    }
}
