//! The problems of a configuration, each with its position.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Position;

/// A problem in a configuration file: its position, the fault, and the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Located {
    /// The file.
    pub file: PathBuf,
    /// The position in the file.
    pub position: Position,
    /// The keys that lead there, separated by dots; empty for the file as a whole.
    pub path: String,
    /// The problem and its cure.
    pub message: String,
}

/// Every problem of a configuration, in the order of its text.
///
/// Shows as one line for each: `file:line:column: path: message`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    items: Vec<Located>,
}

impl Problems {
    /// Sorts the problems, and drops repetitions.
    pub(crate) fn new(mut items: Vec<Located>) -> Self {
        items.sort_by(|a, b| (&a.file, a.position, &a.path).cmp(&(&b.file, b.position, &b.path)));
        items.dedup();
        Self { items }
    }

    /// One problem with the file as a whole.
    pub(crate) fn whole(file: &Path, message: String) -> Self {
        let (file, path) = (file.to_owned(), String::new());
        Self::new(vec![Located { file, position: Position::START, path, message }])
    }

    /// The problems.
    #[must_use]
    pub fn items(&self) -> &[Located] {
        &self.items
    }

    /// One line for each problem.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.items.iter().map(ToString::to_string)
    }
}

/// As `file:line:column: path: message`.
impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, position, path, message } = self;
        write!(f, "{}:{position}: ", file.display())?;
        match path.as_str() {
            "" => f.write_str(message),
            path => write!(f, "{path}: {message}"),
        }
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
