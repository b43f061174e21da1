//! Comments and string literals of Rust source.

use super::text::{Passage, without_code};

/// Each comment, consecutive lines of one joined, and each string literal that is more than one word.
pub(crate) fn passages(source: &str) -> Vec<Passage> {
    let mut reader = Reader { source, at: 0, line: 1, comment: None, found: Vec::new() };
    while reader.step() {}
    reader.close_comment();
    reader.found
}

/// A comment over lines that follow one another.
struct Comment {
    passage: Passage,
    marker: &'static str,
    last_line: usize,
    fenced: bool,
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    comment: Option<Comment>,
    found: Vec<Passage>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    /// Moves on by this many bytes.
    fn skip(&mut self, bytes: usize) {
        self.line += self.rest()[..bytes].matches('\n').count();
        self.at += bytes;
    }

    /// Reads one token; false at the end.
    fn step(&mut self) -> bool {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return false };
        match first {
            '/' if rest.starts_with("//") => self.line_comment(),
            '/' if rest.starts_with("/*") => self.block_comment(),
            '"' => self.string(1),
            'r' | 'b' | 'c' => self.prefixed(),
            '\'' => self.skip(quoted(rest)),
            c if is_name(c) => self.name(),
            c => self.skip(c.len_utf8()),
        }
        true
    }

    fn name(&mut self) {
        let rest = self.rest();
        self.skip(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
    }

    fn line_comment(&mut self) {
        let rest = self.rest();
        let length = rest.find('\n').unwrap_or(rest.len());
        let marker = ["///", "//!", "//"].into_iter().find(|marker| rest.starts_with(marker));
        let marker = marker.unwrap_or("//");
        let text = &rest[marker.len()..length];
        let joins = self
            .comment
            .as_ref()
            .is_some_and(|open| open.marker == marker && open.last_line + 1 == self.line);
        if !joins {
            self.close_comment();
        }
        let documents = marker != "//";
        let comment = self.comment.get_or_insert_with(|| Comment {
            passage: Passage { documents, ..Passage::default() },
            marker,
            last_line: 0,
            fenced: false,
        });
        comment.last_line = self.line;
        let fence = text.trim_start().starts_with("```");
        comment.fenced ^= fence && documents;
        if !fence && !comment.fenced {
            comment.passage.add(&without_code(text), self.line);
        }
        self.skip(length);
    }

    fn close_comment(&mut self) {
        self.found.extend(self.comment.take().map(|comment| comment.passage));
    }

    fn block_comment(&mut self) {
        let rest = self.rest();
        let length = rest.find("*/").map_or(rest.len(), |end| end + 2);
        self.keep(&rest[..length]);
        self.skip(length);
    }

    /// A literal with escapes, whose opening quote ends after this many bytes.
    fn string(&mut self, open: usize) {
        let rest = &self.rest()[open..];
        let mut escaped = false;
        let end = rest.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = end.unwrap_or(rest.len());
        // A line that ends with a backslash continues on the next one.
        self.keep(&rest[..end].replace("\\\n", " \n").replace("\\n", " . "));
        self.skip(open + end + usize::from(end < rest.len()));
    }

    /// What begins with a letter that may open a literal: `r"…"`, `r#"…"#`, `b"…"`, `br"…"`, `c"…"`.
    fn prefixed(&mut self) {
        let rest = self.rest();
        let letters = rest.find(|c| !matches!(c, 'r' | 'b' | 'c')).unwrap_or(rest.len());
        let after = &rest[letters..];
        let hashes = after.find(|c| c != '#').unwrap_or(after.len());
        let raw = rest[..letters].contains('r');
        match after[hashes..].starts_with('"') && letters < 3 {
            true if raw => self.raw_string(letters + hashes + 1, hashes),
            true if hashes == 0 => self.string(letters + 1),
            _ => self.name(),
        }
    }

    fn raw_string(&mut self, open: usize, hashes: usize) {
        let rest = &self.rest()[open..];
        let close = format!("\"{}", "#".repeat(hashes));
        let end = rest.find(&close).unwrap_or(rest.len());
        self.keep(&rest[..end]);
        self.skip((open + end + close.len()).min(open + rest.len()));
    }

    fn keep(&mut self, text: &str) {
        // One word is a name, not a sentence.
        if text.contains(char::is_whitespace) {
            let mut passage = Passage::default();
            passage.add(text, self.line);
            self.found.push(passage);
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a character literal, or of the quote of a lifetime.
fn quoted(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next().unwrap_or((1, ' '));
    if first == '\\' {
        return rest[3.min(rest.len())..].find('\'').map_or(1, |end| end + 4);
    }
    match characters.next() {
        Some((at, '\'')) => at + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Vec<String> {
        let text = |passage: &Passage| {
            let words: Vec<_> = passage.words.iter().map(|(word, _)| word.as_str()).collect();
            words.join(" ")
        };
        passages(source).iter().map(text).collect()
    }

    #[test]
    fn comment_lines_that_follow_one_another_are_one_passage() {
        assert_eq!(read("// gives\n// way\nlet a = 1;\n/// other"), ["gives way", "other"]);
    }

    #[test]
    fn strings_of_every_form_are_read() {
        let source = r##"let a = "one \" two"; let b = r#"three " four"#; let c = b"five six";"##;
        assert_eq!(read(source), ["one \\ \" two", "three \" four", "five six"]);
    }

    #[test]
    fn a_string_over_lines_keeps_its_words_together() {
        assert_eq!(read("\"gives \\\n   way\""), ["gives way"]);
    }

    #[test]
    fn names_characters_and_lifetimes_are_not_read() {
        assert!(
            read("fn nobody<'a>(c: char) -> &'a str { let q = '\"'; let e = '\\''; \"x\" }")
                .is_empty()
        );
    }

    #[test]
    fn code_in_documentation_is_not_read() {
        assert_eq!(read("/// one `two`\n/// ```\n/// three\n/// ```\n/// four"), ["one ` four"]);
    }

    #[test]
    fn only_doc_comments_document() {
        let documents: Vec<_> =
            passages("/// a\nfn f() {} // b\n").iter().map(|p| p.documents).collect();
        assert_eq!(documents, [true, false]);
    }
}
