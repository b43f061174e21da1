//! The store: a file of JSON lines. Put your own in its place.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::Weak;

use poa_core::{Message, PayloadError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One line.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Line {
    message_id: String,
    date: String,
    agent_id: String,
    data_type: String,
    data: Box<RawValue>,
}

impl Line {
    /// The line of a message.
    pub(crate) fn of(message: &Message) -> Result<Self, PayloadError> {
        let data: Box<RawValue> = message.payload().read()?;
        // A raw line feed in JSON occurs only between tokens, so a space can replace it.
        let data = data.get().replace(['\n', '\r'], " ");
        Ok(Self {
            message_id: message.id().to_string(),
            date: message.received_at().to_string(),
            agent_id: message.agent_id().to_string(),
            data_type: message.data_type().name().to_owned(),
            data: RawValue::from_string(data).map_err(PayloadError::Json)?,
        })
    }
}

/// A file, and the ids of the messages in it.
///
/// The ids are kept in memory, which is sufficient for an example. A database has a unique column instead.
#[derive(Debug)]
pub(crate) struct Store {
    file: File,
    stored: HashSet<String>,
}

impl Store {
    /// Reads the ids in the file, and cuts off an incomplete last line. Waits for an older instance that is writing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
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

    /// Appends the new lines, unless `wanted` is gone. Afterwards either all of them are durable, or none is in the file.
    pub(crate) fn append(&mut self, lines: &[Line], wanted: &Weak<()>) -> io::Result<()> {
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
