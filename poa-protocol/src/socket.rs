use std::borrow::Cow;

use crate::call::{data, id, scan_not_an_object, text};
use crate::json::Json;
use crate::msgpack::MessagePack;
use crate::scan::{Node, Scan, Shape, pick};
use crate::{Bye, Call, Format, Limits, Ping, Refusal, unknown};

/// The longest `ref`, in bytes as in the message: it is kept until the call is answered.
pub const MAX_REFERENCE_BYTES: usize = 1024;

/// A WebSocket message that is one well-formed object (protocol section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'b> {
    /// The `ref` for the response; `None` when it was longer than [`MAX_REFERENCE_BYTES`], which refuses the
    /// call.
    pub reference: Reference<'b>,
    /// The idempotency key; only data calls use it.
    pub idempotency_key: Option<Cow<'b, str>>,
    /// The call, or the reason why it is refused; either way the response goes to [`Request::reference`].
    pub call: Result<SocketCall<'b>, Refusal>,
}

/// A call over WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketCall<'b> {
    /// Authorises the connection.
    Session(Session<'b>),
    /// The same calls as over REST, except [`Call::Batch`]: calls can be pipelined instead.
    Call(Call<'b>),
}

/// A request for a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Session<'b> {
    /// The user's name as sent.
    pub user: Cow<'b, str>,
    /// The password as sent. `Debug` does not show it.
    pub password: Cow<'b, str>,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The `ref` of a request, kept as the bytes that were sent, which also determines the format of the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference<'b> {
    /// The request was JSON; `None` when it had no `ref`.
    Json(Option<Cow<'b, str>>),
    /// The request was MessagePack; `None` when it had no `ref`.
    MessagePack(Option<Cow<'b, [u8]>>),
}

impl Reference<'_> {
    /// For the response to a message whose `ref` cannot be read: the `ref` of the response is null.
    #[must_use]
    pub const fn none(format: Format) -> Self {
        match format {
            Format::Json => Self::Json(None),
            Format::MessagePack => Self::MessagePack(None),
        }
    }

    /// Copies the `ref`, so that the message can be dropped before the result is known.
    #[must_use]
    pub fn into_owned(self) -> Reference<'static> {
        match self {
            Self::Json(raw) => Reference::Json(raw.map(|raw| Cow::Owned(raw.into_owned()))),
            Self::MessagePack(raw) => {
                Reference::MessagePack(raw.map(|raw| Cow::Owned(raw.into_owned())))
            }
        }
    }
}

/// Decodes a WebSocket message: a text frame is JSON, a binary frame MessagePack.
///
/// Unlike a REST body, an empty JSON message is malformed.
///
/// # Errors
///
/// [`Refusal::Malformed`] or [`Refusal::NotAnObject`]; the response goes to [`Reference::none`].
pub fn decode_request<'b>(
    format: Format,
    message: &'b [u8],
    limits: &Limits,
) -> Result<Request<'b>, Refusal> {
    match format {
        Format::Json => scan_request(Json::new(message, limits)?),
        Format::MessagePack => scan_request(MessagePack::new(message, limits)),
    }
}

const FIELDS: [&str; 8] =
    ["call", "id", "type", "data", "user", "password", "idempotency_key", "ref"];

fn scan_request<'b>(mut scan: impl Scan<'b>) -> Result<Request<'b>, Refusal> {
    let request = match scan.shape() {
        Some(Shape::Object) => {
            let fields = pick(&mut scan, &FIELDS)?;
            Ok(request(&scan, fields))
        }
        _ => scan_not_an_object(&mut scan)?,
    };
    scan.finish()?;
    request
}

fn request<'b>(scan: &impl Scan<'b>, fields: [Option<Node>; 8]) -> Request<'b> {
    let [.., key, reference] = fields;
    if reference.is_some_and(|node| node.end - node.start > MAX_REFERENCE_BYTES) {
        let problem = "must not be longer than 1024 bytes";
        let call = Err(Refusal::InvalidField { field: "ref", problem });
        return Request { reference: scan.reference(None), idempotency_key: None, call };
    }
    let key = key.map(|node| text(scan, Some(node), "idempotency_key")).transpose();
    let (idempotency_key, call) = match key {
        Ok(key) => (key, call(scan, fields)),
        Err(refusal) => (None, Err(refusal)),
    };
    Request { reference: scan.reference(reference), idempotency_key, call }
}

fn call<'b>(
    scan: &impl Scan<'b>,
    [call, agent, data_type, body, user, password, ..]: [Option<Node>; 8],
) -> Result<SocketCall<'b>, Refusal> {
    let name = text(scan, call, "call")?;
    Ok(match &*name {
        "session" => SocketCall::Session(Session {
            user: text(scan, user, "user")?,
            password: text(scan, password, "password")?,
        }),
        "ping" => SocketCall::Call(Call::Ping(Ping { id: id(scan, agent)? })),
        "data" => SocketCall::Call(Call::Data(data(scan, [agent, data_type, body])?)),
        "bye" => SocketCall::Call(Call::Bye(Bye { id: id(scan, agent)? })),
        other => {
            let message = unknown::describe("call", other, ["session", "ping", "data", "bye"]);
            return Err(Refusal::UnknownCall { message });
        }
    })
}
