//! Opens the log, and recovers what it contains.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use poa_core::engine::{IdGenerator, KeyWindow, trace};
use poa_core::{DataTypes, error_chain, files};
use poa_log::{Directory, Log, LogError, Options, Position};

use crate::cursors::{Cursor, CursorFile, Cursors};
use crate::disk::LogReaders;
use crate::keys::Keys;
use crate::local::Local;
use crate::state::Past;

/// A log that was opened and is not written yet.
#[derive(Debug)]
pub(crate) struct OpenLog {
    pub(crate) path: PathBuf,
    pub(crate) log: Log<Directory>,
    pub(crate) cursors: CursorFile,
    types: DataTypes,
    /// Locked as long as the log is open, so that a second process is refused.
    lock: File,
}

/// The reason why the log could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LogOpenError {
    /// The directory or a file in it cannot be used.
    #[error("cannot open {path}")]
    Io {
        /// The path of the file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another process writes this log.
    #[error("{path} is in use; is another server running with this data directory?")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The log itself cannot be read.
    #[error("cannot read the log in {path}")]
    Log {
        /// The path of the directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: LogError,
    },
}

impl OpenLog {
    /// Opens the log in this directory, and creates it if it is missing.
    pub(crate) fn open(
        path: &Path,
        types: DataTypes,
        options: Options,
    ) -> Result<Self, LogOpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| LogOpenError::Io { path, source }
        };
        let directory = Directory::open(path).map_err(io(path))?;
        let lock_path = path.join("lock");
        let lock = files::private().create(true).write(true).truncate(true).open(&lock_path);
        let lock = lock.map_err(io(&lock_path))?;
        lock.try_lock().map_err(|_| LogOpenError::InUse { path: lock_path })?;
        let mut cursors = CursorFile::open(path).map_err(io(&path.join("cursors.json")))?;
        let (log, recovered) = Log::open(directory, options)
            .map_err(|source| LogOpenError::Log { path: path.to_owned(), source })?;
        if recovered.torn_bytes > 0 {
            let (bytes, kept_in) = (recovered.torn_bytes, recovered.kept_in);
            tracing::warn!(
                bytes,
                ?kept_in,
                "cut the torn tail of the log; none of it was acknowledged"
            );
        }
        if recovered.damaged_bytes > 0 {
            let bytes = recovered.damaged_bytes;
            tracing::error!(
                bytes,
                "the log is damaged before its last record, and receivers will skip the damaged bytes: the disk lost data, or the power \
                 went while they were being written, and they were not acknowledged"
            );
        }
        let has_records = log.end() > log.begin();
        if has_records && !cursors.is_there() {
            tracing::warn!(
                "cursors.json is missing in {}: every receiver starts with the oldest message in the log, and may get some again",
                path.display()
            );
            cursors.begin_at(Cursor { position: log.begin().get(), ..Cursor::default() });
        }
        Ok(Self { path: path.to_owned(), log, cursors, types, lock })
    }

    pub(crate) fn end(&self) -> u64 {
        self.log.end().get()
    }

    pub(crate) fn readers(&self) -> LogReaders {
        let begin = self.log.begin().get();
        LogReaders { readers: self.log.readers(), types: self.types.clone(), begin }
    }

    /// The disk space available to the log, in bytes: what is free for unprivileged users, plus the size of the log, so that it is the
    /// same after a restart. `None` if the file system does not know: some report a size of zero, which does not mean "full".
    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        let taken = self.log.end().since(self.log.begin());
        let disk = rustix::fs::fstatvfs(&self.lock).ok().filter(|disk| disk.f_blocks > 0)?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize).saturating_add(taken))
    }

    /// The cursors of the receivers.
    pub(crate) fn cursors(&self) -> &Cursors {
        self.cursors.written()
    }

    /// The information in the log about earlier messages.
    pub(crate) fn past(&self, window: KeyWindow) -> Past {
        let mut keys = Keys::new(window);
        let mut last_id = self.cursors().last_id();
        let mut reader = self.log.reader(Position::new(self.cursors().keys_from()));
        loop {
            match reader.next() {
                Ok(Some(entry)) => {
                    let Some(found) = trace(entry.payload) else { continue };
                    last_id = last_id.max(found.id.time());
                    if let Some((key, fingerprint)) = found.key {
                        keys.store(
                            key,
                            fingerprint,
                            found.id,
                            found.received_at,
                            entry.position.get(),
                        );
                    }
                }
                Ok(None) => break,
                Err(LogError::Damaged { resume: Some(resume), .. }) => reader.skip_to(resume),
                Err(error) => {
                    let error = error_chain(&error);
                    tracing::warn!("messages sent again may be stored twice: {error}");
                    break;
                }
            }
        }
        keys.forget_old(self.end());
        Past { keys, ids: IdGenerator::after(last_id) }
    }

    /// Warns about receivers with a backlog that are no longer configured.
    pub(crate) fn warn_of_removed(&self, local: &Local) {
        let state = local.state.lock();
        let receivers: Vec<_> = state.active().map(|(_, one)| &*one.terms.name).collect();
        for (receiver, messages) in self.cursors().left_by_others(&receivers) {
            tracing::warn!(
                receiver,
                messages,
                "no longer configured; discarding its undelivered messages"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pending::Pending;
    use poa_core::{AgentId, Draft, Message, Payload, Timestamp};

    /// The log contains a message that was received in the future: the clock has stepped back.
    #[test]
    fn ids_continue_after_those_in_the_log_and_the_cursors() {
        let dir = tempfile::tempdir().unwrap();
        let types = DataTypes::new(["a"]).unwrap();
        let open = || OpenLog::open(dir.path(), types.clone(), Options::default()).unwrap();
        let later = |hours: u64| {
            Timestamp::from_micros(Timestamp::now().as_micros() + hours * 3_600_000_000)
        };
        let mut before = IdGenerator::new();
        let [stored, noted] = [before.next(later(1)), before.next(later(2))];
        let payload = Payload::json(&serde_json::json!({})).unwrap();
        let agent = AgentId::new("agent").unwrap();
        let draft = Draft::new(agent, types.get("a").unwrap().clone(), payload);
        let mut pending = Pending::default();
        pending
            .push(poa_core::engine::Event::Message(Message::stamp(draft, stored, later(1))), None);
        open().log.append(pending.encoded()).unwrap();
        let next = || open().past(KeyWindow::default()).ids.next(Timestamp::now());
        assert!(next() > stored && next() < noted);

        let mut opened = open();
        let cursors = Cursors::new(Default::default(), opened.end(), noted.time());
        opened.cursors.write(cursors).unwrap();
        drop(opened);
        assert!(next() > noted);
    }
}
