//! How to write a receiver, by example: one that appends each message as a line of JSON to a file.
//!
//! A receiver is three things: a configuration, [`ReceiverPlugin`] to be built from it, [`Receiver`] to take batches. A
//! program adds it to a registry, and then `kind = "json_lines"` works in its configuration file:
//!
//! ```
//! let registry = poa_core::Registry::new().receiver::<custom_receiver::JsonLines>("json_lines");
//! assert!(registry.receivers().contains_key("json_lines"));
//! ```
//!
//! The host delivers a batch again until it is confirmed, also after a crash. So a receiver must know what it has stored
//! already; this one keeps the id of every line in memory, which is fine for a file that people look into. Retries, waits
//! and dead letters are the host's work: a receiver only says what kind of error it met.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use poa_core::{
    BuildContext, BuildError, DeliveryError, Message, Receiver, ReceiverPlugin, async_trait,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What an operator writes. These comments become the documentation of the keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file, relative to `data_dir`; made if missing.
    pub path: PathBuf,
}

/// One line.
#[derive(Deserialize, Serialize)]
struct Line {
    message_id: String,
    date: String,
    agent_id: String,
    data_type: String,
    data: Box<RawValue>,
}

/// Appends messages to a file.
#[derive(Debug)]
pub struct JsonLines(Arc<Mutex<Store>>);

#[derive(Debug)]
struct Store {
    file: File,
    stored: HashSet<String>,
}

impl Store {
    /// Reads which messages are there, and cuts a last line that is not whole. Waits for an older instance that writes.
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        file.lock()?;
        let (mut stored, mut whole, mut text) = (HashSet::new(), 0, String::new());
        let mut lines = BufReader::new(&file);
        while lines.read_line(&mut text)? > 0 && text.ends_with('\n') {
            stored.insert(serde_json::from_str::<Line>(&text)?.message_id);
            whole += text.len() as u64;
            text.clear();
        }
        file.set_len(whole)?;
        file.unlock()?;
        Ok(Self { file, stored })
    }

    /// Appends what is new, unless nobody wants that any more. All of it is on the disk then, or nothing in the file.
    fn append(&mut self, lines: &[Line], wanted: &Weak<()>) -> io::Result<()> {
        self.file.lock()?;
        let before = self.file.metadata()?.len();
        let result = match wanted.strong_count() {
            0 => Ok(()),
            _ => self.write(lines),
        };
        if result.is_err() {
            self.file.set_len(before)?;
        }
        self.file.unlock()?;
        result
    }

    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let new = lines.iter().filter(|line| !self.stored.contains(&line.message_id));
        let mut text = Vec::new();
        for line in new.clone() {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        self.file.write_all(&text)?;
        self.file.sync_data()?;
        self.stored.extend(new.map(|line| line.message_id.clone()).collect::<Vec<_>>());
        Ok(())
    }
}

#[async_trait]
impl ReceiverPlugin for JsonLines {
    type Config = Config;

    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let path = cx.data_dir().join(config.path);
        let failed = format!("cannot use {}; is it a file of this receiver?", path.display());
        // Files block, so they are used on threads that may.
        let opened = tokio::task::spawn_blocking(move || Store::open(&path)).await;
        let store = opened.map_err(io::Error::other).flatten();
        Ok(Self(Arc::new(Mutex::new(store.map_err(|e| BuildError::failed(failed).because(e))?))))
    }
}

#[async_trait]
impl Receiver for JsonLines {
    /// Cancel safe: a call that is dropped before it writes never will, and whoever is built next waits for one that does.
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let mut lines = Vec::with_capacity(batch.len());
        for (index, message) in batch.iter().enumerate() {
            // What cannot be read today cannot be read tomorrow: that one message is set aside, the others come again.
            lines.push(line(message).map_err(|e| DeliveryError::permanent_for(vec![index], e))?);
        }
        let (store, waiting) = (self.0.clone(), Arc::new(()));
        let wanted = Arc::downgrade(&waiting);
        let written = tokio::task::spawn_blocking(move || {
            store.lock().unwrap_or_else(PoisonError::into_inner).append(&lines, &wanted)
        });
        // A full disk or a lost network drive may be there again later.
        written.await.map_err(io::Error::other).flatten().map_err(DeliveryError::transient)
    }
}

fn line(message: &Message) -> Result<Line, poa_core::PayloadError> {
    let data: Box<RawValue> = message.payload().read()?;
    // In JSON a line feed as such stands between values only, so a space will do.
    let data = data.get().replace(['\n', '\r'], " ");
    Ok(Line {
        message_id: message.id().to_string(),
        date: message.received_at().to_string(),
        agent_id: message.agent_id().to_string(),
        data_type: message.data_type().name().to_owned(),
        data: RawValue::from_string(data).map_err(poa_core::PayloadError::Json)?,
    })
}
