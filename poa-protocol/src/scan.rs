use std::borrow::Cow;
use std::fmt;

use crate::{Malformed, Reference};

/// The kind of a value in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A JSON object or a MessagePack map.
    Object,
    /// An array.
    Array,
    /// A JSON string or a MessagePack str.
    Text,
    /// A MessagePack bin.
    Binary,
    /// A number of any size.
    Number,
    /// `true` or `false`.
    Bool(bool),
    /// `null` or nil.
    Null,
    /// A MessagePack ext.
    Extension,
}

impl Kind {
    pub(crate) const fn is_container(self) -> bool {
        matches!(self, Self::Object | Self::Array)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::Text => "a string",
            Self::Binary => "binary data",
            Self::Number => "a number",
            Self::Bool(_) => "a boolean",
            Self::Null => "null",
            Self::Extension => "an extension",
        })
    }
}

/// A value that has been checked, and its range in the body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A single scan of a body, in either format: everything it skips has been checked.
pub(crate) trait Scan<'b>: Sized {
    /// Determines the next value by its first byte, without skipping it.
    fn shape(&mut self) -> Option<Shape>;

    /// Skips the object that [`Scan::shape`] announced, and reports each member's name and value.
    fn object(&mut self, member: impl FnMut(&[u8], Node)) -> Result<(), Malformed>;

    /// Skips the array that [`Scan::shape`] announced; `item` must skip one value each time. An error
    /// of `item` ends the scan.
    fn array<E: From<Malformed>>(
        &mut self,
        item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E>;

    /// Skips one value of any kind.
    fn value(&mut self) -> Result<Node, Malformed>;

    /// Checks that nothing follows.
    fn finish(self) -> Result<(), Malformed>;

    /// The text of a string; `None` for any other kind and for a bin that is not UTF-8.
    fn text(&self, node: Node) -> Option<Cow<'b, str>>;

    /// The bytes of a value, as in the body.
    fn raw(&self, node: Node) -> &'b [u8];

    /// The `ref` of a WebSocket request.
    fn reference(&self, node: Option<Node>) -> Reference<'b>;
}

/// The information in the first byte of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    Array,
    Other,
}

/// Skips an object and keeps the members with these names; of duplicates the last one counts.
pub(crate) fn pick<'b, const N: usize>(
    scan: &mut impl Scan<'b>,
    names: &[&str; N],
) -> Result<[Option<Node>; N], Malformed> {
    let mut found = [None; N];
    scan.object(|name, node| {
        if let Some(at) = names.iter().position(|known| known.as_bytes() == name) {
            found[at] = Some(node);
        }
    })?;
    Ok(found)
}
