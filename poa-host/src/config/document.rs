//! TOML text as a JSON tree that remembers the position of everything.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Number, Value};
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use super::files::Text;
use super::path::{KeyPath, show};
use super::{Located, Position, merge};

/// A parsed file, or several that are parts of one.
pub(crate) struct Document {
    pub(crate) root: Value,
    pub(crate) marks: Marks,
}

/// The positions of keys and values in the texts.
pub(crate) struct Marks {
    pub(super) texts: Vec<Text>,
    pub(super) keys: HashMap<KeyPath, Span>,
    pub(super) values: HashMap<KeyPath, Span>,
}

/// A part of one of the texts.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// The index of the text.
    pub(super) text: usize,
    /// Its bytes.
    pub(super) bytes: Range<usize>,
}

/// The part of an entry that a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Key,
    Value,
}

impl Marks {
    fn new(text: Text) -> Self {
        Self { texts: vec![text], keys: HashMap::new(), values: HashMap::new() }
    }

    /// The file and position of an entry; of the nearest enclosing table if it was not written.
    pub(crate) fn place(&self, path: &[String], part: Part) -> (&Path, Position) {
        let spans = match part {
            Part::Key => &self.keys,
            Part::Value => &self.values,
        };
        if let Some(text) = spans.get(path).and_then(|span| self.texts.get(span.text)) {
            let start = spans.get(path).map_or(0, |span| span.bytes.start);
            return (&text.file, Position::of(&text.text, start));
        }
        match path.split_last() {
            Some((_, parent)) => self.place(parent, Part::Value),
            None => (self.first_file(), Position::START),
        }
    }

    /// The file that is named for entries that no file contains.
    pub(crate) fn first_file(&self) -> &Path {
        self.texts.first().map_or(Path::new(""), |text| &text.file)
    }

    fn located(&self, path: &[String], part: Part, message: String) -> Located {
        let (file, position) = self.place(path, part);
        Located { file: file.to_owned(), position, path: show(path), message }
    }
}

/// Reads the TOML of several files as one document. An entry that is set in two of them is reported.
///
/// # Errors
/// Every syntax error, if the tree cannot be used.
pub(crate) fn parse_all(texts: &[Text]) -> Result<(Document, Vec<Located>), Vec<Located>> {
    let marks = Marks { texts: Vec::new(), keys: HashMap::new(), values: HashMap::new() };
    let mut whole = Document { root: Value::Object(Map::new()), marks };
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    for text in texts {
        match parse(text) {
            Ok((document, problems)) => {
                found.extend(problems);
                found.extend(merge::merge(&mut whole, document));
            }
            Err(problems) => broken.extend(problems),
        }
    }
    if broken.is_empty() { Ok((whole, found)) } else { Err(broken) }
}

/// Reads TOML. Repeated keys are reported along with other problems; other syntax errors hide the rest.
fn parse(text: &Text) -> Result<(Document, Vec<Located>), Vec<Located>> {
    let (table, errors) = DeTable::parse_recoverable(&text.text);
    let (twice, broken): (Vec<_>, Vec<_>) =
        errors.iter().partition(|error| error.message() == DUPLICATE);
    let mut found: Vec<_> = twice.into_iter().map(|error| repeated(text, error)).collect();
    if !broken.is_empty() {
        found.extend(syntax(text, &broken));
        return Err(found);
    }
    let mut reader = Reader { marks: Marks::new(text.clone()), found: Vec::new() };
    let root = reader.table(table.get_ref(), &mut Vec::new());
    found.append(&mut reader.found);
    Ok((Document { root, marks: reader.marks }, found))
}

/// The parser's message about a key that is defined twice.
const DUPLICATE: &str = "duplicate key";

fn repeated(text: &Text, error: &toml::de::Error) -> Located {
    let span = error.span().unwrap_or_default();
    let key = text.text.get(span.clone()).unwrap_or_default();
    let message = format!("`{key}` is defined twice; rename one of the two or remove it");
    unnamed(text, span.start, message)
}

/// A problem with an entry that has no name yet.
fn unnamed(text: &Text, at: usize, message: String) -> Located {
    let position = Position::of(&text.text, at);
    Located { file: text.file.clone(), position, path: String::new(), message }
}

/// The first error of each line; only the first of the text if the parser lost its place, and all later ones follow
/// from it.
fn syntax(text: &Text, errors: &[&toml::de::Error]) -> Vec<Located> {
    let mistake = |error: &&toml::de::Error| {
        let at = error.span().unwrap_or_default().start;
        unnamed(text, at, format!("not valid TOML: {}", error.message()))
    };
    let mut found: Vec<Located> = errors.iter().map(mistake).collect();
    found.sort_by_key(|mistake| mistake.position);
    found.dedup_by_key(|mistake| mistake.position.line);
    let header = |line: usize| {
        text.text.lines().nth(line - 1).is_some_and(|line| line.trim_start().starts_with('['))
    };
    if found.iter().any(|mistake| header(mistake.position.line)) {
        found.truncate(1);
    }
    found
}

