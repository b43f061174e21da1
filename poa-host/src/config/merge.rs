//! Merges several files.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::Located;
use super::document::{Document, Marks, Part, Span};
use super::path::{KeyPath, show};

/// Adds a document to another. Tables are merged, and arrays of tables are concatenated; any other entry in both is reported,
/// and keeps its first value.
pub(super) fn merge(into: &mut Document, from: Document) -> Vec<Located> {
    let Document { root, mut marks } = from;
    let first = into.marks.texts.len();
    into.marks.texts.append(&mut marks.texts);
    let mut merging = Merging { from: marks, first, found: Vec::new() };
    if let (Value::Object(ours), Value::Object(theirs)) = (&mut into.root, root) {
        merging.tables(&mut into.marks, ours, theirs, &mut Vec::new());
    }
    merging.found
}

struct Merging {
    /// The positions of entries in the added document.
    from: Marks,
    /// The number of its text.
    first: usize,
    found: Vec<Located>,
}

impl Merging {
    fn tables(
        &mut self,
        marks: &mut Marks,
        ours: &mut Map<String, Value>,
        theirs: Map<String, Value>,
        path: &mut KeyPath,
    ) {
        for (key, value) in theirs {
            path.push(key.clone());
            match (ours.get_mut(&key), value) {
                (None, value) => {
                    self.adopt(marks, path, path);
                    ours.insert(key, value);
                }
                (Some(Value::Object(ours)), Value::Object(theirs)) => {
                    self.tables(marks, ours, theirs, path);
                }
                (Some(Value::Array(ours)), Value::Array(theirs)) if of_tables(ours, &theirs) => {
                    self.append(marks, ours, theirs, path);
                }
                _ => self.clash(marks, path),
            }
            path.pop();
        }
    }

    fn append(
        &mut self,
        marks: &mut Marks,
        ours: &mut Vec<Value>,
        theirs: Vec<Value>,
        path: &KeyPath,
    ) {
        for (index, item) in theirs.into_iter().enumerate() {
            let at = |index: usize| [path.clone(), vec![index.to_string()]].concat();
            self.adopt(marks, &at(index), &at(ours.len()));
            ours.push(item);
        }
    }

    /// Moves the marks of an entry, and of everything below it, to its path in the whole.
    fn adopt(&self, marks: &mut Marks, from: &[String], to: &[String]) {
        let moved = |spans: &HashMap<KeyPath, Span>, into: &mut HashMap<KeyPath, Span>| {
            for (path, span) in spans.iter().filter(|(path, _)| path.starts_with(from)) {
                let span = Span { text: self.first, bytes: span.bytes.clone() };
                into.insert([to, &path[from.len()..]].concat(), span);
            }
        };
        moved(&self.from.keys, &mut marks.keys);
        moved(&self.from.values, &mut marks.values);
    }

    fn clash(&mut self, marks: &Marks, path: &[String]) {
        let (file, position) = self.place_of(marks, path);
        let (other, there) = marks.place(path, Part::Key);
        let message = format!("is also set at {}:{there}; remove one of the two", other.display());
        self.found.push(Located { file, position, path: show(path), message });
    }

    fn place_of(&self, marks: &Marks, path: &[String]) -> (std::path::PathBuf, super::Position) {
        let text = marks.texts.get(self.first);
        let start = self.from.keys.get(path).map_or(0, |span| span.bytes.start);
        let position =
            text.map_or(super::Position::START, |text| super::Position::of(&text.text, start));
        (text.map(|text| text.file.clone()).unwrap_or_default(), position)
    }
}

/// Whether both are `[[…]]`.
fn of_tables(ours: &[Value], theirs: &[Value]) -> bool {
    ours.iter().chain(theirs).all(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::super::document::parse_all;
    use super::super::files::Text;
    use super::*;

    fn whole(texts: &[&str]) -> (Document, Vec<String>) {
        let text = |(index, text): (usize, &&str)| Text {
            file: format!("{index}.toml").into(),
            text: (*text).to_owned(),
        };
        let texts: Vec<_> = texts.iter().enumerate().map(text).collect();
        let Ok((document, found)) = parse_all(&texts) else { panic!("not valid TOML") };
        let found = found.into_iter().map(|at| {
            format!("{}:{}: {}: {}", at.file.display(), at.position, at.path, at.message)
        });
        let found = found.collect();
        (document, found)
    }

    fn at(document: &Document, path: &[&str]) -> String {
        let path: KeyPath = path.iter().map(|key| (*key).to_owned()).collect();
        let (file, position) = document.marks.place(&path, Part::Key);
        format!("{}:{position}", file.display())
    }

    #[test]
    fn tables_are_merged_and_arrays_of_tables_are_concatenated() {
        let (document, found) = whole(&[
            "a = 1\n[t]\nx = 1\n[[p]]\nn = 1\n",
            "[t]\ny = 2\n[t.u]\nz = 3\n[[p]]\nn = 2\n",
        ]);
        assert!(found.is_empty(), "{found:?}");
        let expected = serde_json::json!({
            "a": 1, "t": {"x": 1, "y": 2, "u": {"z": 3}}, "p": [{"n": 1}, {"n": 2}],
        });
        assert_eq!(document.root, expected);
        assert_eq!(at(&document, &["t", "x"]), "0.toml:3:1");
        assert_eq!(at(&document, &["t", "u", "z"]), "1.toml:4:1");
        assert_eq!(at(&document, &["p", "1", "n"]), "1.toml:6:1");
    }

    #[test]
    fn what_two_files_set_is_reported_at_the_second() {
        let (document, found) = whole(&["[t]\nx = 1\nl = [1]\n", "[t]\nl = [2]\nx = 2\n", "t = 3"]);
        assert_eq!(document.root["t"], serde_json::json!({"x": 1, "l": [1]}));
        assert_eq!(
            found,
            [
                "1.toml:2:1: t.l: is also set at 0.toml:3:1; remove one of the two",
                "1.toml:3:1: t.x: is also set at 0.toml:2:1; remove one of the two",
                "2.toml:1:1: t: is also set at 0.toml:1:2; remove one of the two",
            ]
        );
    }
}
