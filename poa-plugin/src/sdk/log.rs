//! Forwards the plugin's log lines to the host.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::context::HostRef;
use crate::abi::{self, Bytes};

/// Sends the log lines and panics of this library to the host. The first host of a library gets all of them.
pub(super) fn start(host: HostRef) {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        // If a subscriber is set already, this library is part of a program that logs itself.
        if tracing::subscriber::set_global_default(ToHost(host)).is_ok() {
            std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        }
    });
}

thread_local! {
    static FROM: Cell<Option<HostRef>> = const { Cell::new(None) };
}

/// Attributes the further log lines of this thread to the instance with this pointer to the host.
pub(super) fn is_from(host: HostRef) {
    FROM.set(Some(host));
}

/// Sets the host for threads that belong to no instance: that of the first instance.
struct ToHost(HostRef);

fn level(level: Level) -> u32 {
    match level {
        Level::ERROR => abi::POA_ERROR,
        Level::WARN => abi::POA_WARN,
        Level::INFO => abi::POA_INFO,
        Level::DEBUG => abi::POA_DEBUG,
        Level::TRACE => abi::POA_TRACE,
    }
}

impl Subscriber for ToHost {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let Some(most) = self.0.functions.log_level else { return false };
        // SAFETY: the host's function and pointer.
        metadata.is_event() && level(*metadata.level()) <= unsafe { most(self.0.pointer) }
    }

    /// The host's level can change.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(log) = self.0.functions.log else { return };
        let mut text = Text(String::new());
        event.record(&mut text);
        let (metadata, text) = (event.metadata(), text.0.trim_start());
        let (target, text) = (metadata.target().as_bytes(), text.as_bytes());
        // Thread-local variables are gone when a thread ends.
        let from = FROM.try_with(Cell::get).ok().flatten().unwrap_or(self.0);
        // SAFETY: the host's function and pointer; the texts are lent for this call.
        unsafe { log(from.pointer, level(*metadata.level()), Bytes::of(target), Bytes::of(text)) }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A message, followed by its fields.
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => {
                let fields = std::mem::take(&mut self.0);
                write!(self.0, "{value:?}{fields}")
            }
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
