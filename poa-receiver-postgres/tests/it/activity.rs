//! The last known state of each agent.

use crate::common::{Row, Subject, permanent, some};
use poa_core::{Activity, AgentId, Message, Receiver, Timestamp};

fn change(agent: &str, active: bool, micros: u64) -> Activity {
    Activity::new(AgentId::new(agent).unwrap(), active, at(micros))
}

const fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

impl Subject {
    /// Agent, state, and the time since when, in microseconds.
    async fn state(&self) -> Vec<Row> {
        let query = "SELECT agent_id, active, (extract(epoch FROM since) * 1000000)::bigint FROM agent_activity ORDER BY 1";
        self.database.rows(query).await
    }
}

fn state(agent: &str, active: bool, since: Timestamp) -> Row {
    vec![some(agent), some(if active { "t" } else { "f" }), Some(since.as_micros().to_string())]
}

#[tokio::test]
async fn the_last_change_counts_and_a_state_keeps_its_start() {
    let mut subject = Subject::new().await;
    let receiver = &mut subject.receiver;
    receiver.handle_active(&[change("a", true, 1), change("b", true, 2)]).await.unwrap();
    receiver.handle_active(&[change("a", true, 3)]).await.unwrap();
    receiver.handle_inactive(&[change("b", false, 4), change("b", false, 5)]).await.unwrap();
    assert_eq!(subject.state().await, [state("a", true, at(1)), state("b", false, at(4))]);
}

#[tokio::test]
async fn an_older_change_that_is_repeated_has_no_effect() {
    let mut subject = Subject::new().await;
    for (active, micros) in [(true, 1), (false, 2), (true, 3), (false, 2), (true, 1)] {
        let change = [change("a", active, micros)];
        let receiver = &mut subject.receiver;
        if active {
            receiver.handle_active(&change).await.unwrap()
        } else {
            receiver.handle_inactive(&change).await.unwrap()
        }
    }
    assert_eq!(subject.state().await, [state("a", true, at(3))]);
}

#[tokio::test]
async fn data_makes_an_agent_active_again() {
    let mut subject = Subject::new().await;
    let first = subject.store_json("system_metrics", "{}").await;
    let second = subject.store_json("system_metrics", "{}").await;
    assert_eq!(subject.state().await, [state("a1", true, first.received_at())]);

    let silent = at(second.received_at().as_micros() + 1);
    subject.samples.json("a1", "system_metrics", "{}");
    subject.receiver.handle_inactive(&[change("a1", false, silent.as_micros())]).await.unwrap();
    assert_eq!(subject.state().await, [state("a1", false, silent)]);
    // Delivered again, data from before the silence does not end it.
    subject.crash().await;
    subject.store(&[first, second]).await;
    assert_eq!(subject.state().await, [state("a1", false, silent)]);
    let back = subject.store_json("system_metrics", "{}").await;
    assert_eq!(subject.state().await, [state("a1", true, back.received_at())]);
}

#[tokio::test]
async fn what_was_rolled_back_is_not_remembered() {
    let mut subject = Subject::new().await;
    let good = subject.samples.json("a1", "system_metrics", "{}");
    let broken = subject.samples.json("a2", "system_metrics", "{");
    subject.receiver.metrics_received(&[good.clone(), broken]).await.unwrap_err();
    assert!(subject.state().await.is_empty());
    subject.store(std::slice::from_ref(&good)).await;
    assert_eq!(subject.state().await, [state("a1", true, good.received_at())]);
}

#[tokio::test]
async fn more_agents_than_the_cache_holds() {
    const AGENTS: usize = 70_000;
    let mut subject = Subject::new().await;
    let all: Vec<Message> = (0..AGENTS)
        .map(|n| subject.samples.json(&format!("a{n}"), "system_metrics", "{}"))
        .collect();
    for batch in all.chunks(AGENTS / 3) {
        subject.store(batch).await;
    }
    subject.store(&all[..1000]).await;
    let counted =
        subject.row("SELECT count(*), count(*) FILTER (WHERE active) FROM agent_activity").await;
    assert_eq!(counted, [some("70000"), some("70000")]);
}

#[tokio::test]
async fn a_constraint_on_activity_does_not_affect_messages() {
    let mut subject = Subject::new().await;
    let constraint = "ALTER TABLE agent_activity ADD CHECK (agent_id <> 'odd')";
    subject.database.execute(constraint).await;
    let batch = ["odd", "a1"].map(|agent| subject.samples.json(agent, "system_metrics", "{}"));
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 2]);
    assert_eq!(subject.state().await, [state("a1", true, batch[1].received_at())]);

    let later = batch[1].received_at().as_micros() + 1;
    let changes = ["a1", "odd", "a2"].map(|agent| change(agent, false, later));
    let (items, error) = permanent(subject.receiver.handle_inactive(&changes).await);
    assert_eq!(items, [1]);
    assert!(error.contains("(SQLSTATE 23514)"), "{error}");
    assert_eq!(
        subject.state().await,
        [state("a1", false, at(later)), state("a2", false, at(later))]
    );
}

#[tokio::test]
async fn a_trigger_that_refuses_all_activity_does_not_stop_messages() {
    let mut subject = Subject::new().await;
    let trigger = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
        CREATE TRIGGER no BEFORE INSERT ON agent_activity FOR EACH STATEMENT EXECUTE FUNCTION no()";
    subject.database.execute(trigger).await;
    let batch = subject.batch(100);
    subject.store(&batch[..50]).await;
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 100]);
    let (items, _) = permanent(subject.receiver.handle_active(&[change("a1", true, 1)]).await);
    assert_eq!(items, [0]);
    // Nor does a column that the receiver does not know.
    let column = "DROP TRIGGER no ON agent_activity; ALTER TABLE agent_activity ADD COLUMN more text NOT NULL";
    subject.database.execute(column).await;
    let more = subject.batch(1);
    subject.crash().await;
    subject.store(&more).await;
}
