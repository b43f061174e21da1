//! Reads the parts of a message's data that the dashboard uses.

mod body;
mod scalar;

use std::borrow::Cow;

use poa_core::{Message, PayloadError};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

pub(crate) use body::{About, Block, Chain, Figure, System, Update};

/// The type of metric that is sent to new clients first.
pub(crate) const INFORMATION: &str = "information";
/// The type of metric that is kept for each agent and data type.
pub(crate) const STATISTICS: &str = "statistics";

/// The data of a message, parsed once.
pub(crate) struct Reading<'a> {
    /// The whole data as JSON.
    pub(crate) json: Cow<'a, str>,
    /// Its `type`, if that is a string.
    pub(crate) kind: String,
    /// The changes for the page.
    pub(crate) update: Update,
}

/// Agents wrap each metric as `{"type": …, "body": …}`; any other object is passed on unchanged.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

/// Parses the data of a message.
///
/// # Errors
/// When it is malformed.
pub(crate) fn read(message: &Message) -> Result<Reading<'_>, PayloadError> {
    let json = message.payload().to_json()?;
    let (kind, update) = match serde_json::from_str::<Envelope<'_>>(&json) {
        Ok(envelope) => {
            let body = envelope.body.map_or("null", RawValue::get);
            let update = Update::read(message.data_type().name(), &envelope.kind, body);
            (envelope.kind.into_owned(), update)
        }
        Err(_) => {
            serde_json::from_str::<IgnoredAny>(&json).map_err(PayloadError::Json)?;
            (String::new(), Update::Nothing)
        }
    };
    Ok(Reading { json, kind, update })
}

#[cfg(test)]
mod tests;
