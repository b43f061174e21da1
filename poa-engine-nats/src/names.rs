//! The names of streams, buckets, subjects and keys, and the partition of an agent.

use std::fmt::Write as _;

use poa_core::AgentId;

/// The names that follow from a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: String,
    partitions: u16,
}

impl Names {
    pub(crate) fn new(prefix: &str, partitions: u16) -> Self {
        Self { prefix: prefix.to_owned(), partitions }
    }

    /// The stream of messages.
    pub(crate) fn stream(&self) -> String {
        self.prefix.to_uppercase()
    }

    /// The bucket of cursors and leases.
    pub(crate) fn receivers(&self) -> String {
        format!("{}_receivers", self.prefix)
    }

    /// The bucket that the nodes share.
    pub(crate) fn shared(&self) -> String {
        format!("{}_shared", self.prefix)
    }

    /// The subject of signals about a topic, which are not stored.
    pub(crate) fn signals(&self, topic: &str) -> String {
        format!("{}.s.{}", self.prefix, token(topic))
    }

    /// Every subject of the stream.
    pub(crate) fn all_subjects(&self) -> String {
        format!("{}.p.>", self.prefix)
    }

    /// Every subject of a partition.
    pub(crate) fn partition_subjects(&self, partition: u16) -> String {
        format!("{}.p.{partition}.>", self.prefix)
    }

    /// The subject of the messages of a data type.
    pub(crate) fn messages(&self, partition: u16, data_type: &str) -> String {
        format!("{}.p.{partition}.m.{}", self.prefix, token(data_type))
    }

    /// The subject of changes of activity.
    pub(crate) fn activity(&self, partition: u16) -> String {
        format!("{}.p.{partition}.a", self.prefix)
    }

    /// The partition that a subject of the stream belongs to.
    pub(crate) fn partition_of_subject(&self, subject: &str) -> Option<u16> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix(".p.")?;
        rest.split('.').next()?.parse().ok().filter(|partition| *partition < self.partitions)
    }

    pub(crate) fn partitions(&self) -> std::ops::Range<u16> {
        0..self.partitions
    }

    /// The partition of an agent: the same on every machine and in every version.
    pub(crate) fn partition_of(&self, agent: &AgentId) -> u16 {
        // The remainder is less than a u16.
        (stable_hash(agent.as_str().as_bytes()) % u64::from(self.partitions)) as u16
    }
}

/// The registration of a receiver: what it reads, and where it started.
pub(crate) fn registration(receiver: &str) -> String {
    format!("r.{}", token(receiver))
}

/// The cursor of a receiver in a partition.
pub(crate) fn cursor(receiver: &str, partition: u16) -> String {
    format!("c.{}.{partition}", token(receiver))
}

/// The lease of a receiver on a partition.
pub(crate) fn lease(receiver: &str, partition: u16) -> String {
    format!("l.{}.{partition}", token(receiver))
}

/// The key by which a node says that it runs a receiver.
pub(crate) fn member(receiver: &str, node: &str) -> String {
    format!("{}{}", members(receiver), token(node))
}

/// How the keys of all nodes that run a receiver begin.
pub(crate) fn members(receiver: &str) -> String {
    format!("m.{}.", token(receiver))
}

/// FNV-1a, which is specified to the bit.
pub(crate) fn stable_hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// A name as one token of a subject or key. Names of letters, digits, `_` and `-` stay readable; all others become `=` and the bytes
/// in hexadecimal.
pub(crate) fn token(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(is_plain) {
        return name.to_owned();
    }
    name.bytes().fold(String::from("="), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The name that a token was made of.
pub(crate) fn untoken(token: &str) -> Option<String> {
    let Some(digits) = token.strip_prefix('=') else { return Some(token.to_owned()) };
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<_>> = (0..digits.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_the_same_everywhere() {
        let names = Names::new("poa", 16);
        let of = |agent: &str| names.partition_of(&AgentId::new(agent).unwrap());
        // What is stored in a stream must be found by the next version.
        assert_eq!(stable_hash(b"agent-1"), 0x9c3f_9a8a_5ba8_d740);
        assert_eq!([of("agent-1"), of("agent-2"), of("é")].map(|p| p < 16), [true; 3]);
    }

    #[test]
    fn subjects_name_their_partition() {
        let names = Names::new("poa", 16);
        assert_eq!(names.partition_of_subject(&names.messages(15, "a.b c")), Some(15));
        assert_eq!(names.partition_of_subject(&names.activity(3)), Some(3));
        for foreign in ["poa.p.16.a", "poa.x.1.a", "other.p.1.a", "poa.p..a"] {
            assert_eq!(names.partition_of_subject(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn tokens_come_back() {
        for name in ["system_metrics", "a.b", "über alles", "=61", "*", ""] {
            let token = token(name);
            assert!(!token.contains(['.', ' ', '*', '>']) && !token.is_empty(), "{token}");
            assert_eq!(untoken(&token).as_deref(), Some(name));
        }
    }
}
