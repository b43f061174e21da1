//! Payloads, and what they are wrapped in.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Any JSON value, as the text it came in: numbers keep every digit. Cloning is cheap.
#[derive(Clone)]
pub struct Data(Arc<RawValue>);

impl Data {
    /// `null`.
    #[must_use]
    pub fn null() -> Self {
        Self(Arc::from(RawValue::NULL.to_owned()))
    }

    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        // A text always has a JSON form.
        serde_json::value::to_raw_value(text).map_or_else(|_| Self::null(), Into::into)
    }

    /// Encodes a value.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Into::into)
    }

    /// Takes JSON text.
    ///
    /// # Errors
    /// When it is not one well-formed JSON value.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Box<RawValue>>(json).map(Into::into)
    }

    /// The same from bytes.
    ///
    /// # Errors
    /// When they are not one well-formed JSON value in UTF-8.
    pub fn from_slice(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Box<RawValue>>(json).map(Into::into)
    }

    /// Decodes it.
    ///
    /// # Errors
    /// When it does not have the shape of `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.json())
    }

    /// The JSON text.
    #[must_use]
    pub fn json(&self) -> &str {
        self.0.get()
    }

    /// The kind of value, by its first character.
    #[must_use]
    pub fn shape(&self) -> Shape {
        match self.json().trim_start().as_bytes().first() {
            Some(b'{') => Shape::Object,
            Some(b'[') => Shape::Array,
            Some(b'"') => Shape::Text,
            Some(b't' | b'f') => Shape::Boolean,
            Some(b'n') | None => Shape::Null,
            Some(_) => Shape::Number,
        }
    }

    /// An array of these.
    #[must_use]
    pub fn array(items: &[Self]) -> Self {
        // Values that have a JSON form each have one together.
        Self::new(items).unwrap_or_else(|_| Self::null())
    }
}

/// The kinds of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    Text,
    /// `1`
    Number,
    /// `true`, `false`
    Boolean,
    /// `null`
    Null,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Null => "null",
        })
    }
}

impl From<Box<RawValue>> for Data {
    fn from(json: Box<RawValue>) -> Self {
        Self(Arc::from(json))
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Into::into)
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.json())
    }
}

/// By their text: `1.0` and `1` differ.
impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

/// The members of a JSON object in their order; of a key that comes twice, the last.
#[derive(Clone, Debug, Default)]
pub struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    /// Puts the members of `other` in; they replace whole values of the same key.
    pub fn merge(&mut self, other: &Self) {
        for (key, value) in &other.0 {
            self.insert(key.clone(), value.clone());
        }
    }

    /// The members, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), &**value))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is `{}`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a value in, in place of one of the same key.
    pub fn insert(&mut self, key: String, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some(member) => member.1 = value,
            None => self.0.push((key, value)),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        // An index, so that an object of very many members takes no time in the square of their number.
        let mut places = std::collections::HashMap::new();
        let mut members: Vec<(String, Box<RawValue>)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
            match places.get(&key) {
                Some(place) => {
                    let place: &usize = place;
                    members[*place].1 = value;
                }
                None => {
                    places.insert(key.clone(), members.len());
                    members.push((key, value));
                }
            }
        }
        Ok(Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit() {
        let text = r#"{"n":12345678901234567890.10,"s":"<&>"}"#;
        let data = Data::parse(text).unwrap();
        assert_eq!(serde_json::to_string(&data).unwrap(), text);
        let object: Object = data.read().unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), text);
    }

    #[test]
    fn merging_is_shallow_and_the_other_wins() {
        let mut one: Object = Data::parse(r#"{"a":{"x":1},"b":2}"#).unwrap().read().unwrap();
        one.merge(&Data::parse(r#"{"a":{"y":1},"c":3}"#).unwrap().read().unwrap());
        assert_eq!(serde_json::to_string(&one).unwrap(), r#"{"a":{"y":1},"b":2,"c":3}"#);
        assert_eq!((one.len(), one.is_empty(), one.get("c").unwrap().get()), (3, false, "3"));
    }

    #[test]
    fn of_a_key_that_comes_twice_the_last_counts() {
        let object: Object = Data::parse(r#"{"a":1,"b":2,"a":3}"#).unwrap().read().unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn shapes_are_told_apart() {
        let shape = |json| Data::parse(json).unwrap().shape();
        assert_eq!(shape(" {}"), Shape::Object);
        assert_eq!(shape("[1]"), Shape::Array);
        assert_eq!(shape(r#""a""#), Shape::Text);
        assert_eq!(
            (shape("-1"), shape("true"), shape("null")),
            (Shape::Number, Shape::Boolean, Shape::Null)
        );
        assert_eq!(Data::text("a\"b").json(), r#""a\"b""#);
        assert_eq!(Data::array(&[Data::null(), Data::text("x")]).json(), r#"[null,"x"]"#);
    }
}
