use std::borrow::Cow;

use crate::call::{scan_not_an_object, wrong_type};
use crate::json::{self, Json};
use crate::msgpack::MessagePack;
use crate::scan::{Kind, Node, Scan, Shape, pick};
use crate::{Format, Limits, Refusal};

/// One field of a body that is not a call, such as the body of `POST /session`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'b> {
    name: &'static str,
    /// The value that was sent.
    pub value: FieldValue<'b>,
}

/// The value of a [`Field`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldValue<'b> {
    /// The field is absent.
    Missing,
    /// A string, or a MessagePack bin that is UTF-8.
    Text(Cow<'b, str>),
    /// `true`, `false`, `null`, or a value that no field of the protocol accepts.
    Other(Kind),
}

impl<'b> Field<'b> {
    /// The text of a required field.
    ///
    /// # Errors
    ///
    /// [`Refusal::MissingField`], or [`Refusal::WrongType`] for anything but text; `null` is not text.
    pub fn text(self) -> Result<Cow<'b, str>, Refusal> {
        let missing = Refusal::MissingField { field: self.name };
        self.optional_text()?.ok_or(missing)
    }

    /// The text of an optional field.
    ///
    /// # Errors
    ///
    /// [`Refusal::WrongType`] for anything but text; `null` is not text.
    pub fn optional_text(self) -> Result<Option<Cow<'b, str>>, Refusal> {
        match self.value {
            FieldValue::Missing => Ok(None),
            FieldValue::Text(text) => Ok(Some(text)),
            FieldValue::Other(found) => Err(wrong_type(self.name, "a string", found)),
        }
    }

    /// The boolean of a required field.
    ///
    /// # Errors
    ///
    /// [`Refusal::MissingField`], or [`Refusal::WrongType`] for anything but `true` and `false`.
    pub fn flag(self) -> Result<bool, Refusal> {
        let found = match self.value {
            FieldValue::Missing => return Err(Refusal::MissingField { field: self.name }),
            FieldValue::Other(Kind::Bool(flag)) => return Ok(flag),
            FieldValue::Text(_) => Kind::Text,
            FieldValue::Other(found) => found,
        };
        Err(wrong_type(self.name, "a boolean", found))
    }
}

/// Checks that a body is one well-formed object and reads the fields with these names.
///
/// An empty JSON body counts as an object without fields. Other fields are ignored; of duplicate fields the last
/// one counts. Without names it only checks the body.
///
/// # Errors
///
/// [`Refusal::Malformed`], or [`Refusal::NotAnObject`] for a well-formed body of another kind.
pub fn decode_fields<'b, const N: usize>(
    format: Format,
    body: &'b [u8],
    limits: &Limits,
    names: [&'static str; N],
) -> Result<[Field<'b>; N], Refusal> {
    match format {
        Format::Json if json::is_empty(body) => {
            Ok(names.map(|name| Field { name, value: FieldValue::Missing }))
        }
        Format::Json => scan_fields(Json::new(body, limits)?, names),
        Format::MessagePack => scan_fields(MessagePack::new(body, limits), names),
    }
}

fn scan_fields<'b, const N: usize>(
    mut scan: impl Scan<'b>,
    names: [&'static str; N],
) -> Result<[Field<'b>; N], Refusal> {
    let fields = match scan.shape() {
        Some(Shape::Object) => {
            let nodes = pick(&mut scan, &names)?;
            Ok(std::array::from_fn(|at| Field { name: names[at], value: value(&scan, nodes[at]) }))
        }
        _ => scan_not_an_object(&mut scan)?,
    };
    scan.finish()?;
    fields
}

fn value<'b>(scan: &impl Scan<'b>, node: Option<Node>) -> FieldValue<'b> {
    match node {
        None => FieldValue::Missing,
        Some(node) => match scan.text(node) {
            Some(text) => FieldValue::Text(text),
            None => FieldValue::Other(node.kind),
        },
    }
}
