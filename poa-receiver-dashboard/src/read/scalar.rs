//! Values that agents can send in any type.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The longest text that is kept, in characters: it has to fit a table.
const LONGEST: usize = 200;

/// A number, a text or a boolean; any other value counts as absent and is never an error.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Scalar {
    /// Absent, null, or not a scalar.
    #[default]
    Nothing,
    /// `true` or `false`.
    Flag(bool),
    /// A number, rounded to a double.
    Number(f64),
    /// A text, cut to a length that fits a table.
    Text(String),
}

impl Scalar {
    /// The finite number that this is, or that this text contains in decimal or as `0x…`.
    pub(crate) fn number(&self) -> Option<f64> {
        let number = match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => number_in(text.trim()),
            Self::Nothing | Self::Flag(_) => None,
        };
        number.filter(|number| number.is_finite())
    }

    /// The text that this is; for a number its digits.
    pub(crate) fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text).filter(|text| !text.is_empty()),
            Self::Number(number) => Some(number.to_string()),
            Self::Nothing | Self::Flag(_) => None,
        }
    }

    /// The boolean that this is.
    pub(crate) fn flag(&self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(*flag),
            _ => None,
        }
    }
}

fn number_in(text: &str) -> Option<f64> {
    match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16).ok().map(|number| number as f64),
        None => text.parse().ok(),
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Scalar, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.chars().take(LONGEST).collect()))
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::Scalar;

    fn number(json: &str) -> Option<f64> {
        serde_json::from_str::<Scalar>(json).unwrap().number()
    }

    #[test]
    fn numbers_come_in_many_forms() {
        assert_eq!(number("12"), Some(12.0));
        assert_eq!(number("-1.5"), Some(-1.5));
        assert_eq!(number(r#""0x44ee2""#), Some(282_338.0));
        assert_eq!(number(r#"" 7 ""#), Some(7.0));
        let wide = number("1267650600228229401496703205376").unwrap();
        assert!((wide / 2_f64.powi(100) - 1.0).abs() < 1e-12, "{wide}");
    }

    #[test]
    fn what_is_no_number_is_nothing() {
        for json in ["null", "true", "[1]", r#"{"a":1}"#, r#""many""#, r#""Infinity""#, r#""""#] {
            assert_eq!(number(json), None, "{json}");
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let json = format!("\"{}\"", "é".repeat(300));
        let text = serde_json::from_str::<Scalar>(&json).unwrap().text().unwrap();
        assert_eq!(text.chars().count(), 200);
    }
}
