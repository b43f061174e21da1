//! Topics as subjects.
//!
//! NATS has its own wildcards: `*` is one whole token, `>` one or more. A pattern of Gilmour becomes the narrowest subject that covers it, and what comes over
//! that is matched again.

use crate::engine::Registration;
use crate::{InvalidTopic, Kind, Topic};

const SPECIAL: InvalidTopic = InvalidTopic::Engine(
    "over NATS a topic is tokens without white space, `*` and `>`, joined by dots",
);
const INEXACT: InvalidTopic = InvalidTopic::Engine(
    "over NATS a pattern in a group must end in `.*`, without another special character: each member must be able to take what it draws",
);
const GROUP: InvalidTopic = InvalidTopic::Engine("over NATS a group has no white space");

/// The subject of a request or signal.
pub(super) fn of_topic(topic: &Topic, kind: Kind) -> Result<String, InvalidTopic> {
    let channel = topic.channel(kind);
    if is_subject(&channel) { Ok(channel.to_string()) } else { Err(SPECIAL) }
}

/// The subject to subscribe to.
pub(super) fn of(registration: &Registration) -> Result<String, InvalidTopic> {
    let channel = &*registration.channel;
    if !registration.pattern {
        return if is_subject(channel) { Ok(channel.to_owned()) } else { Err(SPECIAL) };
    }
    let special = channel.find(['*', '?', '[', '\\']).unwrap_or(channel.len());
    let before = channel[..special].rfind('.').map_or("", |dot| &channel[..dot]);
    if !is_subject(before) {
        return Err(SPECIAL);
    }
    if registration.group.is_some() && channel[before.len()..] != *".*" {
        return Err(INEXACT);
    }
    Ok(format!("{before}.>"))
}

/// Whether it can be subscribed at all.
pub(super) fn check(registration: &Registration) -> Result<(), InvalidTopic> {
    of(registration)?;
    let spaced = |group: &str| group.is_empty() || group.contains(char::is_whitespace);
    if registration.group.as_deref().is_some_and(spaced) {
        return Err(GROUP);
    }
    Ok(())
}

fn is_subject(channel: &str) -> bool {
    let token = |token: &str| {
        !token.is_empty() && !token.contains(|c: char| c.is_whitespace() || c == '*' || c == '>')
    };
    channel.split('.').all(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, Data, Message, SlotTopic};

    fn slot(topic: &str, group: &str) -> Result<String, InvalidTopic> {
        let nothing = |_: Call| std::future::ready(Message::ok(Data::null()));
        of(&Registration::slot(&SlotTopic::new(topic).unwrap(), nothing).group(group))
    }

    #[test]
    fn patterns_become_the_narrowest_subject_that_covers_them() {
        assert_eq!(slot("a.b.*", "").unwrap(), "gilmour.slot.a.b.>");
        assert_eq!(slot("pin*", "").unwrap(), "gilmour.slot.>");
        assert_eq!(slot("x.*.z", "").unwrap(), "gilmour.slot.x.>");
        assert_eq!(slot("a?c.x*", "").unwrap(), "gilmour.slot.>");
        assert_eq!(slot("plain", "").unwrap(), "gilmour.slot.plain");
        assert_eq!(slot("a.b.*", "g").unwrap(), "gilmour.slot.a.b.>");
    }

    #[test]
    fn what_a_group_could_not_take_is_refused() {
        for topic in ["pin*", "x.*.z", "x.*y", "a.?.*"] {
            assert_eq!(slot(topic, "g"), Err(INEXACT), "{topic}");
        }
        for topic in ["a..b", "a b", "a.>", ".a", "a."] {
            assert_eq!(slot(topic, ""), Err(SPECIAL), "{topic}");
        }
        assert_eq!(of_topic(&Topic::new("a..b").unwrap(), Kind::Request), Err(SPECIAL));
    }
}
