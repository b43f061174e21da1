//! Records active agents across restarts, so that an agent that never comes back is still reported inactive.
//!
//! A file with a line for each change, `+agent` or `-agent`; ids have no control characters. It is rewritten when it has become
//! much longer than its content requires. It is not synced: it has to survive the process, not the machine.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::{AgentId, files};

/// The file is rewritten when it has this many lines more than agents.
const SLACK: usize = 10_000;

/// The file, open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    lines: usize,
    active: usize,
    broken: bool,
}

impl Journal {
    /// Opens or creates the journal at this path. Returns the agents that were active when it was last written.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Vec<AgentId>)> {
        let active = read(path)?;
        let file = write_anew(path, &active)?;
        let count = active.len();
        let journal =
            Self { path: path.to_owned(), file, lines: count, active: count, broken: false };
        Ok((journal, active.into_iter().collect()))
    }

    /// Records a change. A failure to write is logged once: agents may then stay active after a restart.
    pub(super) fn note(&mut self, agent: &AgentId, active: bool) {
        let sign = if active { '+' } else { '-' };
        // One write per line, so that a crash leaves whole lines.
        let written = self.file.write_all(format!("{sign}{agent}\n").as_bytes());
        self.lines += 1;
        self.active = if active { self.active + 1 } else { self.active.saturating_sub(1) };
        self.report(written);
    }

    /// Rewrites the file if that makes it much shorter.
    pub(super) fn tidy(&mut self) {
        if self.lines < 2 * self.active + SLACK {
            return;
        }
        let tidied = read(&self.path).and_then(|active| {
            self.file = write_anew(&self.path, &active)?;
            self.active = active.len();
            Ok(())
        });
        // Even if that failed: the next attempt waits for as many new lines.
        self.lines = self.active;
        self.report(tidied);
    }

    fn report(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && !std::mem::replace(&mut self.broken, true)
        {
            let path = self.path.display();
            tracing::warn!("cannot remember which agents are active in {path}: {error}");
        }
    }
}

fn read(path: &Path) -> io::Result<HashSet<AgentId>> {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let mut active = HashSet::new();
    for line in text.lines() {
        // The rest of a line after a power cut is not an agent.
        let Some((sign, id)) = line.split_at_checked(1) else { continue };
        let Ok(agent) = AgentId::new(id) else { continue };
        match sign {
            "+" => drop(active.insert(agent)),
            "-" => drop(active.remove(&agent)),
            _ => {}
        }
    }
    Ok(active)
}

/// Replaces the file as a whole, so that a crash leaves the old or the new one. Returns it open for appending.
fn write_anew(path: &Path, active: &HashSet<AgentId>) -> io::Result<File> {
    let temporary = path.with_extension("new");
    let mut file = files::private().create(true).write(true).truncate(true).open(&temporary)?;
    let lines: String = active.iter().map(|agent| format!("+{agent}\n")).collect();
    file.write_all(lines.as_bytes())?;
    std::fs::rename(&temporary, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str) -> AgentId {
        AgentId::new(name).unwrap()
    }

    fn open(path: &Path) -> (Journal, Vec<String>) {
        let (journal, active) = Journal::open(path).unwrap();
        let mut names: Vec<_> = active.iter().map(ToString::to_string).collect();
        names.sort();
        (journal, names)
    }

    #[test]
    fn active_agents_survive_a_restart_and_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("active-agents");
        let (mut journal, active) = open(&path);
        assert!(active.is_empty());
        for (name, active) in [("a", true), ("b c", true), ("-d", true), ("a", false)] {
            journal.note(&agent(name), active);
        }
        drop(journal);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"\n\xff\x00torn").unwrap();
        assert_eq!(open(&path).1, ["-d", "b c"]);
        assert_eq!(open(&path).1, ["-d", "b c"]);
    }

    #[test]
    fn the_file_stays_short() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("active-agents");
        let (mut journal, _) = open(&path);
        journal.note(&agent("stays"), true);
        for _ in 0..SLACK {
            journal.note(&agent("flaps"), true);
            journal.note(&agent("flaps"), false);
            journal.tidy();
        }
        assert!(std::fs::metadata(&path).unwrap().len() < 2 * 8 * SLACK as u64);
        journal.note(&agent("last"), true);
        drop(journal);
        assert_eq!(open(&path).1, ["last", "stays"]);
    }
}
