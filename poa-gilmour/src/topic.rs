//! Topics, and the channels they become.

use std::fmt;
use std::sync::Arc;

use crate::glob;

/// The longest topic, in bytes. NATS keeps subjects fast below it, and Redis does not care.
const MAX_TOPIC: usize = 256;

/// The prefix of all channels. A topic that begins with it names its channel itself, as in the Go library.
const ROOT: &str = "gilmour.";

/// The content of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Requests, which are answered.
    Request,
    /// Signals, which are not.
    Slot,
}

impl Kind {
    /// The prefix of channels of this kind.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Request => "gilmour.request.",
            Self::Slot => "gilmour.slot.",
        }
    }

    /// The topic within a channel's name: without the prefix, if it has one.
    #[must_use]
    pub fn topic_of(self, channel: &str) -> &str {
        channel.strip_prefix(self.prefix()).unwrap_or(channel)
    }

    fn channel(self, topic: &str) -> Arc<str> {
        if topic.starts_with(ROOT) {
            return topic.into();
        }
        format!("{}{topic}", self.prefix()).into()
    }
}

/// The topic of a request or a signal: 1 to 256 bytes, no `*`, no control characters. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks and wraps a topic.
    ///
    /// # Errors
    /// See [`InvalidTopic`].
    pub fn new(topic: &str) -> Result<Self, InvalidTopic> {
        check(topic)?;
        if topic.contains('*') { Err(InvalidTopic::Wildcard) } else { Ok(Self(topic.into())) }
    }

    /// The topic as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The channel that carries requests or signals of this topic: `gilmour.request.T` or `gilmour.slot.T`; the topic itself when it
    /// begins with `gilmour.`.
    #[must_use]
    pub fn channel(&self, kind: Kind) -> Arc<str> {
        kind.channel(&self.0)
    }

    /// Whether it names a channel itself instead of a topic, and one of another kind at that. A gateway refuses these: they are
    /// replies, error reports and heartbeats of others.
    #[must_use]
    pub fn is_foreign_to(&self, kind: Kind) -> bool {
        is_foreign(&self.0, kind)
    }
}

/// The subject of a slot: a topic, or a pattern of topics when it has a `*` that no backslash precedes. `?` and `[` alone do not make a
/// pattern. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotTopic(Arc<str>);

impl SlotTopic {
    /// Checks and wraps a topic or pattern.
    ///
    /// # Errors
    /// See [`InvalidTopic`].
    pub fn new(topic: &str) -> Result<Self, InvalidTopic> {
        check(topic).map(|()| Self(topic.into()))
    }

    /// The topic as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a pattern.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        glob::has_star(&self.0)
    }

    /// The channel or pattern of channels.
    #[must_use]
    pub fn channel(&self) -> Arc<str> {
        Kind::Slot.channel(&self.0)
    }

    /// Whether a slot of this topic gets signals of that one.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        let (own, other) = (self.channel(), topic.channel(Kind::Slot));
        if self.is_pattern() { glob::matches(&own, &other) } else { own == other }
    }

    /// As [`Topic::is_foreign_to`] with [`Kind::Slot`].
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        is_foreign(&self.0, Kind::Slot)
    }
}

fn is_foreign(topic: &str, kind: Kind) -> bool {
    topic.starts_with(ROOT) && !topic.starts_with(kind.prefix())
}

fn check(topic: &str) -> Result<(), InvalidTopic> {
    if topic.is_empty() {
        Err(InvalidTopic::Empty)
    } else if topic.len() > MAX_TOPIC {
        Err(InvalidTopic::TooLong(topic.len()))
    } else if topic.chars().any(char::is_control) {
        Err(InvalidTopic::ControlCharacter)
    } else {
        Ok(())
    }
}

macro_rules! shown_as_text {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    )*};
}

shown_as_text!(Topic, SlotTopic);

/// Why a text is not a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTopic {
    /// The text is empty.
    #[error("a topic must not be empty")]
    Empty,
    /// The text has this many bytes.
    #[error("a topic has at most {MAX_TOPIC} bytes, this one has {0}")]
    TooLong(usize),
    /// The text holds a control character.
    #[error("a topic must not hold control characters")]
    ControlCharacter,
    /// A request or a signal goes to one topic.
    #[error("`*` is for the topics of slots; requests, services and signals name one topic")]
    Wildcard,
    /// This engine has stricter rules.
    #[error("not a topic on this engine: {0}")]
    Engine(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_become_channels() {
        let topic = Topic::new("echo").unwrap();
        assert_eq!(&*topic.channel(Kind::Request), "gilmour.request.echo");
        assert_eq!(&*topic.channel(Kind::Slot), "gilmour.slot.echo");
        assert_eq!(Kind::Request.topic_of("gilmour.request.echo"), "echo");
        assert_eq!(Kind::Slot.topic_of("other.echo"), "other.echo");
    }

    #[test]
    fn a_channel_may_be_named_as_it_is() {
        let topic = Topic::new("gilmour.request.echo").unwrap();
        assert_eq!(&*topic.channel(Kind::Request), "gilmour.request.echo");
        assert!(!topic.is_foreign_to(Kind::Request) && topic.is_foreign_to(Kind::Slot));
        assert!(SlotTopic::new("gilmour.*").unwrap().is_foreign());
    }

    #[test]
    fn what_is_not_a_topic_is_refused() {
        assert_eq!(Topic::new(""), Err(InvalidTopic::Empty));
        assert_eq!(Topic::new("a.*"), Err(InvalidTopic::Wildcard));
        assert_eq!(Topic::new("a\n"), Err(InvalidTopic::ControlCharacter));
        assert_eq!(SlotTopic::new(&"a".repeat(257)), Err(InvalidTopic::TooLong(257)));
    }

    #[test]
    fn slots_match_as_the_broker_would() {
        let matches =
            |slot, topic| SlotTopic::new(slot).unwrap().matches(&Topic::new(topic).unwrap());
        assert!(matches("x.*", "x.a.b") && matches("x", "x") && matches("a?c[1]*", "abc1x"));
        assert!(!matches("x.*", "x") && !matches("a?c", "abc"));
    }
}
