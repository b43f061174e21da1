use std::time::Duration;

use poa_testkit::Samples;
use serde_json::{Value, json};

use super::*;
use crate::read::read;

fn bounds(agents: usize) -> Bounds {
    Bounds { agents, forget_after: Duration::from_secs(3600) }
}

fn state(agents: usize) -> State {
    State::new(bounds(agents), Vec::new())
}

fn show(state: &State, message: &Message) {
    state.metric(message, read(message).unwrap());
}

fn change(name: &str, active: bool, since: Timestamp) -> [Activity; 1] {
    [Activity::new(AgentId::new(name).unwrap(), active, since)]
}

/// The first frames of a new client.
fn first(state: &State) -> Vec<Value> {
    let (client, queue) = state.join(1 << 20);
    let mut frames = Vec::new();
    while queue.has_untold() {
        frames.extend(state.last_words(&queue));
    }
    state.leave(client);
    frames.iter().map(|frame| serde_json::from_slice(frame).unwrap()).collect()
}

/// The next frames of a client, without their constant parts.
async fn heard(state: &State, queue: &Queue) -> Vec<String> {
    let frames = state.next(queue, 100).await;
    let said = frames.iter().map(|frame| serde_json::from_slice::<Value>(frame).unwrap());
    said.map(|frame| format!("{} {}", frame["agent_id"], frame["data"]["body"])).collect()
}

fn rows(state: &State, since: Option<u64>) -> (u64, Value) {
    let page = state.page(since);
    (page.change, serde_json::from_str(&page.json()).unwrap())
}

#[test]
fn new_clients_get_the_information_and_then_the_statistics() {
    let (state, mut samples) = (state(10), Samples::from_now());
    let data = |kind: &str, n: u64| json!({"type": kind, "body": {"n": n}});
    for (data_type, data) in [
        ("ethereum_metrics", data("statistics", 1)),
        ("system_metrics", data("statistics", 2)),
        ("ethereum_metrics", data("information", 3)),
        ("ethereum_metrics", data("block", 4)),
        ("ethereum_metrics", data("statistics", 5)),
    ] {
        show(&state, &samples.message("a", data_type, &data));
    }
    let told: Vec<_> =
        first(&state).iter().map(|frame| frame["data"]["body"]["n"].clone()).collect();
    assert_eq!(told, [3, 2, 5]);
}

