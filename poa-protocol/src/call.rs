use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::json::{self, Json};
use crate::msgpack::MessagePack;
use crate::scan::{Kind, Node, Scan, Shape, pick};
use crate::{Format, Limits, Malformed, Problem, Refusal};

/// The longest agent id, in bytes of UTF-8 after unescaping (protocol section 1).
pub const MAX_ID_BYTES: usize = 256;

/// The call that the path of a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// `POST /ping`
    Ping,
    /// `POST /data`
    Data,
    /// `POST /bye`
    Bye,
}

impl CallKind {
    /// The call of a REST path; `None` for any other path. Case-sensitive.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        match path {
            "/ping" => Some(Self::Ping),
            "/data" => Some(Self::Data),
            "/bye" => Some(Self::Bye),
            _ => None,
        }
    }

    /// `ping`, `data` or `bye`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Data => "data",
            Self::Bye => "bye",
        }
    }
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A decoded call that borrows from its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call<'b> {
    /// The agent is alive.
    Ping(Ping<'b>),
    /// One message.
    Data(Data<'b>),
    /// An array of messages, in the order sent; all are accepted or none. It may be empty.
    Batch(Batch<'b>),
    /// The agent leaves.
    Bye(Bye<'b>),
}

/// The agent is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping<'b> {
    /// The agent's id: not empty, at most [`MAX_ID_BYTES`], no control characters.
    pub id: Cow<'b, str>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data<'b> {
    /// The agent's id, as in [`Ping::id`].
    pub id: Cow<'b, str>,
    /// The data type as sent. The caller knows which ones are configured; see [`Refusal::unknown_type`].
    pub data_type: Cow<'b, str>,
    /// One well-formed object, exactly as in the body.
    pub data: &'b [u8],
    offset: usize,
}

impl Data<'_> {
    /// The range of [`Data::data`] in the body, to slice a shared buffer instead of copying.
    #[must_use]
    pub const fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.data.len()
    }
}

/// Several messages in one body, up to the first that is refused.
///
/// The decoder does not know the configured data types. The caller checks those of `items` first, since they precede the refused one; only then does
/// `refusal` apply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch<'b> {
    /// The items before the first invalid one; all of them, if none is.
    pub items: Vec<Data<'b>>,
    /// The reason why the item after these is refused, as [`Refusal::InBatch`].
    pub refusal: Option<Refusal>,
}

/// The agent leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bye<'b> {
    /// The agent's id, as in [`Ping::id`].
    pub id: Cow<'b, str>,
}

/// Decodes the body of a REST call.
///
/// An empty JSON body counts as an object without fields. Unknown fields are ignored; of duplicate fields the last one counts. A batch takes memory
/// in proportion to its items, at most about four times its body.
///
/// # Errors
///
/// [`Refusal::Malformed`] when the body is not one well-formed value within the limits, whatever else is
/// wrong with it; [`Refusal::TooManyItems`], at the first item beyond the limit. Then the refusals of status 422; those of an item of a batch are in [`Batch::refusal`].
pub fn decode<'b>(
    kind: CallKind,
    format: Format,
    body: &'b [u8],
    limits: &Limits,
) -> Result<Call<'b>, Refusal> {
    match format {
        Format::Json if json::is_empty(body) => Err(Refusal::MissingField { field: "id" }),
        Format::Json => scan_call(kind, Json::new(body, limits)?, limits.max_items),
        Format::MessagePack => scan_call(kind, MessagePack::new(body, limits), limits.max_items),
    }
}

fn scan_call<'b>(
    kind: CallKind,
    mut scan: impl Scan<'b>,
    max_items: usize,
) -> Result<Call<'b>, Refusal> {
    let call = match (scan.shape(), kind) {
        (Some(Shape::Object), CallKind::Data) => scan_data(&mut scan)?.map(Call::Data),
        (Some(Shape::Object), CallKind::Ping) => {
            scan_id(&mut scan)?.map(|id| Call::Ping(Ping { id }))
        }
        (Some(Shape::Object), CallKind::Bye) => scan_id(&mut scan)?.map(|id| Call::Bye(Bye { id })),
        (Some(Shape::Array), CallKind::Data) => {
            return scan_batch(scan, max_items).map(Call::Batch);
        }
        (Some(Shape::Array), call) => scan.value().map(|_| Err(Refusal::NoBatch { call }))?,
        _ => scan_not_an_object(&mut scan)?,
    };
    scan.finish()?;
    call
}

