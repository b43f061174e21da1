//! What stands in one column of one row, and how JSON becomes it.

use std::borrow::Cow;

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use serde_json::value::RawValue;

use crate::decimal;

/// The value of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Cow<'a, str>),
}

/// A JSON value that a column cannot hold without losing something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfit;

/// The value of a key, absent or `null` alike as none.
pub(crate) type Json<'a> = Option<&'a RawValue>;

impl<'a> Cell<'a> {
    /// `true` or `false`, as 1 or 0.
    pub(crate) fn boolean(json: Json<'a>) -> Result<Self, Unfit> {
        match json.map(RawValue::get) {
            None => Ok(Self::Null),
            Some("true") => Ok(Self::Integer(1)),
            Some("false") => Ok(Self::Integer(0)),
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
        decimal::double(&number).map(Self::Real).ok_or(Unfit)
    }

    /// Any number: an integer when it fits 64 bits, a double when it has the same digits, else the digits as text.
    pub(crate) fn exact(json: Json<'a>) -> Result<Self, Unfit> {
        let Some(json) = json else { return Ok(Self::Null) };
        let number = number_in(json).ok_or(Unfit)?;
        if let Some(digits) = decimal::integer(&number) {
            return Ok(match digits.parse() {
                Ok(small) => Self::Integer(small),
                Err(_) => Self::Text(Cow::Owned(digits.into_owned())),
            });
        }
        match decimal::same_double(&number) {
            Some(double) => Ok(Self::Real(double)),
            None => Ok(Self::Text(Cow::Owned(number.into_owned()))),
        }
    }

    /// A text as it is; a number as its digits.
    pub(crate) fn text(json: Json<'a>) -> Result<Self, Unfit> {
        let Some(json) = json else { return Ok(Self::Null) };
        let json = json.get();
        if json.starts_with('"') {
            return string(json).map(Self::Text).ok_or(Unfit);
        }
        let number = decimal::number(json).ok_or(Unfit)?;
        Ok(Self::Text(decimal::integer(number).unwrap_or(Cow::Borrowed(number))))
    }

    /// Replaces NUL characters by U+FFFD; true when there were any.
    ///
    /// SQLite could hold them, but many of its functions and tools stop reading there, and other databases refuse them.
    pub(crate) fn replace_nul(&mut self) -> bool {
        let Self::Text(text) = self else { return false };
        let found = text.contains('\0');
        if found {
            *text = text.replace('\0', "\u{fffd}").into();
        }
        found
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// The number that this JSON value is, or that its text says.
fn number_in(json: &RawValue) -> Option<Cow<'_, str>> {
    let json = json.get();
    if !json.starts_with('"') {
        return decimal::number(json).map(Cow::Borrowed);
    }
    let text = string(json)?;
    decimal::number(&text)?;
    Some(text)
}

/// The text that a JSON string says; none when it is no Unicode.
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
        assert_eq!(Cell::boolean(raw("true")), Ok(Cell::Integer(1)));
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
        assert_eq!(Cell::double(raw("12")), Ok(Cell::Real(12.0)));
        assert_eq!(Cell::double(raw(r#""12""#)), Ok(Cell::Real(12.0)));
        assert_eq!(Cell::double(raw(r#""1\u0032.5""#)), Ok(Cell::Real(12.5)));
        for wrong in [r#""0x10""#, r#""NaN""#, r#""""#, "1e999", "[1]"] {
            assert_eq!(Cell::double(raw(wrong)), Err(Unfit), "{wrong}");
        }
    }

    #[test]
    fn exact_numbers() {
        assert_eq!(Cell::exact(raw("20000000000")), Ok(Cell::Integer(20_000_000_000)));
        assert_eq!(Cell::exact(raw("-1")), Ok(Cell::Integer(-1)));
        assert_eq!(Cell::exact(raw("1e18")), Ok(Cell::Integer(1_000_000_000_000_000_000)));
        assert_eq!(Cell::exact(raw("1234.5")), Ok(Cell::Real(1234.5)));
        let wide = "1267650600228229401496703205376";
        assert_eq!(Cell::exact(raw(wide)), text(wide));
        assert_eq!(Cell::exact(raw("0.12345678901234567890")), text("0.12345678901234567890"));
        assert_eq!(Cell::exact(raw(r#""0x4a817c800""#)), Err(Unfit));
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
    fn nul_is_replaced_and_said() {
        let mut cell = Cell::text(raw(r#""a\u0000b""#)).unwrap();
        assert!(cell.replace_nul());
        assert_eq!(cell, Cell::Text("a\u{fffd}b".into()));
        assert!(!cell.replace_nul());
    }
}
