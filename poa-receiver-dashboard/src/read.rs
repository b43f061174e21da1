//! What the data of a message says, as far as the dashboard reads it.

mod body;
mod scalar;

use std::borrow::Cow;

use poa_core::{Message, PayloadError};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

pub(crate) use body::{About, Block, Chain, Figure, System, Update};

/// The type of metric that is kept first of each agent.
pub(crate) const INFORMATION: &str = "information";
/// The type of metric that is kept of each agent and data type.
pub(crate) const STATISTICS: &str = "statistics";

/// Data that was read once.
pub(crate) struct Reading<'a> {
    /// The whole data as JSON.
    pub(crate) json: Cow<'a, str>,
    /// Its `type`, if that is a text.
    pub(crate) kind: String,
    /// What changes on the page.
    pub(crate) update: Update,
}

/// Agents wrap each metric as `{"type": …, "body": …}`; any other object is passed on as it is.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

/// Reads the data of a message.
///
/// # Errors
/// When it is not well-formed.
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
