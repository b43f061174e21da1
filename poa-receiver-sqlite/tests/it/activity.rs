//! The last known state of each agent.

use crate::common::{Subject, text};
use poa_core::{Activity, AgentId, Receiver, Timestamp};
use rusqlite::types::Value::{self, Integer};

fn change(agent: &str, active: bool, micros: u64) -> Activity {
    Activity::new(AgentId::new(agent).unwrap(), active, Timestamp::from_micros(micros))
}

impl Subject {
    fn state(&self) -> Vec<Vec<Value>> {
        self.rows("SELECT agent_id, active, since FROM agent_activity ORDER BY agent_id")
    }
}

fn state(agent: &str, active: bool, since: Timestamp) -> Vec<Value> {
    vec![text(agent), Integer(active.into()), text(&since.to_string())]
}

const fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

#[tokio::test]
async fn the_last_change_counts_and_a_state_keeps_its_start() {
    let mut subject = Subject::new().await;
    let receiver = &mut subject.receiver;
    receiver.handle_active(&[change("a", true, 1), change("b", true, 2)]).await.unwrap();
    receiver.handle_active(&[change("a", true, 3)]).await.unwrap();
    receiver.handle_inactive(&[change("b", false, 4), change("b", false, 5)]).await.unwrap();
    assert_eq!(subject.state(), [state("a", true, at(1)), state("b", false, at(4))]);
}

#[tokio::test]
async fn data_makes_an_agent_active_again() {
    let mut subject = Subject::new().await;
    let first = subject.store_json("system_metrics", "{}").await;
    subject.store_json("system_metrics", "{}").await;
    assert_eq!(subject.state(), [state("a1", true, first.received_at())]);

    subject.receiver.handle_inactive(&[change("a1", false, 7)]).await.unwrap();
    assert_eq!(subject.state(), [state("a1", false, at(7))]);
    let back = subject.store_json("system_metrics", "{}").await;
    assert_eq!(subject.state(), [state("a1", true, back.received_at())]);
}

#[tokio::test]
async fn what_was_rolled_back_is_not_remembered() {
    let mut subject = Subject::new().await;
    let good = subject.samples.json("a1", "system_metrics", "{}");
    let broken = subject.samples.json("a2", "system_metrics", "{");
    let batch = [good.clone(), broken];
    subject.receiver.metrics_received(&batch).await.unwrap_err();
    assert!(subject.state().is_empty());
    subject.store(std::slice::from_ref(&good)).await;
    assert_eq!(subject.state(), [state("a1", true, good.received_at())]);
}

#[tokio::test]
async fn more_agents_than_the_cache_holds() {
    const AGENTS: usize = 70_000;
    let mut subject = Subject::new().await;
    let agents = |round: usize| (0..AGENTS).map(move |n| (format!("a{n}"), round));
    for (agent, _) in agents(1).chain(agents(2)).step_by(1000) {
        let message = subject.samples.json(&agent, "system_metrics", "{}");
        subject.store(&[message]).await;
    }
    let batch: Vec<_> =
        agents(3).map(|(agent, _)| subject.samples.json(&agent, "system_metrics", "{}")).collect();
    subject.store(&batch).await;
    subject.store(&batch[..1000]).await;
    let counted = subject.row("SELECT count(*), sum(active) FROM agent_activity");
    assert_eq!(counted, [Integer(AGENTS as i64), Integer(AGENTS as i64)]);
}
