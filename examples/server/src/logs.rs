//! Logs on stderr, which never block the server and never end it.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal as _, Write as _};
use std::panic::PanicHookInfo;

use poa_core::Timestamp;
use poa_host::logging::{LogCounts, LogGuard, LogSink, Repeats, log_layer};
use serde_json::json;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::{Cli, Command, LogFormat, Plugin};
use crate::failure::Failure;

/// Log lines, and the reason why a command fails, on stderr and in order. Dropping it writes the lines that wait.
#[derive(Debug)]
pub(crate) struct Logs {
    format: LogFormat,
    sink: LogSink,
    repeats: Repeats,
    _guard: LogGuard,
}

impl Logs {
    /// Takes stderr.
    pub(crate) fn new(format: LogFormat) -> std::io::Result<Self> {
        let repeats = Repeats::default();
        let (sink, guard) = LogSink::start(std::io::stderr(), &repeats)?;
        Ok(Self { format, sink, repeats, _guard: guard })
    }

    /// Starts to log as the command line says, else as RUST_LOG says, else with the default of the command.
    ///
    /// # Errors
    /// When the filter cannot be understood.
    pub(crate) fn start(&self, cli: &Cli) -> Result<(), Failure> {
        let written = cli.log.clone().or_else(written_in_environment);
        let text = written.unwrap_or_else(|| suggested(cli.command.as_ref()).to_owned());
        let filter = EnvFilter::try_new(&text).map_err(|error| {
            Failure::because(format!(
                "`{text}` is not a log filter ({error}); write one such as `info` or `poa_core=debug,info`"
            ))
        })?;
        let format = match self.format {
            LogFormat::Human => poa_host::logging::LogFormat::Human { colour: in_colour() },
            LogFormat::Json => poa_host::logging::LogFormat::Json,
        };
        let layer = log_layer(format, self.sink.clone(), filter, &self.repeats);
        tracing_subscriber::registry().with(layer).init();
        std::panic::set_hook(Box::new(panicked));
        Ok(())
    }

    /// How many lines were written and lost.
    pub(crate) fn counts(&self) -> LogCounts {
        self.sink.counts()
    }

    /// Writes one line that is not a log line, independent of the filter.
    pub(crate) fn say(&self, level: &str, line: &str) {
        let line = match self.format {
            LogFormat::Human => format!("{line}\n"),
            LogFormat::Json => format!("{}\n", as_json(level, line)),
        };
        // A sink takes all.
        let _ = self.sink.clone().write_all(line.as_bytes());
    }
}

/// The same shape as log lines have.
pub(crate) fn as_json(level: &str, line: &str) -> serde_json::Value {
    json!({
        "timestamp": Timestamp::now().to_string(),
        "level": level,
        "fields": { "message": line },
        "target": "poa_server",
    })
}

fn written_in_environment() -> Option<String> {
    std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty())
}

/// A panic is a line of the log: written by itself it could block, and would not be JSON.
fn panicked(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = words_of(panic.payload());
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        tracing::error!(thread, at, %trace, "panicked: {message}");
    } else {
        tracing::error!(thread, at, "panicked: {message}");
    }
}

/// The message of a panic.
fn words_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Colours are for people who watch and have not asked for none; files and other programs get plain text.
fn in_colour() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !unwanted
}

/// Commands that print results log warnings only.
fn suggested(command: Option<&Command>) -> &'static str {
    match command {
        None | Some(Command::Run) => "info",
        // Most of what is logged there are failures that were made on purpose.
        Some(Command::Plugin(Plugin::Test(_))) => "off",
        // It serves this machine alone, which a low limit of open files does not restrict.
        Some(Command::Demo(_)) => "warn,poa_http::bind=error",
        Some(_) => "warn",
    }
}
