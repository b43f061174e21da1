//! A receiver in a shared library, by example: one that appends each message as a line of JSON to a file, once.
//!
//! Everything but the last lines is as it would be in a server that has it compiled in.

mod file;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use poa_plugin::poa_core::config::Problem;
use poa_plugin::poa_core::telemetry::Counter;
use poa_plugin::poa_core::{
    BuildContext, BuildError, DeliveryError, Message, PayloadError, Plugin, Receiver, async_trait,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use file::{Line, Lines};

/// The configuration section. These comments become the documentation of the keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file, relative to `data_dir`; made if missing.
    pub path: PathBuf,
}

/// Appends messages to a file, each once, however often it is delivered.
struct JsonLines {
    lines: Arc<Mutex<Lines>>,
    written: Counter,
}

#[async_trait]
impl Plugin for JsonLines {
    type Config = Config;

    fn validate(config: &Config) -> Vec<Problem> {
        let whole = config.path.file_name().is_some();
        let problem = || Problem::new("path", "names no file; write one such as \"lines.ndjson\"");
        if whole { Vec::new() } else { vec![problem()] }
    }

    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let path = cx.data_dir().join(config.path);
        let failed = format!("cannot append to {}; is it writable?", path.display());
        let opened = {
            let path = path.clone();
            blocking(move || Lines::open(&path)).await
        };
        let lines = opened.map_err(|error| BuildError::failed(failed).with_source(error))?;
        let labels = [("receiver", cx.name())];
        let written = cx.telemetry().counter("lines_written", "Lines written", &labels);
        tracing::info!(path = %path.display(), "appending");
        Ok(Self { lines: Arc::new(Mutex::new(lines)), written })
    }
}

#[async_trait]
impl Receiver for JsonLines {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let mut lines = Vec::new();
        for (index, message) in batch.iter().enumerate() {
            // What cannot be read today cannot be read tomorrow: that one message is set aside, the others come again.
            let line = line(message).map_err(|e| DeliveryError::permanent_for(vec![index], e))?;
            lines.push(line);
        }
        let file = self.lines.clone();
        // It runs to its end even if the call is dropped; the next instance waits for that.
        let append =
            move || file.lock().map_err(|_| io::Error::other("it panicked"))?.append(lines);
        self.written.inc_by(blocking(append).await.map_err(DeliveryError::transient)? as u64);
        Ok(())
    }
}

/// Does what takes its time on a thread that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[derive(Serialize)]
struct Shown<'m> {
    message_id: &'m str,
    agent_id: &'m str,
    data_type: &'m str,
    data: Box<RawValue>,
}

/// The line of a message.
fn line(message: &Message) -> Result<Line, PayloadError> {
    let message_id = message.id().to_string();
    let shown = Shown {
        message_id: &message_id,
        agent_id: message.agent_id().as_str(),
        data_type: message.data_type().name(),
        data: message.payload().read()?,
    };
    let text = serde_json::to_vec(&shown).map_err(PayloadError::Json)?;
    // Within JSON a line feed stands between values only.
    let text = text.into_iter().map(|byte| if byte == b'\n' { b' ' } else { byte }).collect();
    Ok(Line { id: u128::from_be_bytes(*message.id().as_bytes()), text })
}

poa_plugin::export! {
    receivers: { "lines" => JsonLines },
}