#[tokio::test]
async fn a_new_client_that_is_slow_gets_the_last_values_of_when_it_takes_them() {
    let (state, mut samples) = (state(100), Samples::from_now());
    let n = |n: u64| json!({"type": "statistics", "body": {"n": n}});
    show(&state, &samples.message("a", "ethereum_metrics", &n(1)));
    let (_, queue) = state.join(1 << 20);
    // The values from before it joined come first, then every newer one.
    show(&state, &samples.message("a", "ethereum_metrics", &n(2)));
    show(&state, &samples.message("b", "ethereum_metrics", &n(3)));
    let told = heard(&state, &queue).await;
    assert_eq!(told, [r#""a" {"n":1}"#, r#""a" {"n":2}"#, r#""b" {"n":3}"#]);
    assert!(!queue.has_untold());
}

#[tokio::test]
async fn the_last_values_count_towards_the_bound_of_a_client_as_soon_as_they_are_old() {
    let (state, mut samples) = (state(100), Samples::from_now());
    let data = |n: u64| json!({"type": "statistics", "body": {"n": n, "more": "x".repeat(10_000)}});
    for agent in 0..50 {
        show(&state, &samples.message(&agent.to_string(), "ethereum_metrics", &data(0)));
    }
    let (_, queue) = state.join(64 << 10);
    for n in 1..4 {
        for agent in 0..50 {
            show(&state, &samples.message(&agent.to_string(), "ethereum_metrics", &data(n)));
        }
    }
    let mut kept = 0;
    while kept == 0 || queue.has_untold() {
        kept += state.next(&queue, 1000).await.iter().map(bytes::Bytes::len).sum::<usize>();
    }
    assert!(kept <= 64 << 10, "{kept} bytes were kept for it");
}

#[tokio::test]
async fn inactive_is_said_once_and_becomes_the_last_statistics() {
    let (state, mut samples) = (state(10), Samples::from_now());
    show(
        &state,
        &samples.message(
            "a",
            "ethereum_metrics",
            &json!({"type": "statistics", "body": {"peers": 5}}),
        ),
    );
    let (_, queue) = state.join(1 << 20);
    heard(&state, &queue).await;
    let gone = change("a", false, Timestamp::now());
    state.inactive(&gone);
    state.inactive(&gone);
    let expected = r#"{"agent_id":"a","data":{"type":"statistics","body":{"active":false,"gasPrice":null,"hashrate":0,"mining":false,"peers":0,"syncing":null,"uptime":null}}}"#;
    assert_eq!(queue.next(10).await, [expected]);
    assert_eq!(first(&state), [serde_json::from_str::<Value>(expected).unwrap()]);
}

#[tokio::test]
async fn an_agent_that_speaks_again_can_become_inactive_again() {
    let (state, mut samples) = (state(10), Samples::from_now());
    let load = json!({"type": "statistics", "body": {"active": true}});
    let (_, queue) = state.join(1 << 20);
    let mut changes = Vec::new();
    for _ in 0..2 {
        state.inactive(&change("a", false, Timestamp::now()));
        let message = samples.message("a", "ethereum_metrics", &load);
        show(&state, &message);
        let (_, all) = rows(&state, None);
        let at = json!(message.received_at().as_micros() / 1000);
        assert_eq!(
            (&all["agents"][0]["state"], &all["agents"][0]["since"]),
            (&json!("unknown"), &at)
        );
        assert!(state.take_unsaved(false).is_some(), "a restart must not bring the old state back");
        changes.extend(heard(&state, &queue).await);
    }
    state.inactive(&change("a", false, Timestamp::now()));
    changes.extend(heard(&state, &queue).await);
    let active = changes.iter().map(|frame| frame.contains(r#""active":true"#));
    assert_eq!(active.collect::<Vec<_>>(), [false, true, false, true, false]);
    assert_eq!(first(&state)[0]["data"]["body"]["active"], false, "its last word");
}

#[test]
fn to_be_told_of_the_same_state_again_is_no_news() {
    let state = state(10);
    let then = Timestamp::from_micros(Timestamp::now().as_micros() - 60_000_000);
    let late = Timestamp::now();
    state.active(&change("a", true, then));
    let (known, _) = rows(&state, None);
    state.active(&[change("a", true, late), change("b", true, late)].concat());
    let (_, news) = rows(&state, Some(known));
    let [row] = &news["agents"].as_array().unwrap()[..] else { panic!("{news}") };
    assert_eq!((&row["id"], &row["state"]), (&json!("b"), &json!("active")));
    let (_, all) = rows(&state, None);
    let a = all["agents"].as_array().unwrap().iter().find(|row| row["id"] == "a").unwrap();
    assert_eq!(a["since"], json!(then.as_micros() / 1000));
}

#[test]
fn the_page_is_told_only_what_changed() {
    let (state, mut samples) = (state(10), Samples::from_now());
    let about = json!({"type": "information", "body": {"name": "Node A", "os": 7, "ip": "x"}});
    show(&state, &samples.message("a", "ethereum_metrics", &about));
    show(
        &state,
        &samples.message(
            "b",
            "system_metrics",
            &json!({"type": "statistics", "body": {"cpu_load": 1}}),
        ),
    );
    let (change, all) = rows(&state, None);
    assert_eq!((all["whole"].clone(), all["agents"].as_array().unwrap().len()), (json!(true), 2));

    show(
        &state,
        &samples.message(
            "a",
            "networking_metrics",
            &json!({"type": "latency", "body": {"latency": 3}}),
        ),
    );
    let (change, news) = rows(&state, Some(change));
    assert_eq!((&news["whole"], &news["metrics"]), (&json!(false), &json!(3)));
    let [row] = &news["agents"].as_array().unwrap()[..] else { panic!("{news}") };
    assert_eq!(
        (&row["id"], &row["state"], &row["live"]["latency"]),
        (&json!("a"), &json!("unknown"), &json!(3.0))
    );
    assert!(row.get("about").is_none(), "its description has not changed: {row}");
    assert!(!state.page(Some(change)).news);
}

#[test]
fn states_change_and_are_doubted_after_a_restart() {
    let state = state(10);
    let then = Timestamp::from_micros(Timestamp::now().as_micros() - 60_000_000);
    state.active(&[change("here", true, then), change("gone", true, then)].concat());
    state.inactive(&change("gone", false, then));
    let saved = state.take_unsaved(false).unwrap();
    let saved = saved.into_iter().map(|(id, row)| {
        let row = row.unwrap();
        Saved { id, view: row.view, kept: row.kept.unwrap_or_default() }
    });
    let again = State::new(bounds(10), saved.collect());
    let (_, all) = rows(&again, None);
    for row in all["agents"].as_array().unwrap() {
        match row["id"].as_str().unwrap() {
            "here" => assert_eq!(row["state"], "unknown"),
            _ => assert_eq!(
                (&row["state"], &row["since"]),
                (&json!("inactive"), &json!(then.as_micros() / 1000))
            ),
        }
        assert_eq!(row["seen"], json!(then.as_micros() / 1000));
    }
}

#[test]
fn only_what_is_not_repeated_is_saved_at_once() {
    let (state, mut samples) = (state(10), Samples::from_now());
    let load = json!({"type": "statistics", "body": {"cpu_load": 1}});
    show(&state, &samples.message("a", "system_metrics", &load));
    assert!(state.take_unsaved(false).is_some(), "an agent that is new");
    show(&state, &samples.message("a", "system_metrics", &load));
    assert!(state.take_unsaved(false).is_none());
    show(
        &state,
        &samples.message("a", "ethereum_metrics", &json!({"type": "information", "body": {}})),
    );
    let rows = state.take_unsaved(false).unwrap();
    assert_eq!(rows[0].1.as_ref().unwrap().kept.as_ref().unwrap().len(), 2);
    assert!(state.take_unsaved(true).is_none(), "all is saved");
    state.not_saved(&rows);
    assert!(state.take_unsaved(false).is_none() && state.take_unsaved(true).is_some());
}

#[test]
fn too_many_agents_push_out_those_not_heard_for_longest() {
    let state = state(100);
    let (change, _) = rows(&state, None);
    for n in 0..101 {
        let since = Timestamp::from_micros(1_000_000_000 + n * 1000);
        state.active(&self::change(&format!("agent {n}"), true, since));
    }
    let (_, all) = rows(&state, None);
    assert_eq!(all["agents"].as_array().unwrap().len(), 95);
    let (_, news) = rows(&state, Some(change));
    assert_eq!(news["gone"].as_array().unwrap().len(), 6);
    assert!(state.history("agent 100").is_some() && state.history("agent 0").is_none());
}

#[test]
fn who_is_gone_for_long_is_forgotten_and_a_page_that_missed_it_begins_anew() {
    let state = state(5000);
    let long_ago = Timestamp::from_micros(Timestamp::now().as_micros() - 7_200_000_000);
    let (change, _) = rows(&state, None);
    for n in 0..2000 {
        state.inactive(&self::change(&format!("gone {n}"), false, long_ago));
    }
    state.active(&self::change("here", true, long_ago));
    state.forget_gone();
    let (_, news) = rows(&state, Some(change));
    assert_eq!((&news["whole"], news["agents"].as_array().unwrap().len()), (&json!(true), 1));
    let removed = state.take_unsaved(true).unwrap();
    assert_eq!(removed.iter().filter(|(_, row)| row.is_none()).count(), 2000);
}

#[tokio::test]
async fn large_frames_are_passed_on_and_not_kept() {
    let (state, mut samples) = (state(10), Samples::from_now());
    let (_, queue) = state.join(1 << 20);
    let long = json!({"type": "statistics", "body": {"peers": 1, "text": "x".repeat(20_000)}});
    show(&state, &samples.message("a", "ethereum_metrics", &long));
    assert!(queue.next(1).await[0].len() > 20_000);
    assert!(first(&state).is_empty());
}
