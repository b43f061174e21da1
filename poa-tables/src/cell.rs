//! The value of one column in one row, and its conversion from JSON.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::Number;
use crate::decimal;

/// The value of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// True or false.
    Boolean(bool),
    /// An integer of 64 bits.
    Integer(i64),
    /// A double.
    Double(f64),
    /// A number of any size.
    Number(Number<'a>),
    /// A text without NUL characters.
    Text(Cow<'a, str>),
    /// JSON; the agent's own text if it sent JSON.
    Json(&'a str),
}

/// A JSON value that a column cannot hold without loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfit;

/// The value of a key; `None` if it is absent or `null`.
pub(crate) type Json<'a> = Option<&'a RawValue>;

impl<'a> Cell<'a> {
    /// `true` or `false`.
    pub(crate) fn boolean(json: Json<'a>) -> Result<Self, Unfit> {
        match json.map(RawValue::get) {
            None => Ok(Self::Null),
            Some("true") => Ok(Self::Boolean(true)),
            Some("false") => Ok(Self::Boolean(false)),
            Some(_) => Err(Unfit),
        }
    }

    /// An integer of 64 bits.
    pub(crate) fn integer(json: Json<'a>) -> Result<Self, Unfit> {
        let Some(json) = json else { return Ok(Self::Null) };
        let number = number_in(json).ok_or(Unfit)?;
        let digits = decimal::integer(&number).ok_or(Unfit)?;
        digits.parse().map(Self::Integer).map_err(|_| Unfit)
    }

    /// A double.
    pub(crate) fn double(json: Json<'a>) -> Result<Self, Unfit> {
        let Some(json) = json else { return Ok(Self::Null) };
        let number = number_in(json).ok_or(Unfit)?;
        decimal::double(&number).map(Self::Double).ok_or(Unfit)
    }

    /// Any number.
    pub(crate) fn number(json: Json<'a>) -> Result<Self, Unfit> {
        let Some(json) = json else { return Ok(Self::Null) };
        let number = number_in(json).ok_or(Unfit)?;
        Ok(Self::Number(Number::new(number)))
    }

    /// A text as it is; a number as its digits.
    pub(crate) fn text(json: Json<'a>) -> Result<Self, Unfit> {
        let Some(json) = json else { return Ok(Self::Null) };
        if json.get().starts_with('"') {
            return string(json.get()).map(Self::Text).ok_or(Unfit);
        }
        let number = decimal::number_of(json).ok_or(Unfit)?;
        Ok(Self::Text(decimal::integer(number).unwrap_or(Cow::Borrowed(number))))
    }

    /// Replaces NUL characters by U+FFFD; returns whether there were any.
    ///
    /// SQLite could hold them, but many of its functions and tools stop reading there; PostgreSQL refuses them.
    pub(crate) fn replace_nul(&mut self) -> bool {
        let Self::Text(text) = self else { return false };
        let found = text.contains('\0');
        if found {
            *text = text.replace('\0', "\u{fffd}").into();
        }
        found
    }
}

/// The number that this JSON value or the text in it represents.
fn number_in(json: &RawValue) -> Option<Cow<'_, str>> {
    if !json.get().starts_with('"') {
        return decimal::number_of(json).map(Cow::Borrowed);
    }
    let text = string(json.get())?;
    decimal::number(&text)?;
    Some(text)
}

/// The text of a JSON string; `None` if it is not valid Unicode.
pub(crate) fn string(json: &str) -> Option<Cow<'_, str>> {
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Json<'_> {
        Some(serde_json::from_str(json).unwrap())
    }

    fn text(text: &str) -> Result<Cell<'_>, Unfit> {
        Ok(Cell::Text(text.into()))
    }

    #[test]
    fn booleans() {
        assert_eq!(Cell::boolean(raw("true")), Ok(Cell::Boolean(true)));
        assert_eq!(Cell::boolean(None), Ok(Cell::Null));
        for wrong in ["1", "\"true\"", "[]"] {
            assert_eq!(Cell::boolean(raw(wrong)), Err(Unfit));
        }
    }

    #[test]
    fn integers() {
        assert_eq!(Cell::integer(raw("5")), Ok(Cell::Integer(5)));
        assert_eq!(Cell::integer(raw("5.0")), Ok(Cell::Integer(5)));
        assert_eq!(Cell::integer(raw(r#""-5""#)), Ok(Cell::Integer(-5)));
        for wrong in ["5.5", "9223372036854775808", r#""0x5""#, "true", "{}"] {
            assert_eq!(Cell::integer(raw(wrong)), Err(Unfit), "{wrong}");
        }
    }

    #[test]
    fn doubles() {
        assert_eq!(Cell::double(raw("12")), Ok(Cell::Double(12.0)));
        assert_eq!(Cell::double(raw(r#""12""#)), Ok(Cell::Double(12.0)));
        assert_eq!(Cell::double(raw(r#""1\u0032.5""#)), Ok(Cell::Double(12.5)));
        for wrong in [r#""0x10""#, r#""NaN""#, r#""""#, "1e999", "[1]"] {
            assert_eq!(Cell::double(raw(wrong)), Err(Unfit), "{wrong}");
        }
    }

    #[test]
    fn numbers_of_any_size() {
        fn number(json: &str) -> Result<String, Result<Cell<'_>, Unfit>> {
            match Cell::number(raw(json)) {
                Ok(Cell::Number(number)) => Ok(number.as_str().to_owned()),
                other => Err(other),
            }
        }
        for digits in ["20000000000", "-1", "1e18", "1234.5", "1267650600228229401496703205376"] {
            assert_eq!(number(digits).as_deref(), Ok(digits));
            let text = format!("\"{digits}\"");
            assert_eq!(number(&text).as_deref(), Ok(digits));
        }
        assert_eq!(Cell::number(None), Ok(Cell::Null));
        for wrong in [r#""0x4a817c800""#, "true", "[1]", r#""NaN""#] {
            assert_eq!(Cell::number(raw(wrong)), Err(Unfit), "{wrong}");
        }
    }

    #[test]
    fn texts() {
        assert_eq!(Cell::text(raw(r#""0x10""#)), text("0x10"));
        assert_eq!(Cell::text(raw("280288")), text("280288"));
        assert_eq!(Cell::text(raw("2e3")), text("2000"));
        assert_eq!(Cell::text(raw("1.5")), text("1.5"));
        for wrong in ["true", "[]", r#""\ud800""#] {
            assert_eq!(Cell::text(raw(wrong)), Err(Unfit), "{wrong}");
        }
    }

    #[test]
    fn nul_is_replaced_and_reported() {
        let mut cell = Cell::text(raw(r#""a\u0000b""#)).unwrap();
        assert!(cell.replace_nul());
        assert_eq!(cell, Cell::Text("a\u{fffd}b".into()));
        assert!(!cell.replace_nul());
    }
}
