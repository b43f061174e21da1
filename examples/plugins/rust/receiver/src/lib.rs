//! A receiver in a shared library, by example: one that appends each message as a line of JSON to a file.
//!
//! Everything but the last lines is as it would be in a server that has it compiled in.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};

use poa_plugin::poa_core::config::Problem;
use poa_plugin::poa_core::telemetry::Counter;
use poa_plugin::poa_core::{
    BuildContext, BuildError, DeliveryError, Message, PayloadError, Receiver, ReceiverPlugin,
    async_trait,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

/// What an operator writes. These comments become the documentation of the keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file, relative to `data_dir`; made if missing.
    pub path: PathBuf,
}

#[derive(Serialize)]
struct Line<'m> {
    message_id: String,
    agent_id: &'m str,
    data_type: &'m str,
    data: Box<RawValue>,
}

/// Appends messages to a file. A message that is delivered again stands there again, with the same `message_id`.
struct Lines {
    file: File,
    written: Counter,
}

#[async_trait]
impl ReceiverPlugin for Lines {
    type Config = Config;

    fn validate(config: &Config) -> Vec<Problem> {
        let whole = config.path.file_name().is_some();
        let problem = || Problem::new("path", "names no file; write one such as \"lines.ndjson\"");
        if whole { Vec::new() } else { vec![problem()] }
    }

    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let path = cx.data_dir().join(config.path);
        let failed = format!("cannot append to {}; is it writable?", path.display());
        let opened = open(&path).await;
        let file = opened.map_err(|error| BuildError::failed(failed).because(error))?;
        let labels = [("receiver", cx.name())];
        let written = cx.telemetry().counter("lines_written", "Lines written", &labels);
        tracing::info!(path = %path.display(), "appending");
        Ok(Self { file, written })
    }
}

#[async_trait]
impl Receiver for Lines {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let mut text = Vec::new();
        for (index, message) in batch.iter().enumerate() {
            // What cannot be read today cannot be read tomorrow: that one message is set aside, the others come again.
            let line = line(message).map_err(|e| DeliveryError::permanent_for(vec![index], e))?;
            serde_json::to_writer(&mut text, &line).map_err(DeliveryError::permanent)?;
            text.push(b'\n');
        }
        self.file.write_all(&text).await.map_err(DeliveryError::transient)?;
        self.file.sync_data().await.map_err(DeliveryError::transient)?;
        self.written.inc_by(batch.len() as u64);
        Ok(())
    }
}

/// Opens the file. A line that was cut by a crash is ended, so that the next one stands alone; its message comes again.
async fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).await?;
    if file.metadata().await?.len() > 0 {
        file.seek(SeekFrom::End(-1)).await?;
        if file.read_u8().await? != b'\n' {
            file.write_all(b"\n").await?;
        }
    }
    Ok(file)
}

fn line(message: &Message) -> Result<Line<'_>, PayloadError> {
    Ok(Line {
        message_id: message.id().to_string(),
        agent_id: message.agent_id().as_str(),
        data_type: message.data_type().name(),
        data: message.payload().read()?,
    })
}

poa_plugin::export! {
    receivers: { "lines" => Lines },
}
