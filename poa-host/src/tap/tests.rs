use poa_core::{AgentId, DataTypes, Draft, MessageId, Payload, Timestamp};
use serde_json::{Value, json};

use super::filter::MAX_RATE;
use super::*;

fn messages(agent: &str, data_type: &str, count: u8) -> Vec<Message> {
    let types = DataTypes::new(["blocks", "system"]).unwrap();
    let data_type = types.get(data_type).unwrap();
    let message = |n| {
        let payload = Payload::json(&json!({"n": n})).unwrap();
        let draft = Draft::new(AgentId::new(agent).unwrap(), data_type.clone(), payload);
        Message::stamp(draft, MessageId::from_bytes([n; 16]), Timestamp::now())
    };
    (0..count).map(message).collect()
}

/// A message with more data than is shown, which keeps the value until it is dropped.
fn long_message(kept: Arc<()>) -> Message {
    let data_type = DataTypes::new(["blocks"]).unwrap().get("blocks").unwrap().clone();
    let payload = Payload::json(&json!({"text": "x".repeat(line::MAX_DATA)})).unwrap();
    let draft = Draft::new(AgentId::new("a").unwrap(), data_type, payload).with_extension(kept);
    Message::stamp(draft, MessageId::from_bytes([1; 16]), Timestamp::now())
}

#[tokio::test]
async fn a_tap_shows_the_requested_messages() {
    let taps = Taps::default();
    taps.show("local", &messages("a", "blocks", 1));
    let filter = TapFilter {
        agent: Some("a".into()),
        receiver: Some("local".into()),
        ..TapFilter::default()
    };
    let mut tap = taps.tap(filter).unwrap();
    taps.show("other", &messages("a", "blocks", 1));
    taps.show("local", &messages("b", "blocks", 1));
    taps.show("local", &messages("a", "system", 2));
    let shown = tap.next().await.unwrap();
    assert_eq!((&shown["agent_id"], &shown["receiver"]), (&"a".into(), &"local".into()));
    assert_eq!((&shown["data_type"], &shown["data"]), (&"system".into(), &json!({"n": 0})));
    assert_eq!(tap.next().await.unwrap()["data"]["n"], 1);
    taps.close();
    assert!(tap.next().await.is_none());
}

#[test]
fn a_filter_is_read_from_a_query() {
    let filter = TapFilter::parse("type=blocks&agent=a%20b&rate=7").unwrap();
    let read = (filter.data_type.as_deref(), filter.agent.as_deref(), filter.rate);
    assert_eq!(read, (Some("blocks"), Some("a b"), Some(7)));
    assert!(TapFilter::parse("kind=x").unwrap_err().contains("known keys: type"));
    assert!(TapFilter::parse("rate=0").unwrap_err().contains("from 1 to 1000"));
}

#[tokio::test]
async fn messages_above_the_rate_are_left_out_and_counted() {
    tokio::time::pause();
    let taps = Taps::default();
    let filter = TapFilter { rate: Some(2), agent: Some("a".into()), ..TapFilter::default() };
    let mut tap = taps.tap(filter).unwrap();
    taps.show("local", &messages("a", "blocks", 3));
    taps.show("local", &messages("a", "blocks", 2));
    taps.show("local", &messages("b", "blocks", 9));
    tokio::time::advance(budget::WINDOW).await;
    taps.show("local", &messages("a", "blocks", 1));
    for left_out in [Value::Null, Value::Null, 3.into()] {
        assert_eq!(tap.next().await.unwrap()["left_out"], left_out);
    }
}

#[tokio::test]
async fn a_queue_that_is_full_keeps_no_long_data_and_counts() {
    let taps = Taps::default();
    let mut tap = taps.tap(TapFilter { rate: Some(MAX_RATE), ..TapFilter::default() }).unwrap();
    let alive = Arc::new(());
    let long = vec![long_message(alive.clone()); WAITING + 10];
    taps.show("local", &long);
    drop(long);
    assert_eq!(Arc::strong_count(&alive), 1);
    for _ in 0..WAITING {
        assert_eq!(tap.next().await.unwrap()["data"], Value::Null);
    }
    taps.show("local", &messages("a", "blocks", 1));
    assert_eq!(tap.next().await.unwrap()["left_out"], 10);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nothing() {
    let taps = Taps::default();
    let tap = taps.tap(TapFilter { rate: Some(MAX_RATE), ..TapFilter::default() }).unwrap();
    for _ in 0..5 {
        taps.show("local", &messages("a", "blocks", 200));
    }
    drop(tap);
    assert!(!taps.0.watched.load(Ordering::Relaxed));
}

#[tokio::test]
async fn the_number_of_clients_is_limited() {
    let taps = Taps::default();
    let mut all: Vec<_> =
        (0..MAX_WATCHERS).map(|_| taps.tap(TapFilter::default()).unwrap()).collect();
    assert!(taps.tap(TapFilter::default()).is_none());
    all.pop();
    assert!(taps.tap(TapFilter::default()).is_some());
}

#[test]
fn each_agent_is_counted_once_and_the_busiest_comes_first() {
    let mut counting = Counting::default();
    counting.add("local", &messages("a", "blocks", 3));
    counting.add("local", &messages("b", "blocks", 5));
    counting.add("store", &messages("a", "blocks", 3));
    assert!(counting.take(Instant::now()).is_none());
    let line = counting.take(Instant::now() + count::EVERY).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&line).unwrap();
    let names = |of: &str| {
        let all = told[of].as_array().unwrap().iter();
        let each =
            all.map(|one| (one["name"].as_str().unwrap().to_owned(), one["messages"].clone()));
        each.collect::<Vec<_>>()
    };
    assert_eq!(names("agents"), [("b".to_owned(), 5.into()), ("a".to_owned(), 3.into())]);
    assert_eq!(
        names("receivers"),
        [("local".to_owned(), 8.into()), ("store".to_owned(), 3.into())]
    );
    assert_eq!(told["known_agents"], 2);
}

#[tokio::test]
async fn a_top_reports_every_second_until_it_is_dropped() {
    let taps = Taps::default();
    let mut top = taps.top().unwrap();
    taps.show("local", &messages("a", "blocks", 3));
    let told = top.next().await.unwrap();
    assert_eq!(told["agents"][0]["messages"], 3);
    drop(top);
    assert!(!taps.0.watched.load(Ordering::Relaxed));
}
