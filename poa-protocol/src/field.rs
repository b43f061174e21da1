use std::borrow::Cow;

use crate::call::{scan_not_an_object, wrong_type};
use crate::json::{self, Json};
use crate::msgpack::MessagePack;
use crate::scan::{Kind, Node, Scan, Shape};
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
    Ok(decode(format, body, limits, names)?.fields)
}

/// Reads fields as [`decode_fields`] does, and refuses a body that has others: what changes something must not overlook a misspelt name.
///
/// # Errors
///
/// Also [`Refusal::UnknownField`].
pub fn decode_known_fields<'b, const N: usize>(
    format: Format,
    body: &'b [u8],
    limits: &Limits,
    names: [&'static str; N],
) -> Result<[Field<'b>; N], Refusal> {
    let Decoded { fields, unknown } = decode(format, body, limits, names)?;
    match unknown {
        None => Ok(fields),
        Some(name) => {
            Err(Refusal::UnknownField { message: crate::unknown::describe("field", &name, names) })
        }
    }
}

/// The fields that were asked for, and the first of the others.
struct Decoded<'b, const N: usize> {
    fields: [Field<'b>; N],
    unknown: Option<String>,
}

fn decode<'b, const N: usize>(
    format: Format,
    body: &'b [u8],
    limits: &Limits,
    names: [&'static str; N],
) -> Result<Decoded<'b, N>, Refusal> {
    match format {
        Format::Json if json::is_empty(body) => {
            let fields = names.map(|name| Field { name, value: FieldValue::Missing });
            Ok(Decoded { fields, unknown: None })
        }
        Format::Json => scan_fields(Json::new(body, limits)?, names),
        Format::MessagePack => scan_fields(MessagePack::new(body, limits), names),
    }
}

fn scan_fields<'b, const N: usize>(
    mut scan: impl Scan<'b>,
    names: [&'static str; N],
) -> Result<Decoded<'b, N>, Refusal> {
    let decoded = match scan.shape() {
        Some(Shape::Object) => {
            let (mut nodes, mut unknown) = ([None; N], None);
            scan.object(|name, node| {
                match names.iter().position(|known| known.as_bytes() == name) {
                    Some(at) => nodes[at] = Some(node),
                    None => {
                        unknown.get_or_insert_with(|| String::from_utf8_lossy(name).into_owned());
                    }
                }
            })?;
            let field = |at: usize| Field { name: names[at], value: value(&scan, nodes[at]) };
            Ok(Decoded { fields: std::array::from_fn(field), unknown })
        }
        _ => scan_not_an_object(&mut scan)?,
    };
    scan.finish()?;
    decoded
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
