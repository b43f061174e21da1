//! Exclusion groups over Redis: the locks that peers in every language take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use poa_gilmour::engine::{Registration, Signal};
use poa_gilmour::{Call, Data, Envelope, Gilmour, Message, Options, SlotTopic};
use poa_test_redis::{Peer, Reply, Server};
use tokio::sync::mpsc;

use crate::redis::{gilmour, peer, telling, topic};

#[tokio::test]
async fn of_a_group_over_processes_each_sender_is_handled_once() {
    let server = Server::new();
    let mut members = Vec::new();
    let runs = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let member = gilmour(&server, Options::default()).await;
        let counted = runs.clone();
        let service = Registration::service(&topic("t"), move |_: Call| {
            let counted = counted.clone();
            async move {
                counted.fetch_add(1, SeqCst);
                Message::ok(Data::null())
            }
        });
        let subscription = member.register(service.group("g")).await.unwrap();
        members.push((member, subscription));
    }
    // And one of Ruby, which takes the first message.
    let port = server.port();
    let ruby = tokio::task::spawn_blocking(move || {
        let (mut listens, mut commands) = (Peer::connect(port), Peer::connect(port));
        listens.say(&["subscribe", "gilmour.request.t"]);
        let (_, text) = listens.message();
        let sender = Envelope::read(text.as_bytes()).unwrap().sender;
        let key = format!("{sender}g");
        let won = commands.say(&["set", &key, &key, "EX", "600", "NX"]);
        if won.text() == "OK" {
            let reply = r#"{"data":null,"code":200,"sender":"084865ee51d6247450ed41df50e8f570"}"#;
            commands.say(&["publish", &format!("gilmour.response.{sender}"), reply]);
        }
        let life = commands.say(&["TTL", &key]);
        (won.text() == "OK", life, commands.say(&["GET", &key]).text() == key)
    });
    let mut probe = Peer::connect(port);
    while probe.say(&["PUBSUB", "NUMSUB", "gilmour.request.t"]).list()[1] != Reply::Number(4) {
        std::thread::yield_now();
    }
    for _ in 0..20 {
        assert_eq!(members[0].0.request(&topic("t"), &Data::null()).await.unwrap().code, 200);
    }
    let (won, life, kept) = ruby.await.unwrap();
    assert!(matches!(life, Reply::Number(590..=600)) && kept, "{life:?}");
    assert_eq!(runs.load(SeqCst) + usize::from(won), 20);
}

#[tokio::test]
async fn groups_of_slots_are_enforced_between_peers_and_topics_do_not_count() {
    let server = Server::new();
    let (one, two) =
        (gilmour(&server, Options::default()).await, gilmour(&server, Options::default()).await);
    a_group_of_slots_gets_a_signal_once(&one, &two).await;
}

/// Over two peers and two patterns, and not at all when its sender says that the group has it.
pub(crate) async fn a_group_of_slots_gets_a_signal_once(one: &Gilmour, two: &Gilmour) {
    let (told, mut hears) = mpsc::channel(100);
    let slot = |pattern: &str| {
        Registration::slot(&SlotTopic::new(pattern).unwrap(), telling(&told)).group("g")
    };
    let _held = (
        one.register(slot("x.*")).await.unwrap(),
        one.register(slot("x.a")).await.unwrap(),
        two.register(slot("x.a")).await.unwrap(),
    );
    for _ in 0..20 {
        let sent = one.signal(&topic("x.a"), &Data::null()).await.unwrap();
        assert_eq!(hears.recv().await.unwrap().sender, sent.sender);
    }
    let (t, data, taken) = (topic("x.a"), Data::null(), ["poa".into(), "g".into()]);
    one.engine().signal(Signal::new(&t, &data).taken_by(&taken)).await.unwrap();
    let last = one.signal(&topic("x.a"), &Data::text("last")).await.unwrap();
    assert_eq!(hears.recv().await.unwrap().sender, last.sender);
    assert!(hears.try_recv().is_err());
}

#[tokio::test]
async fn a_sender_that_comes_again_is_handled_once() {
    let server = Server::new();
    let gilmour = gilmour(&server, Options::default()).await;
    let (told, mut hears) = mpsc::channel(10);
    let _service = gilmour.reply(&topic("t"), telling(&told)).await.unwrap();
    let port = server.port();
    peer(move || {
        let mut raw = Peer::connect(port);
        for n in [1, 2] {
            raw.say(&[
                "PUBLISH",
                "gilmour.request.t",
                &format!(r#"{{"data":{n},"sender":"same"}}"#),
            ]);
        }
        raw.say(&["PUBLISH", "gilmour.request.t", r#"{"data":3,"sender":"other"}"#]);
    })
    .await;
    let mut heard = [hears.recv().await.unwrap().sender, hears.recv().await.unwrap().sender];
    heard.sort();
    assert_eq!(heard.map(|sender| sender.to_string()), ["other", "same"]);
    while gilmour.engine().counts().taken_elsewhere.get() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn of_several_groups_each_replies_and_the_first_counts() {
    let server = Server::new();
    let (one, two) =
        (gilmour(&server, Options::default()).await, gilmour(&server, Options::default()).await);
    let (told, mut hears) = mpsc::channel(10);
    let service = |group: &str| Registration::service(&topic("t"), telling(&told)).group(group);
    let _held =
        (one.register(service("a")).await.unwrap(), two.register(service("b")).await.unwrap());
    assert_eq!(one.request(&topic("t"), &Data::text("x")).await.unwrap().code, 200);
    let (first, second) = (hears.recv().await.unwrap(), hears.recv().await.unwrap());
    assert_eq!(first.sender, second.sender);
    while one.engine().counts().late_replies.get() == 0 {
        tokio::task::yield_now().await;
    }
}
