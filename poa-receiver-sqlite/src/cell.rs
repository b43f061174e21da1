//! Conversion of cells to values of SQLite.

use std::borrow::Cow;

use poa_tables::{Cell, Number};
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

/// A cell to be bound to a statement.
#[derive(Debug)]
pub(crate) struct Bound<'c, 'a>(pub(crate) &'c Cell<'a>);

impl ToSql for Bound<'_, '_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Cell::Null => ValueRef::Null,
            Cell::Boolean(value) => ValueRef::Integer((*value).into()),
            Cell::Integer(value) => ValueRef::Integer(*value),
            Cell::Double(value) => ValueRef::Real(*value),
            Cell::Number(number) => return Ok(exact(number)),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
            Cell::Json(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// An integer if it fits 64 bits, a double if it has the same digits, otherwise the digits as text.
fn exact<'n>(number: &'n Number<'_>) -> ToSqlOutput<'n> {
    let Some(digits) = number.integer() else {
        return match number.same_double() {
            Some(double) => ToSqlOutput::Owned(Value::Real(double)),
            None => ToSqlOutput::Borrowed(ValueRef::Text(number.as_str().as_bytes())),
        };
    };
    match (digits.parse(), digits) {
        (Ok(small), _) => ToSqlOutput::Owned(Value::Integer(small)),
        (Err(_), Cow::Borrowed(digits)) => ToSqlOutput::Borrowed(ValueRef::Text(digits.as_bytes())),
        (Err(_), Cow::Owned(digits)) => ToSqlOutput::Owned(Value::Text(digits)),
    }
}
