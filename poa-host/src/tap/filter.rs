//! The choice of messages that a tap shows.

use poa_core::Message;

/// The most lines a second.
pub(super) const MAX_RATE: u32 = 1000;

/// The messages to show.
#[derive(Clone, Debug, Default)]
pub(crate) struct TapFilter {
    /// Only this data type.
    pub(super) data_type: Option<String>,
    /// Only messages of this agent.
    pub(super) agent: Option<String>,
    /// Only messages that this receiver gets.
    pub(super) receiver: Option<String>,
    /// The most lines a second.
    pub(super) rate: Option<u32>,
}

impl TapFilter {
    /// Reads the query of a URL.
    ///
    /// # Errors
    /// The unknown key or value.
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match &*key {
                "type" => filter.data_type = Some(value),
                "agent" => filter.agent = Some(value),
                "receiver" => filter.receiver = Some(value),
                "rate" => filter.rate = Some(rate(&value)?),
                _ => {
                    return Err(format!(
                        "unknown key `{key}`; known keys: type, agent, receiver, rate"
                    ));
                }
            }
        }
        Ok(filter)
    }

    /// Whether it shows messages that this receiver gets.
    pub(super) fn wants_receiver(&self, receiver: &str) -> bool {
        is(self.receiver.as_deref(), receiver)
    }

    /// Whether it shows this message of a receiver that it shows.
    pub(super) fn wants(&self, message: &Message) -> bool {
        is(self.data_type.as_deref(), message.data_type().name())
            && is(self.agent.as_deref(), message.agent_id().as_str())
    }

    /// The number of messages that [`wants`](Self::wants) is true for.
    pub(super) fn count(&self, batch: &[Message]) -> usize {
        if self.data_type.is_none() && self.agent.is_none() {
            return batch.len();
        }
        batch.iter().filter(|message| self.wants(message)).count()
    }
}

fn is(wanted: Option<&str>, found: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == found)
}

fn rate(text: &str) -> Result<u32, String> {
    let rate = text.parse().ok().filter(|rate| (1..=MAX_RATE).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is not a rate; write a number from 1 to {MAX_RATE}"))
}
