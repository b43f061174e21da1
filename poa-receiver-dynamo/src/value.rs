//! JSON as DynamoDB holds it.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::number::number;

/// How deep maps and lists may stand inside of each other; DynamoDB allows 32 levels, of which the innermost value is one.
const DEPTH: usize = 31;

/// The longest name of an attribute, in bytes.
const NAME: usize = 65_535;

/// What a map or a list costs besides its content, and besides a byte for each entry.
const CONTAINER: usize = 3;

/// Turns JSON into attribute values, and adds up what they cost.
///
/// Nothing is lost: what DynamoDB cannot hold as what it is stays as the text of its JSON. That is a number of more digits or
/// of another magnitude, an object with a key that is empty or stands twice, whatever is nested too deep, and a text with half
/// of a surrogate pair.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// The size in the table, in bytes, as DynamoDB counts it.
    pub(crate) stored: usize,
    /// The most that it may take in a request, in bytes.
    pub(crate) sent: usize,
    /// Something was kept as text.
    pub(crate) as_text: bool,
}

impl Encoder {
    /// A value that stands in this many maps and lists.
    pub(crate) fn value(&mut self, json: &RawValue, depth: usize) -> AttributeValue {
        let value = match json.get().as_bytes().first() {
            Some(b'{') => entries(json).and_then(|entries| self.map(entries, depth)),
            Some(b'[') => self.list(json, depth),
            Some(b'"') => serde_json::from_str(json.get()).ok().map(|text| self.text(text)),
            Some(b't') => Some(self.simple(AttributeValue::Bool(true))),
            Some(b'f') => Some(self.simple(AttributeValue::Bool(false))),
            Some(b'n') => Some(self.null()),
            _ => number(json.get()).map(|number| {
                self.count(number.stored, number.text.len());
                AttributeValue::N(number.text.into_owned())
            }),
        };
        value.unwrap_or_else(|| self.as_text(json))
    }

    /// A map of these entries, unless DynamoDB cannot hold it as one.
    pub(crate) fn map(&mut self, entries: Entries<'_>, depth: usize) -> Option<AttributeValue> {
        if depth >= DEPTH || !are_names(&entries) {
            return None;
        }
        self.container(entries.len());
        let mut map = HashMap::with_capacity(entries.len());
        for (name, json) in entries {
            let value = self.value(json, depth + 1);
            self.insert(&mut map, name, value);
        }
        Some(AttributeValue::M(map))
    }

    /// Counts a map or a list of this many entries, without them.
    pub(crate) fn container(&mut self, entries: usize) {
        self.count(CONTAINER + entries, 0);
    }

    /// Adds one value, which has been counted, to a map or to the item, and counts its name.
    pub(crate) fn insert(
        &mut self,
        map: &mut HashMap<String, AttributeValue>,
        name: impl Into<String>,
        value: AttributeValue,
    ) {
        let name = name.into();
        self.count(name.len(), name.len());
        map.insert(name, value);
    }

    /// A text.
    pub(crate) fn text(&mut self, text: String) -> AttributeValue {
        self.count(text.len(), text.len());
        AttributeValue::S(text)
    }

    /// Nothing.
    pub(crate) fn null(&mut self) -> AttributeValue {
        self.simple(AttributeValue::Null(true))
    }

    /// The JSON itself, as text.
    pub(crate) fn as_text(&mut self, json: &RawValue) -> AttributeValue {
        self.as_text = true;
        self.text(json.get().to_owned())
    }

    fn list(&mut self, json: &RawValue, depth: usize) -> Option<AttributeValue> {
        let items: Vec<&RawValue> =
            if depth < DEPTH { serde_json::from_str(json.get()).ok()? } else { return None };
        self.container(items.len());
        Some(AttributeValue::L(items.into_iter().map(|item| self.value(item, depth + 1)).collect()))
    }

    fn simple(&mut self, value: AttributeValue) -> AttributeValue {
        self.count(1, 0);
        value
    }

    fn count(&mut self, stored: usize, text: usize) {
        // Six bytes for each byte of text are the escape of a control character; the rest is `{"NULL":true},`.
        const AROUND: usize = 16;
        const ESCAPE: usize = 6;
        self.stored += stored;
        self.sent += AROUND + ESCAPE * text;
    }
}

/// The keys and values of an object, in the order and as often as they stand there.
pub(crate) type Entries<'a> = Vec<(String, &'a RawValue)>;

/// The entries of an object, unless this is none, or a key is no text.
pub(crate) fn entries(json: &RawValue) -> Option<Entries<'_>> {
    serde_json::from_str::<Object<'_>>(json.get()).ok().map(|object| object.0)
}

/// True when these can be the names in a map.
fn are_names(entries: &Entries<'_>) -> bool {
    let mut names: Vec<&str> = entries.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    let unique = names.windows(2).all(|pair| pair[0] != pair[1]);
    unique && names.iter().all(|name| (1..=NAME).contains(&name.len()))
}

struct Object<'a>(Entries<'a>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Object(entries))
    }
}
