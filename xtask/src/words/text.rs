//! The text of a file that people read: prose of documents, comments and string literals of code.

/// A stretch of text that is read together, such as one comment over several lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Passage {
    /// Each word and punctuation mark with its line, counted from one.
    pub(crate) words: Vec<(String, usize)>,
    /// Whether it describes an item of the API.
    pub(crate) documents: bool,
}

impl Passage {
    /// Adds text that starts at this line.
    pub(crate) fn add(&mut self, text: &str, line: usize) {
        for (offset, text) in text.lines().enumerate() {
            self.words.extend(split(text).map(|word| (word, line + offset)));
        }
    }
}

/// Words in lower case, and each punctuation mark by itself.
fn split(text: &str) -> impl Iterator<Item = String> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '\'' | '’');
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let end = match is_word(first) {
            true => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word.to_lowercase())
    })
}

/// The passages of a file, by its name; none for a file that holds no text of ours.
pub(crate) fn passages(path: &str, text: &str) -> Vec<Passage> {
    let extension = path.rsplit('.').next().unwrap_or_default();
    match extension {
        "rs" => super::rust::passages(text),
        "md" => vec![document(text)],
        "toml" | "sh" | "yaml" => vec![hashes(text)],
        "html" | "js" | "mjs" | "cjs" | "css" | "c" | "h" | "py" | "sql" => vec![whole(text)],
        _ if path.ends_with("Dockerfile") || path.ends_with(".ci/run") => vec![hashes(text)],
        _ => Vec::new(),
    }
}

fn whole(text: &str) -> Passage {
    let mut passage = Passage::default();
    passage.add(text, 1);
    passage
}

/// Prose of a Markdown document, without code.
fn document(text: &str) -> Passage {
    let mut passage = Passage::default();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        if !fence && !fenced {
            passage.add(&without_code(line), number + 1);
        }
    }
    passage
}

/// The line with each piece of inline code reduced to one backquote, so that phrases do not join over it.
pub(crate) fn without_code(line: &str) -> String {
    let pieces = line.split('`').enumerate();
    pieces.map(|(index, piece)| if index % 2 == 0 { piece } else { "`" }).collect()
}

/// Comments that begin with `#`.
fn hashes(text: &str) -> Passage {
    let mut passage = Passage::default();
    for (number, line) in text.lines().enumerate() {
        let comment = match line.trim_start().strip_prefix('#') {
            Some(comment) => Some(comment),
            None => line.split_once(" # ").map(|(_, comment)| comment),
        };
        passage.add(comment.unwrap_or("."), number + 1);
    }
    passage
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, text: &str) -> String {
        let passages = passages(path, text);
        let words = passages.iter().flat_map(|passage| &passage.words);
        words.map(|(word, _)| word.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn documents_are_read_without_their_code() {
        let text = "One `two` three.\n```text\nfour\n```\nFive-six";
        assert_eq!(read("a.md", text), "one ` three . five-six");
    }

    #[test]
    fn configurations_are_read_by_their_comments() {
        assert_eq!(read("a.toml", "# One\nkey = 2 # three"), "one three");
    }

    #[test]
    fn lines_are_counted_from_one() {
        let passages = passages("a.md", "one\n\ntwo");
        assert_eq!(passages[0].words, [("one".to_owned(), 1), ("two".to_owned(), 3)]);
    }

    #[test]
    fn other_files_have_no_text() {
        assert!(passages("picture.png", "nobody").is_empty());
    }
}
