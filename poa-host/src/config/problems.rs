//! Everything that is wrong with a configuration, each with its place.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Position;

/// Something wrong in a configuration file: where, what, and the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Located {
    /// Where in the file.
    pub position: Position,
    /// The keys that lead there, separated by dots; empty for the file as a whole.
    pub path: String,
    /// What is wrong, and how to mend it.
    pub message: String,
}

/// Every problem of one configuration file, in the order they stand in it.
///
/// Shows as one line for each: `file:line:column: path: message`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    file: PathBuf,
    items: Vec<Located>,
}

impl Problems {
    /// Sorts the problems of `file`, and drops repetitions.
    pub(crate) fn new(file: &Path, mut items: Vec<Located>) -> Self {
        items.sort_by(|a, b| (a.position, &a.path).cmp(&(b.position, &b.path)));
        items.dedup();
        Self { file: file.to_owned(), items }
    }

    /// One problem with the file as a whole.
    pub(crate) fn whole(file: &Path, message: String) -> Self {
        let item = Located { position: Position::START, path: String::new(), message };
        Self::new(file, vec![item])
    }

    /// The problems.
    #[must_use]
    pub fn items(&self) -> &[Located] {
        &self.items
    }

    /// One line for each problem.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.items.iter().map(|item| {
            let (file, position) = (self.file.display(), item.position);
            match item.path.as_str() {
                "" => format!("{file}:{position}: {}", item.message),
                path => format!("{file}:{position}: {path}: {}", item.message),
            }
        })
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.lines().collect();
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
