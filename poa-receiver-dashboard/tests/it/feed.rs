//! The parts of the feed that clients of POA Backend rely on.

use bytes::Bytes;
use poa_core::{Format, Payload};
use poa_testkit::Samples;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::support::{SECRET, Subject, config};

#[tokio::test]
async fn each_metric_is_one_frame_in_the_words_of_the_agent() {
    let (mut subject, mut samples) = (Subject::new().await, Samples::from_now());
    let mut client = subject.client().await;
    let odd = r#"{ "type":"pending", "wide":1267650600228229401496703205376, "body":{"é":"☃"} }"#;
    subject.show(samples.json("agent \"1\"", "ethereum_metrics", odd)).await;
    assert_eq!(
        client.next().await.unwrap(),
        format!(r#"{{"agent_id":"agent \"1\"","data":{odd}}}"#)
    );

    let data = json!({"type": "latency", "body": {"latency": 3, "more": [1.5, null]}});
    let packed = Payload::new(Format::MessagePack, Bytes::from(rmp_serde::to_vec(&data).unwrap()));
    subject.show(samples.message_of("b", "networking_metrics", packed)).await;
    assert_eq!(client.json().await, json!({"agent_id": "b", "data": data}));
}

#[tokio::test]
async fn a_new_client_gets_the_last_values_then_what_comes() {
    let (mut subject, mut samples) = (Subject::new().await, Samples::from_now());
    for (kind, n) in [("statistics", 1), ("information", 2), ("block", 3), ("statistics", 4)] {
        let data = json!({"type": kind, "body": {"n": n}});
        subject.show(samples.message("a", "ethereum_metrics", &data)).await;
    }
    let mut client = subject.client().await;
    assert_eq!(client.json().await["data"]["body"]["n"], 2);
    assert_eq!(client.json().await["data"]["body"]["n"], 4);
    subject
        .show(samples.message("a", "ethereum_metrics", &json!({"type": "block", "body": {"n": 5}})))
        .await;
    assert_eq!(client.json().await["data"]["body"]["n"], 5);
}

#[tokio::test]
async fn an_agent_that_becomes_inactive_is_told_of_once() {
    let (mut subject, mut samples) = (Subject::new().await, Samples::from_now());
    let mut client = subject.client().await;
    subject
        .show(samples.message("a", "ethereum_metrics", &json!({"type": "statistics", "body": {}})))
        .await;
    client.next().await.unwrap();
    subject.inactive("a").await;
    subject.inactive("a").await;
    let expected = r#"{"agent_id":"a","data":{"type":"statistics","body":{"active":false,"gasPrice":null,"hashrate":0,"mining":false,"peers":0,"syncing":null,"uptime":null}}}"#;
    assert_eq!(client.next().await.unwrap(), expected);
    assert_eq!(subject.client().await.next().await.unwrap(), expected, "its last statistics");
    subject.show(samples.message("b", "ethereum_metrics", &json!({}))).await;
    assert_eq!(client.json().await["agent_id"], "b");
}

#[tokio::test]
async fn what_clients_send_is_ignored_within_reason() {
    let (mut subject, mut samples) = (Subject::new().await, Samples::from_now());
    let mut client = subject.client().await;
    client.say(r#"{"call":"bye"}"#).await;
    client.say(&"what? ".repeat(10_000)).await;
    subject.show(samples.message("a", "ethereum_metrics", &json!({}))).await;
    assert_eq!(client.json().await["agent_id"], "a");
    client.say(&"x".repeat(70_000)).await;
    assert_eq!(client.close_code().await, 1009);
}

#[tokio::test]
async fn an_agent_that_speaks_again_is_there_again() {
    let (mut subject, mut samples) = (Subject::new().await, Samples::from_now());
    let mut client = subject.client().await;
    let load = json!({"type": "statistics", "body": {"active": true}});
    for _ in 0..2 {
        subject.inactive("a").await;
        assert_eq!(client.json().await["data"]["body"]["active"], false);
        subject.show(samples.message("a", "ethereum_metrics", &load)).await;
        assert_eq!(client.json().await["data"]["body"]["active"], true);
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_vanish_are_given_up_and_others_are_not() {
    let subject = Subject::new().await;
    let page = [("wssecret", SECRET), ("sec-websocket-protocol", "poa-dashboard-page")];
    // They answer no pings: their machine lost its power, say.
    for headers in [&page[..1], &page[..]] {
        let mut vanished = subject.connect("/ws", headers).await.unwrap();
        let begin = tokio::time::Instant::now();
        let mut said = Vec::new();
        vanished.read_to_end(&mut said).await.unwrap();
        let took = begin.elapsed().as_secs();
        assert!((55..100).contains(&took), "after {took} s");
        assert!(said.windows(2).any(|bytes| bytes == 1008_u16.to_be_bytes()), "and is told why");
    }
    let mut page = subject.join("/ws", &page).await.unwrap();
    let begin = tokio::time::Instant::now();
    while begin.elapsed().as_secs() < 300 {
        page.next().await.expect("who answers pings stays");
    }
}

#[tokio::test]
async fn the_feed_may_be_elsewhere() {
    let config =
        toml::from_str("listen = \"127.0.0.1:0\"\nws_secret = \"wssecret\"\nws_url = \"/live\"");
    let subject = Subject::with(config.unwrap()).await;
    assert!(subject.join("/live", &[("wssecret", SECRET)]).await.is_ok());
    assert_eq!(subject.join("/ws", &[("wssecret", SECRET)]).await.err(), Some(404));
    let (_, page) = subject.ask("GET /", &[]).await;
    assert!(page.contains(r#"<meta name="feed" content="/live">"#), "{page}");
}

#[tokio::test]
async fn pages_get_what_changed() {
    let (mut subject, mut samples) = (Subject::with(config()).await, Samples::from_now());
    let about = json!({"type": "information", "body": {"name": "Node A"}});
    subject.show(samples.message("a", "ethereum_metrics", &about)).await;
    let headers = [("wssecret", SECRET), ("sec-websocket-protocol", "poa-dashboard-page")];
    let mut page = subject.join("/ws", &headers).await.unwrap();
    let all = page.json().await;
    assert_eq!(
        (&all["whole"], &all["agents"][0]["about"]["name"]),
        (&json!(true), &json!("Node A"))
    );
    subject.inactive("a").await;
    let news = page.json().await;
    assert_eq!((&news["whole"], &news["agents"][0]["state"]), (&json!(false), &json!("inactive")));
    assert!(news["agents"][0].get("about").is_none());
    let nothing = page.json().await;
    assert_eq!(nothing["agents"], json!([]), "a sign of life");
}