/// The inner result applies only once the rest of the body is known to be well-formed.
type Scanned<T> = Result<Result<T, Refusal>, Malformed>;

fn scan_data<'b>(scan: &mut impl Scan<'b>) -> Scanned<Data<'b>> {
    let fields = pick(scan, &["id", "type", "data"])?;
    Ok(data(scan, fields))
}

fn scan_id<'b>(scan: &mut impl Scan<'b>) -> Scanned<Cow<'b, str>> {
    let [field] = pick(scan, &["id"])?;
    Ok(id(scan, field))
}

pub(crate) fn scan_not_an_object<'b, T>(scan: &mut impl Scan<'b>) -> Scanned<T> {
    let found = scan.value()?.kind;
    Ok(Err(Refusal::NotAnObject { found }))
}

fn scan_batch<'b>(mut scan: impl Scan<'b>, max_items: usize) -> Result<Batch<'b>, Refusal> {
    let mut batch = Batch::default();
    let mut count = 0;
    scan.array(|scan| {
        if count == max_items {
            return Err(Stop::TooManyItems);
        }
        count += 1;
        let item = match scan.shape() {
            Some(Shape::Object) => scan_data(scan)?,
            _ => scan_not_an_object(scan)?,
        };
        // After the first invalid item, the others only have to be well-formed.
        match item {
            _ if batch.refusal.is_some() => {}
            Ok(item) => batch.items.push(item),
            Err(refusal) => batch.refusal = Some(refusal.in_batch(batch.items.len())),
        }
        Ok(())
    })
    .map_err(|stop| match stop {
        Stop::Malformed(malformed) => malformed.into(),
        Stop::TooManyItems => Refusal::TooManyItems { limit: max_items },
    })?;
    scan.finish()?;
    Ok(batch)
}

/// The reason why the scan of a batch ends early.
enum Stop {
    Malformed(Malformed),
    TooManyItems,
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Reads the fields `id`, `type` and `data`.
pub(crate) fn data<'b>(
    scan: &impl Scan<'b>,
    [id_field, type_field, data_field]: [Option<Node>; 3],
) -> Result<Data<'b>, Refusal> {
    let id = id(scan, id_field)?;
    let data_type = text(scan, type_field, "type")?;
    let node = data_field.ok_or(Refusal::MissingField { field: "data" })?;
    if node.kind != Kind::Object {
        return Err(wrong_type("data", "an object", node.kind));
    }
    Ok(Data { id, data_type, data: scan.raw(node), offset: node.start })
}

/// Reads the field `id` and checks the rules of protocol section 1.
pub(crate) fn id<'b>(scan: &impl Scan<'b>, field: Option<Node>) -> Result<Cow<'b, str>, Refusal> {
    let id = text(scan, field, "id")?;
    let problem = if id.is_empty() {
        "must not be empty"
    } else if id.len() > MAX_ID_BYTES {
        "must not be longer than 256 bytes"
    } else if holds_control(&id) {
        "must not hold control characters"
    } else {
        return Ok(id);
    };
    Err(Refusal::InvalidField { field: "id", problem })
}

/// ASCII ids are the common case, and need no decoding.
fn holds_control(id: &str) -> bool {
    match id.is_ascii() {
        // Without a branch for each byte, unlike `any`.
        true => id.bytes().fold(false, |holds, byte| holds | byte.is_ascii_control()),
        false => id.chars().any(char::is_control),
    }
}

/// Reads a field that must be text.
pub(crate) fn text<'b>(
    scan: &impl Scan<'b>,
    node: Option<Node>,
    field: &'static str,
) -> Result<Cow<'b, str>, Refusal> {
    let node = node.ok_or(Refusal::MissingField { field })?;
    scan.text(node).ok_or_else(|| match node.kind {
        // Text may be sent as bin, but it must be text.
        Kind::Binary => not_utf8(node).into(),
        found => wrong_type(field, "a string", found),
    })
}

const fn not_utf8(node: Node) -> Malformed {
    Malformed { format: Format::MessagePack, offset: node.start, problem: Problem::Utf8 }
}

pub(crate) const fn wrong_type(
    field: &'static str,
    expected: &'static str,
    found: Kind,
) -> Refusal {
    Refusal::WrongType { field, expected, found }
}
