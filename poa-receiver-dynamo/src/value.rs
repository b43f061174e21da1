//! Converts JSON to DynamoDB's types.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::number::number;

/// The deepest nesting of maps and lists; DynamoDB allows 32 levels, of which the innermost value is one.
const DEPTH: usize = 31;

/// The longest name of an attribute, in bytes.
const NAME: usize = 65_535;

/// The overhead of a map or a list besides its content and one byte for each entry.
const CONTAINER: usize = 3;

/// Converts JSON to attribute values and adds up their size.
///
/// Nothing is lost: a value that DynamoDB cannot represent is stored as its JSON text. Such values are numbers with
/// too many digits or beyond its range, objects with an empty or duplicate key, values that are nested too deep, and
/// strings with an unpaired surrogate.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// The size in the table, in bytes, as DynamoDB counts it.
    pub(crate) stored: usize,
    /// The most that it can take in a request, in bytes.
    pub(crate) sent: usize,
    /// Whether a value was stored as text.
    pub(crate) as_text: bool,
}

impl Encoder {
    /// A value inside this many maps and lists.
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

    /// A map of these entries, or text if DynamoDB cannot represent it as a map.
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

    /// Counts a map or a list of this many entries, without the entries.
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

    /// The JSON text itself.
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
        // A control character is escaped with six bytes for each byte of text; the rest is `{"NULL":true},`.
        const AROUND: usize = 16;
        const ESCAPE: usize = 6;
        self.stored += stored;
        self.sent += AROUND + ESCAPE * text;
    }
}

/// The keys and values of an object in their order, duplicates included.
pub(crate) type Entries<'a> = Vec<(String, &'a RawValue)>;

/// The entries of an object; none if this is not an object or a key is not valid text.
pub(crate) fn entries(json: &RawValue) -> Option<Entries<'_>> {
    serde_json::from_str::<Object<'_>>(json.get()).ok().map(|object| object.0)
}

/// True when these are valid as the names in a map.
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
