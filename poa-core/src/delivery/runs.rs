//! Divides a batch into calls of the receiver.

use std::collections::HashMap;

use crate::engine::{Batch, Event};
use crate::{Activity, AgentId, Message};

/// Events of the same kind, which are delivered in one call.
pub(super) enum Run {
    Messages(Messages),
    Active(Vec<Activity>),
    Inactive(Vec<Activity>),
}

/// Groups events so that the order of each agent is kept and calls are few: an event joins the first run of its kind that does not
/// come before another event of its agent.
pub(super) fn runs(batch: Batch) -> Vec<Run> {
    let mut messages = Messages::with_capacity(batch.len());
    let mut rest = batch.into_iter();
    // Most batches are one run of messages.
    let other = rest.by_ref().find_map(|(position, event)| match event {
        Event::Message(message) => {
            messages.push(position, message);
            None
        }
        Event::Activity(_) => Some((position, event)),
    });
    let runs = if messages.len() == 0 { Vec::new() } else { vec![Run::Messages(messages)] };
    add_to_runs(runs, other.into_iter().chain(rest))
}

fn add_to_runs(mut runs: Vec<Run>, events: impl Iterator<Item = (u64, Event)>) -> Vec<Run> {
    // Agents whose last event is not in the first run.
    let mut last: HashMap<AgentId, usize> = HashMap::new();
    for (position, event) in events {
        let agent = event.agent_id();
        let after = if last.is_empty() { 0 } else { last.get(agent).copied().unwrap_or(0) };
        let first = runs.iter().skip(after).position(|run| run.takes(&event));
        let at = first.map_or(runs.len(), |first| after + first);
        if at > after {
            last.insert(agent.clone(), at);
        }
        if at == runs.len() {
            runs.push(Run::of(&event));
        }
        runs[at].push(position, event);
    }
    runs
}

/// Messages, and the position of each. Apart, because receivers get a slice of messages.
#[derive(Default)]
pub(super) struct Messages {
    pub(super) positions: Vec<u64>,
    pub(super) list: Vec<Message>,
}

impl Messages {
    fn with_capacity(count: usize) -> Self {
        Self { positions: Vec::with_capacity(count), list: Vec::with_capacity(count) }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    #[inline]
    pub(super) fn push(&mut self, position: u64, message: Message) {
        self.positions.push(position);
        self.list.push(message);
    }

    /// Removes the messages from this one on, and returns them.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        Self { positions: self.positions.split_off(at), list: self.list.split_off(at) }
    }

    /// The message at this place, with its position.
    pub(super) fn get(&self, place: usize) -> (u64, Message) {
        (self.positions[place], self.list[place].clone())
    }
}

impl IntoIterator for Messages {
    type Item = (u64, Message);
    type IntoIter = std::iter::Zip<std::vec::IntoIter<u64>, std::vec::IntoIter<Message>>;

    fn into_iter(self) -> Self::IntoIter {
        self.positions.into_iter().zip(self.list)
    }
}

impl Run {
    /// An empty run for events of this kind.
    fn of(event: &Event) -> Self {
        match event {
            Event::Message(_) => Self::Messages(Messages::default()),
            Event::Activity(change) if change.active => Self::Active(Vec::new()),
            Event::Activity(_) => Self::Inactive(Vec::new()),
        }
    }

    fn takes(&self, event: &Event) -> bool {
        match (self, event) {
            (Self::Messages(_), Event::Message(_)) => true,
            (Self::Active(_), Event::Activity(change)) => change.active,
            (Self::Inactive(_), Event::Activity(change)) => !change.active,
            _ => false,
        }
    }

    fn push(&mut self, position: u64, event: Event) {
        match (self, event) {
            (Self::Messages(run), Event::Message(message)) => run.push(position, message),
            (Self::Active(run) | Self::Inactive(run), Event::Activity(change)) => run.push(change),
            // `takes` was checked before.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataTypes, Draft, MessageId, Payload, Timestamp};
    use proptest::prelude::*;

    fn message(agent: &AgentId, n: u64) -> Event {
        let data_type = DataTypes::new(["a"]).unwrap().get("a").unwrap().clone();
        let payload = Payload::json(&serde_json::json!({ "n": n })).unwrap();
        let draft = Draft::new(agent.clone(), data_type, payload);
        let id = MessageId::from_bytes(u128::from(n).to_be_bytes());
        Event::Message(Message::stamp(draft, id, Timestamp::from_micros(n)))
    }

    /// Events of some agents, by position: a message, or a change to active or inactive.
    fn batch(kinds: &[(u8, u8)]) -> Batch {
        let event = |(n, (agent, kind)): (u64, &(u8, u8))| {
            let agent = AgentId::new(format!("agent-{agent}")).unwrap();
            let change = |active| Activity::new(agent.clone(), active, Timestamp::from_micros(n));
            let event = match kind {
                0 => message(&agent, n),
                1 => Event::Activity(change(true)),
                _ => Event::Activity(change(false)),
            };
            (n, event)
        };
        (0..).zip(kinds).map(event).collect()
    }

    /// The times of all events of each agent, in the order of the calls.
    fn by_agent(runs: Vec<Run>) -> HashMap<AgentId, Vec<u64>> {
        let mut order: HashMap<AgentId, Vec<u64>> = HashMap::new();
        let mut note = |agent: &AgentId, at: Timestamp| {
            order.entry(agent.clone()).or_default().push(at.as_micros());
        };
        for run in runs {
            match run {
                Run::Messages(run) => {
                    run.list.iter().for_each(|one| note(one.agent_id(), one.received_at()));
                }
                Run::Active(run) | Run::Inactive(run) => {
                    run.iter().for_each(|one| note(&one.agent_id, one.since));
                }
            }
        }
        order
    }

    proptest! {
        #[test]
        fn no_event_is_lost_and_the_order_of_each_agent_is_kept(
            kinds in prop::collection::vec((0..4_u8, 0..3_u8), 0..60),
        ) {
            let order = by_agent(runs(batch(&kinds)));
            prop_assert_eq!(order.values().map(Vec::len).sum::<usize>(), kinds.len());
            prop_assert!(order.values().all(|times| times.is_sorted()));
        }
    }

    /// Otherwise each change would cost a transaction for every agent's messages.
    #[test]
    fn changes_of_many_agents_divide_the_messages_of_others_once() {
        let kinds: Vec<_> =
            (0..100).flat_map(|agent| [(agent, 0), (agent, 1), (agent, 2), (200, 0)]).collect();
        assert_eq!(runs(batch(&kinds)).len(), 3);
    }
}