struct Reader {
    marks: Marks,
    found: Vec<Located>,
}

impl Reader {
    fn table(&mut self, table: &DeTable<'_>, path: &mut KeyPath) -> Value {
        let mut object = Map::new();
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            self.marks.keys.insert(path.clone(), Span { text: 0, bytes: key.span() });
            let value = self.entry(value, path);
            object.insert(key.get_ref().to_string(), value);
            path.pop();
        }
        Value::Object(object)
    }

    fn entry(&mut self, value: &toml::Spanned<DeValue<'_>>, path: &mut KeyPath) -> Value {
        self.marks.values.insert(path.clone(), Span { text: 0, bytes: value.span() });
        match value.get_ref() {
            DeValue::Table(table) => self.table(table, path),
            DeValue::Array(items) => {
                let item = |(index, item): (usize, &_)| {
                    path.push(index.to_string());
                    let item = self.entry(item, path);
                    path.pop();
                    item
                };
                Value::Array(items.iter().enumerate().map(item).collect())
            }
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Datetime(value) => Value::String(value.to_string()),
            DeValue::Integer(value) => self.number(integer(value), path),
            DeValue::Float(value) => self.number(float(value), path),
        }
    }

    fn number(&mut self, number: Option<Number>, path: &KeyPath) -> Value {
        let Some(number) = number else {
            let message = "is not a number of at most 64 bits; write a smaller one".to_owned();
            self.found.push(self.marks.located(path, Part::Value, message));
            return Value::Null;
        };
        Value::Number(number)
    }
}

fn integer(value: &DeInteger<'_>) -> Option<Number> {
    let (digits, radix) = (value.as_str(), value.radix());
    let signed = i64::from_str_radix(digits, radix).map(Number::from);
    signed.or_else(|_| u64::from_str_radix(digits, radix).map(Number::from)).ok()
}

fn float(value: &DeFloat<'_>) -> Option<Number> {
    Number::from_f64(value.as_str().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(Document, Vec<Located>), Vec<Located>> {
        super::parse(&Text { file: "poa.toml".into(), text: text.to_owned() })
    }

    fn at(document: &Document, path: &[&str], part: Part) -> String {
        let path: KeyPath = path.iter().map(|key| (*key).to_owned()).collect();
        document.marks.place(&path, part).1.to_string()
    }

    #[test]
    fn remembers_positions() {
        let text = "a = 1\n[handlers.rest]\n  listen = \"x\"\ntls = { cert = \"c\" }\n[[plugins]]\npath = \"p\"\n";
        let (document, found) = parse(text).unwrap();
        assert_eq!(found, []);
        assert_eq!(document.root["handlers"]["rest"]["listen"], "x");
        assert_eq!(at(&document, &["handlers", "rest", "listen"], Part::Key), "3:3");
        assert_eq!(at(&document, &["handlers", "rest", "listen"], Part::Value), "3:12");
        assert_eq!(at(&document, &["handlers", "rest", "tls", "cert"], Part::Value), "4:16");
        assert_eq!(at(&document, &["handlers", "rest"], Part::Value), "2:1");
        assert_eq!(at(&document, &["handlers", "rest", "absent"], Part::Key), "2:1");
        assert_eq!(at(&document, &["plugins", "0", "path"], Part::Value), "6:8");
        assert_eq!(at(&document, &["absent"], Part::Key), "1:1");
    }

    #[test]
    fn numbers_of_all_bases() {
        let (document, found) =
            parse("a = 0xff\nb = 1_000\nc = -7\nd = 0.5\ne = 18446744073709551615\nf = nan\n")
                .unwrap();
        let root = &document.root;
        assert_eq!((&root["a"], &root["b"], &root["c"]), (&255.into(), &1000.into(), &(-7).into()));
        assert_eq!((&root["d"], &root["e"]), (&0.5.into(), &u64::MAX.into()));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].position.line, found[0].path.as_str()), (6, "f"));
    }

    #[test]
    fn a_repeated_key_hides_no_other_problem() {
        let (document, found) = parse("a = 1\n a = 2\n[t]\nb = 3\n[t]\nc = 4\n").unwrap();
        assert_eq!(document.root["t"]["b"], 3);
        let places: Vec<_> = found.iter().map(|p| p.position.to_string()).collect();
        assert_eq!(places, ["2:2", "5:2"], "{found:?}");
        assert!(found[0].message.contains("`a` is defined twice"), "{found:?}");
    }

    #[test]
    fn broken_syntax_is_located() {
        let found = parse("a = 1\nb = = 2\n[t]\nc = 127.0.0.1\n").err().unwrap();
        let lines: Vec<_> = found.iter().map(|mistake| mistake.position.line).collect();
        assert_eq!(lines, [2, 4], "{found:?}");
    }

    #[test]
    fn consequences_of_an_error_are_not_reported() {
        let found = parse("a = [\n[t]\nb = 1\nc = 2\n").err().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
