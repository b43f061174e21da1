//! Recorded messages of Go and Ruby peers, sent again word by word. The expected answer is what the specification says, which is
//! what they were answered then.

use std::collections::BTreeMap;
use std::time::Duration;

use poa_gilmour::{Call, Data, Envelope, ErrorReport, Message, Options, Registration};
use poa_test_redis::{Peer, Server};
use serde_json::Value;

use crate::redis::{gilmour, peer, topic};

pub(crate) fn scenarios() -> Vec<Value> {
    let lines = include_str!("../fixtures/gilmour_wire.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The commands of a scenario: who, and the words; JSON as text.
fn commands(scenario: &Value) -> Vec<(String, Vec<String>)> {
    let word = |word: &Value| word.as_str().map_or_else(|| word.to_string(), str::to_owned);
    let command = |one: &Value| {
        let from = one["from"].as_str().unwrap_or("?").to_owned();
        let mut words: Vec<_> = one["cmd"].as_array().unwrap().iter().map(word).collect();
        words[0].make_ascii_uppercase();
        (from, words)
    };
    let all = scenario["redis"].as_array().unwrap().iter();
    all.filter(|one| one["cmd"].is_array()).map(command).collect()
}

/// A request and what became of it.
#[derive(Debug)]
struct Exchange {
    topic: String,
    request: String,
    group: Option<String>,
    reply: Option<String>,
}

/// The requests of a scenario by their senders, with the first reply of a server.
fn exchanges(scenario: &Value) -> BTreeMap<String, Exchange> {
    let mut found = BTreeMap::new();
    for (_, words) in commands(scenario) {
        match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["PUBLISH", channel, text] if channel.starts_with("gilmour.request.") => {
                let Ok(envelope) = Envelope::read(text.as_bytes()) else { continue };
                let topic = channel["gilmour.request.".len()..].to_owned();
                let exchange =
                    Exchange { topic, request: (*text).to_owned(), group: None, reply: None };
                found.insert(envelope.sender, exchange);
            }
            ["SET", key, ..] => {
                let of = found.iter_mut().find(|(sender, _)| key.starts_with(sender.as_str()));
                if let Some((sender, exchange)) = of {
                    exchange.group = Some(key[sender.len()..].to_owned());
                }
            }
            ["PUBLISH", channel, text] if channel.starts_with("gilmour.response.") => {
                let sender = &channel["gilmour.response.".len()..];
                if let Some(exchange) = found.get_mut(sender) {
                    exchange.reply.get_or_insert_with(|| (*text).to_owned());
                }
            }
            _ => {}
        }
    }
    found
}

/// Scenarios in which a reply is made by the client for itself, which is not to be repeated.
const OWN_TIMEOUTS: [&str; 2] =
    ["compose_pipe_request_timeout", "compose_parallel_request_timeout"];

#[tokio::test]
async fn recorded_clients_get_their_replies_on_the_wire() {
    let server = Server::new();
    let gilmour = gilmour(&server, Options::default()).await;
    let mut asked = 0;
    for scenario in scenarios() {
        let name = scenario["scenario"].as_str().unwrap().to_owned();
        let exchanges = exchanges(&scenario);
        if OWN_TIMEOUTS.contains(&&*name) {
            continue;
        }
        for (sender, exchange) in exchanges {
            let (Some(reply), Some(group)) = (exchange.reply, exchange.group) else { continue };
            let expected = Envelope::read(reply.as_bytes()).unwrap();
            let message = Message::new(expected.data.clone(), expected.code);
            let service = Registration::service(&topic(&exchange.topic), move |_: Call| {
                let message = message.clone();
                async move { message }
            });
            let subscription = gilmour.register(service.group(&group)).await.unwrap();
            let (port, topic, request) = (server.port(), exchange.topic, exchange.request);
            let own = sender.clone();
            let (answered, key) = peer(move || {
                let (mut hears, mut says) = (Peer::connect(port), Peer::connect(port));
                let response = format!("gilmour.response.{own}");
                hears.say(&["SUBSCRIBE", &response]);
                says.say(&["PUBLISH", &format!("gilmour.request.{topic}"), &request]);
                let (_, answered) = hears.message();
                (answered, says.say(&["GET", &format!("{own}{group}")]).text().to_owned())
            })
            .await;
            let answered = Envelope::read(answered.as_bytes()).unwrap();
            assert_eq!((answered.data, answered.code), (expected.data, expected.code), "{name}");
            assert_eq!(answered.sender, format!("gilmour.response.{sender}"), "{name}");
            assert!(key.starts_with(&sender), "{name}: {key}");
            subscription.end().await;
            asked += 1;
        }
    }
    assert!(asked > 80, "{asked}");
}

#[tokio::test]
async fn recorded_servers_are_understood() {
    let server = Server::new();
    let gilmour = gilmour(&server, Options::default()).await;
    let mut asked = 0;
    for scenario in scenarios() {
        let name = scenario["scenario"].as_str().unwrap().to_owned();
        if name.contains("compose") {
            continue;
        }
        for (sender, exchange) in exchanges(&scenario) {
            let (Some(reply), Some(group)) = (exchange.reply, exchange.group) else { continue };
            let expected = Envelope::read(reply.as_bytes()).unwrap();
            let sent = Envelope::read(exchange.request.as_bytes()).unwrap();
            let (port, channel) = (server.port(), format!("gilmour.request.{}", exchange.topic));
            let (ready, is_ready) = tokio::sync::oneshot::channel();
            // The server of the recording: locks and answers as it did, under the sender of now.
            let served = tokio::task::spawn_blocking(move || {
                let (mut hears, mut says) = (Peer::connect(port), Peer::connect(port));
                hears.say(&["SUBSCRIBE", &channel]);
                ready.send(()).unwrap();
                let (_, text) = hears.message();
                let request = Envelope::read(text.as_bytes()).unwrap();
                let key = format!("{}{group}", request.sender);
                assert_eq!(says.say(&["SET", &key, &key, "NX", "EX", "600"]).text(), "OK");
                let reply = reply.replace(&sender, &request.sender);
                says.say(&["PUBLISH", &format!("gilmour.response.{}", request.sender), &reply]);
                request
            });
            is_ready.await.unwrap();
            let reply = gilmour.request(&topic(&exchange.topic), &sent.data).await.unwrap();
            assert_eq!((&reply.data, reply.code), (&expected.data, expected.code), "{name}");
            let request = served.await.unwrap();
            assert_eq!((request.data, request.code), (sent.data, 200), "{name}");
            asked += 1;
        }
    }
    assert!(asked > 10, "{asked}");
}

#[tokio::test]
async fn recorded_signals_reach_the_slots_they_reached() {
    use poa_gilmour::SlotTopic;
    let server = Server::new();
    for scenario in scenarios() {
        let name = scenario["scenario"].as_str().unwrap().to_owned();
        if !["signal", "mid_wildcard_slot", "ruby_slot_wildcard", "request_and_signal_same_topic"]
            .contains(&&*name)
        {
            continue;
        }
        let gilmour = gilmour(&server, Options::default()).await;
        let (told, mut hears) = tokio::sync::mpsc::channel(100);
        let mut slots: Vec<(String, _)> = Vec::new();
        let commands = commands(&scenario);
        let channels = commands
            .iter()
            .filter(|(_, words)| words[0].ends_with("SUBSCRIBE") && !words[0].contains("UN"));
        for channel in channels.filter_map(|(_, words)| words[1].strip_prefix("gilmour.slot.")) {
            let told = told.clone();
            let slot = SlotTopic::new(channel).unwrap();
            let handler = move |call: Call| {
                let told = told.clone();
                async move {
                    told.send(call).await.unwrap();
                    Message::ok(Data::null())
                }
            };
            slots.push((channel.to_owned(), gilmour.slot(&slot, handler).await.unwrap()));
        }
        let signals = commands
            .iter()
            .filter(|(_, words)| words[0] == "PUBLISH" && words[1].starts_with("gilmour.slot."));
        for (_, words) in signals {
            let (port, sent) = (server.port(), words.clone());
            let reached =
                peer(move || Peer::connect(port).say(&["PUBLISH", &sent[1], &sent[2]])).await;
            // A `*` anywhere makes a pattern here, as in Ruby; in Go only at the end.
            let matches =
                |slot: &str| poa_gilmour::glob::matches(&format!("gilmour.slot.{slot}"), &words[1]);
            let expected = slots.iter().filter(|(slot, _)| matches(slot)).count();
            assert_eq!(
                reached,
                poa_test_redis::Reply::Number(expected as i64),
                "{name}: {words:?}"
            );
            let envelope = Envelope::read(words[2].as_bytes()).unwrap();
            for _ in 0..expected {
                let call = tokio::time::timeout(Duration::from_secs(60), hears.recv())
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!(
                    (&*call.channel, &*call.sender, &call.data),
                    (&*words[1], &*envelope.sender, &envelope.data)
                );
            }
        }
    }
}

#[test]
fn recorded_error_packets_are_read() {
    let mut read = 0;
    for scenario in scenarios() {
        let Some(got) = scenario.get("error_channel_got").and_then(Value::as_array) else {
            continue;
        };
        for packet in got {
            let report = ErrorReport::read(packet["message"].to_string().as_bytes()).unwrap();
            assert!(report.code >= 300, "{report:?}");
            assert!(report.topic.starts_with("gilmour."), "{report:?}");
            assert!(
                !report.sender.is_empty() && !report.sender.starts_with("gilmour."),
                "{report:?}"
            );
            read += 1;
        }
    }
    assert!(read >= 2, "{read}");
}
