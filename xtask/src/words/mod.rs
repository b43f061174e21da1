//! The words of this project: what `docs/glossary.md` asks for, as far as a machine can check it.

mod list;
mod rust;
mod text;

use std::fmt;
use std::path::Path;
use std::process::Command;

use crate::run::{Failure, output};
use list::{HEADLESS, HEADLESS_WHY, PHRASES, Phrase};
use text::{Passage, passages};

/// Files, by the beginning of their path, whose text is older than the list. It only ever gets shorter.
const UNCONVERTED: &str = include_str!("unconverted.txt");

/// Files that must name the phrases, and files that are not ours.
const EXEMPT: &[&str] =
    &["docs/glossary.md", "xtask/src/words/", "poa-receiver-dashboard/vendor/", "fuzz/target/"];

/// A phrase that a file should not have.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    phrase: String,
    why: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: \"{}\": {}", self.path, self.line, self.phrase, self.why)
    }
}

/// Reports every phrase of the list in the tracked files below this directory.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let unconverted: Vec<_> = unconverted().collect();
    let mut kept = vec![false; unconverted.len()];
    let mut findings = Vec::new();
    for path in tracked(root)? {
        let found = findings_in(root, &path)?;
        match unconverted.iter().position(|prefix| path.starts_with(prefix)) {
            Some(entry) => kept[entry] |= !found.is_empty(),
            None => findings.extend(found),
        }
    }
    for (prefix, _) in unconverted.iter().zip(&kept).filter(|(_, kept)| !**kept) {
        eprintln!("xtask: {prefix} is converted: remove it from xtask/src/words/unconverted.txt");
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(Failure::Refused(format!(
            "{count} phrases that docs/glossary.md does not allow; they are listed above"
        ))),
    }
}

/// Prints every phrase of the list in files whose path starts so, converted or not.
pub(crate) fn show(root: &Path, prefix: &str) -> Result<(), Failure> {
    for path in tracked(root)?.iter().filter(|path| path.starts_with(prefix)) {
        for finding in findings_in(root, path)? {
            println!("{finding}");
        }
    }
    Ok(())
}

fn unconverted() -> impl Iterator<Item = &'static str> {
    UNCONVERTED.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn tracked(root: &Path) -> Result<Vec<String>, Failure> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = output(Command::new("git").args(arguments).current_dir(root))?;
    let exempt = |path: &&str| EXEMPT.iter().any(|prefix| path.starts_with(prefix));
    Ok(listed.lines().filter(|path| !exempt(path)).map(str::to_owned).collect())
}

fn findings_in(root: &Path, path: &str) -> Result<Vec<Finding>, Failure> {
    let bytes = match std::fs::read(root.join(path)) {
        Ok(bytes) => bytes,
        // Deleted, and not yet committed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::Unreadable(path.to_owned(), error.to_string())),
    };
    let text = String::from_utf8_lossy(&bytes);
    Ok(passages(path, &text).iter().flat_map(|passage| in_passage(path, passage)).collect())
}

fn in_passage(path: &str, passage: &Passage) -> Vec<Finding> {
    let finding = |line, phrase: String, why| Finding { path: path.to_owned(), line, phrase, why };
    let headless = passage.words.first().filter(|(word, _)| HEADLESS.contains(&word.as_str()));
    let headless = headless.filter(|_| passage.documents);
    let headless = headless.map(|(word, line)| finding(*line, format!("{word} …"), HEADLESS_WHY));
    let phrases = (0..passage.words.len()).flat_map(|at| {
        let here = PHRASES.iter().filter(move |phrase| phrase.is_at(&passage.words, at));
        here.map(move |phrase| finding(passage.words[at].1, phrase.words.join(" "), phrase.why))
    });
    headless.into_iter().chain(phrases).collect()
}

impl Phrase {
    fn is_at(&self, words: &[(String, usize)], at: usize) -> bool {
        let word = |index: usize| words.get(index).map(|(word, _)| word.as_str());
        let same = self.words.iter().enumerate().all(|(n, own)| word(at + n) == Some(own));
        let before = at.checked_sub(1).and_then(word);
        let after = word(at + self.words.len());
        same && !before.is_some_and(|word| self.unless_before.contains(&word))
            && !after.is_some_and(|word| self.unless_after.contains(&word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrases(path: &str, text: &str) -> Vec<(usize, String)> {
        let found = passages(path, text);
        let found = found.iter().flat_map(|passage| in_passage(path, passage));
        found.map(|finding| (finding.line, finding.phrase)).collect()
    }

    #[test]
    fn a_phrase_is_found_over_the_end_of_a_line() {
        let found = phrases("a.rs", "// The oldest gives\n// way.\n");
        assert_eq!(found, [(1, "gives way".to_owned())]);
    }

    #[test]
    fn a_phrase_is_found_in_prose_and_not_in_code() {
        let found = phrases("a.md", "`nobody` is a user.\n\nNobody reads it.\n");
        assert_eq!(found, [(3, "nobody".to_owned())]);
    }

    #[test]
    fn a_headless_description_is_found_where_a_doc_comment_begins() {
        let found = phrases(
            "a.rs",
            "/// What it is.\nfn f() {}\n/// Says\n/// what it is.\n// What a pity\n",
        );
        assert_eq!(found, [(1, "what …".to_owned())]);
    }

    #[test]
    fn neighbours_make_a_phrase_right() {
        let found = phrases("a.md", "There is no room. It is no longer here. `x` is no duration.");
        assert_eq!(found, [(1, "is no".to_owned())]);
    }

    #[test]
    fn the_list_of_unconverted_files_names_files_that_are_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for prefix in unconverted() {
            assert!(root.join(prefix).exists(), "{prefix} is gone; remove it from the list");
        }
    }
}
