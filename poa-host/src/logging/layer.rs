//! Formats events as lines.

use tracing::Subscriber;
use tracing_subscriber::layer::{Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::{LogSink, Repeats};

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// Lines for people, coloured or not.
    Human {
        /// Whether to use colours.
        colour: bool,
    },
    /// One JSON object a line.
    Json,
}

/// The layer for a tracing subscriber that writes the events that pass `filter` to `sink`, with repeated ones
/// summarised.
pub fn log_layer<S>(
    format: LogFormat,
    sink: LogSink,
    filter: impl Filter<S> + Send + Sync + 'static,
    repeats: &Repeats,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    use tracing_subscriber::filter::FilterExt as _;
    let writer = move || sink.clone();
    let filter = filter.and(repeats.clone());
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Human { colour } => layer.with_ansi(colour).with_filter(filter).boxed(),
        LogFormat::Json => layer.with_ansi(false).json().with_filter(filter).boxed(),
    }
}
