//! Decides which messages are traced, and derives the ids that all their spans share.

use std::fmt::Write as _;

use poa_core::MessageId;
use siphasher::sip128::SipHasher13;

/// The bits of randomness that OpenTelemetry compares with a threshold.
const BITS: u32 = 56;

/// Decides by a hash of the id: every node and every restart decides alike, with nothing carried along. The id itself does not do, since
/// ids of one moment and one node differ in few bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampler {
    /// Messages whose randomness is below are not traced; `1 << BITS` traces none.
    threshold: u64,
}

/// The ids of a traced message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traced {
    message: MessageId,
    randomness: u64,
    root: u64,
}

impl Sampler {
    /// Traces this share of all messages, from 0.0 to 1.0.
    pub(crate) fn new(share: f64) -> Self {
        // Exact: a share has at most 53 significant bits.
        let threshold = ((1.0 - share.clamp(0.0, 1.0)) * (1_u64 << BITS) as f64).round();
        Self { threshold: threshold as u64 }
    }

    /// The ids of this message, if it is traced.
    pub(crate) fn sample(self, message: MessageId) -> Option<Traced> {
        // Fixed keys: another process must compute the same.
        let hash = SipHasher13::new().hash(message.as_bytes());
        let randomness = hash.h1 >> (u64::BITS - BITS);
        // Zero is not a valid id of a span.
        let root = hash.h2.max(1);
        (randomness >= self.threshold).then_some(Traced { message, randomness, root })
    }

    /// The `tracestate` of this message's spans. By `th`, collectors know how many messages a traced one represents; `rv` is the number to
    /// compare if they sample further, because they would take the last bytes of the trace id for it, and those are the same for all
    /// messages of a node.
    pub(crate) fn trace_state(self, traced: Traced) -> String {
        let mut threshold = format!("{:014x}", self.threshold);
        threshold.truncate(threshold.trim_end_matches('0').len().max(1));
        let mut state = String::with_capacity(40);
        let _ = write!(state, "ot=th:{threshold};rv:{:014x}", traced.randomness);
        state
    }
}

impl Traced {
    /// The id of the message, which is that of the trace.
    pub(crate) fn message(self) -> MessageId {
        self.message
    }

    /// The id of the root span, which other nodes name without having seen it.
    pub(crate) fn root(self) -> [u8; 8] {
        self.root.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use poa_core::Timestamp;
    use poa_core::engine::IdGenerator;

    use super::*;

    /// The ids of a node that gets a message every 10 µs, and a few in the same microsecond.
    fn ids(count: u64) -> Vec<MessageId> {
        let mut generator = IdGenerator::new();
        let now = |n: u64| Timestamp::from_micros(1_769_860_800_000_000 + n / 4 * 40);
        (0..count).map(|n| generator.next(now(n))).collect()
    }

    #[test]
    fn ids_are_valid_trace_ids() {
        for id in ids(1000) {
            let traced = Sampler::new(1.0).sample(id).unwrap();
            assert!(id.as_bytes() != &[0; 16] && traced.root() != [0; 8]);
            assert_eq!(traced.message(), id);
        }
        // Whatever the node and the time, the version of the UUID is in it.
        let least = IdGenerator::new().next(Timestamp::from_micros(0));
        assert_eq!(least.as_bytes()[6] >> 4, 7);
    }

    #[test]
    fn the_share_is_kept_in_every_stretch_of_time() {
        for share in [0.01, 0.25, 0.5, 0.9] {
            let sampler = Sampler::new(share);
            for (nth, stretch) in ids(100_000).chunks(10_000).enumerate() {
                let traced = stretch.iter().filter(|id| sampler.sample(**id).is_some()).count();
                // Seven standard deviations.
                let most = 7.0 * (10_000.0 * share * (1.0 - share)).sqrt();
                let off = (traced as f64 - 10_000.0 * share).abs();
                assert!(off < most, "{traced} of 10000 in stretch {nth} at {share}");
            }
        }
    }

    #[test]
    fn all_or_none() {
        let (all, none) = (Sampler::new(1.0), Sampler::new(0.0));
        for id in ids(10_000) {
            assert!(all.sample(id).is_some() && none.sample(id).is_none());
        }
    }

    #[test]
    fn nodes_and_versions_decide_alike() {
        let id = MessageId::from_bytes(*b"poa traces 0.1.0");
        let traced = Sampler::new(1.0).sample(id).unwrap();
        // Another algorithm would break the traces of a cluster during an upgrade.
        let expected = (66_398_307_724_484_343, 10_536_241_869_503_888_915);
        assert_eq!((traced.randomness, traced.root), expected);
        for share in [0.1, 0.3, 0.7] {
            for id in ids(1000) {
                let more = Sampler::new(share + 0.1).sample(id);
                let less = Sampler::new(share).sample(id);
                assert!(less.is_none() || less == more, "a larger share contains a smaller one");
            }
        }
    }

    #[test]
    fn the_trace_state_names_threshold_and_randomness() {
        let traced = Traced { message: MessageId::from_bytes([7; 16]), randomness: 0xabc, root: 1 };
        let state = |share| Sampler::new(share).trace_state(traced);
        assert_eq!(state(1.0), "ot=th:0;rv:00000000000abc");
        assert_eq!(state(0.5), "ot=th:8;rv:00000000000abc");
        assert_eq!(state(0.75), "ot=th:4;rv:00000000000abc");
        assert!(state(0.01).starts_with("ot=th:fd70a3d70a3d7"), "{}", state(0.01));
    }
}
