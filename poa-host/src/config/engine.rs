//! What the bus of this build can promise. All that is to change when the log on disk arrives stands here.

use poa_core::Ack;

use super::top::{Bus, Engine};

/// What the bus will promise, in place of what was not written.
pub(crate) fn ack(bus: &Bus) -> Ack {
    bus.ack.unwrap_or(Ack::Memory)
}

/// What is wrong with `[bus] ack`, if anything.
pub(crate) fn problem(bus: &Bus) -> Option<String> {
    let why = match bus.engine {
        Engine::Log => "needs the log on disk, which this build does not have yet",
        Engine::Memory => "needs a log on disk, and `engine = \"memory\"` has none",
    };
    let cure = "write `ack = \"memory\"` (lost if the server dies) or `ack = \"delivered\"` (every receiver has confirmed)";
    (bus.ack == Some(Ack::Stored)).then(|| format!("`stored` {why}; {cure}"))
}

/// What an operator must know before trusting this server with data.
pub(crate) fn warning(bus: &Bus) -> Option<String> {
    (bus.engine == Engine::Log).then(|| {
        let ack = match (bus.ack, ack(bus)) {
            (None, _) => "ack is not set and is \"memory\": what was acknowledged is lost if the server dies before it is delivered",
            (_, Ack::Delivered) => "ack = \"delivered\" holds; what was not acknowledged is lost if the server dies",
            _ => "what was acknowledged is lost if the server dies before it is delivered",
        };
        format!(
            "[bus] engine = \"log\" is not in this build yet: THE BUS IS IN MEMORY, not on disk; {ack}. Write engine = \"memory\" to accept that"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_nothing_it_cannot_keep() {
        let stored = |engine| Bus { engine, ack: Some(Ack::Stored) };
        assert!(problem(&stored(Engine::Log)).unwrap().contains("ack = \"memory\""));
        assert!(problem(&stored(Engine::Memory)).unwrap().contains("ack = \"delivered\""));
        assert_eq!((problem(&Bus::default()), ack(&Bus::default())), (None, Ack::Memory));
    }

    #[test]
    fn warns_when_the_log_was_asked_for() {
        assert!(warning(&Bus::default()).unwrap().contains("ack is not set and is \"memory\""));
        let delivered = Bus { engine: Engine::Log, ack: Some(Ack::Delivered) };
        assert!(warning(&delivered).unwrap().contains("holds"));
        assert_eq!(warning(&Bus { engine: Engine::Memory, ack: None }), None);
    }
}
