//! The engine over a real Redis server, and peers that speak its wire word by word.

use std::time::Duration;

use poa_gilmour::engine::{Registration, RequestError};
use poa_gilmour::{
    Call, Data, Envelope, ErrorPolicy, Gilmour, Ident, Message, Options, RedisEngine, SlotTopic,
    Topic,
};
use poa_test_redis::{Peer, Reply, Server};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

pub(crate) async fn gilmour(server: &Server, options: Options) -> Gilmour {
    let engine = RedisEngine::new(&server.url(), options).unwrap();
    engine.connect(PATIENCE).await.unwrap();
    Gilmour::new(engine).with_timeout(PATIENCE)
}

/// A handler that passes its calls to the test, and answers with their data.
pub(crate) fn telling(told: &mpsc::Sender<Call>) -> impl poa_gilmour::Handler + use<> {
    let told = told.clone();
    move |call: Call| {
        let told = told.clone();
        async move {
            told.send(call.clone()).await.unwrap();
            Message::ok(call.data)
        }
    }
}

/// Blocking work of a peer, beside the tasks of the test.
pub(crate) async fn peer<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn payloads_of_every_shape_come_back() {
    let server = Server::new();
    let (one, two) =
        (gilmour(&server, Options::default()).await, gilmour(&server, Options::default()).await);
    let _echo = one.reply(&topic("echo"), async |call: Call| Message::ok(call.data)).await.unwrap();
    for json in [r#"{"a":12345678901234567890.10}"#, r#""<&>é""#, "[1,null]", "null", "0.1"] {
        let reply = two.request(&topic("echo"), &Data::parse(json).unwrap()).await.unwrap();
        assert_eq!((reply.code, reply.data.json()), (200, json));
    }
}

#[tokio::test]
async fn without_a_subscriber_nothing_is_published() {
    let server = Server::new();
    let gilmour = gilmour(&server, Options::default()).await;
    let port = server.port();
    let mut sniffer = peer(move || {
        let mut sniffer = Peer::connect(port);
        sniffer.say(&["PSUBSCRIBE", "gilmour.*"]);
        sniffer
    })
    .await;
    let none = gilmour.request(&topic("missing"), &Data::null()).await.unwrap_err();
    assert_eq!(none, RequestError::NoSubscriber(topic("missing")));
    assert_eq!(none.into_message().code, 404);
    gilmour.signal(&topic("mark"), &Data::null()).await.unwrap();
    let (channel, _) = peer(move || sniffer.message()).await;
    assert_eq!(channel, "gilmour.slot.mark");
}

#[tokio::test]
async fn a_timeout_is_local_and_leaves_nothing_behind() {
    let server = Server::new();
    let gilmour = gilmour(&server, Options::default()).await;
    let port = server.port();
    // A peer that never answers.
    let mut silent = peer(move || {
        let mut silent = Peer::connect(port);
        silent.say(&["SUBSCRIBE", "gilmour.request.slow"]);
        silent
    })
    .await;
    let quick = gilmour.clone().with_timeout(Duration::from_millis(50));
    assert_eq!(quick.request(&topic("slow"), &Data::null()).await, Err(RequestError::TimedOut));
    let (_, text) = peer(move || silent.message()).await;
    let asked = Envelope::read(text.as_bytes()).unwrap();
    // A reply that comes late reaches the subscription of this process, and is dropped there.
    let response = format!("gilmour.response.{}", asked.sender);
    let reached = peer(move || {
        let late = r#"{"data":1,"code":200,"sender":"x"}"#;
        Peer::connect(port).say(&["PUBLISH", &response, late])
    })
    .await;
    assert_eq!(reached, Reply::Number(1));
    while gilmour.engine().counts().late_replies.get() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_handler_that_is_too_slow_is_499_and_its_result_dropped() {
    let server = Server::new();
    let gilmour = gilmour(&server, Options::default()).await;
    let slow = Registration::service(&topic("slow"), async |_: Call| std::future::pending().await);
    let _slow = gilmour.register(slow.timeout(Duration::from_millis(50))).await.unwrap();
    let reply = gilmour.request(&topic("slow"), &Data::null()).await.unwrap();
    assert_eq!((reply.code, reply.data.json()), (499, r#""Execution timed out""#));
}

#[tokio::test]
async fn a_thousand_requests_lose_no_reply() {
    let server = Server::new();
    let (one, two) =
        (gilmour(&server, Options::default()).await, gilmour(&server, Options::default()).await);
    let _echo = one.reply(&topic("echo"), async |call: Call| Message::ok(call.data)).await.unwrap();
    let requests = (0..1000).map(|n| {
        let two = two.clone();
        tokio::spawn(async move {
            let reply = two.request(&topic("echo"), &Data::new(&n).unwrap()).await.unwrap();
            assert_eq!(reply.data.read::<i32>().unwrap(), n);
        })
    });
    for request in requests.collect::<Vec<_>>() {
        request.await.unwrap();
    }
}

#[tokio::test]
async fn slots_hear_what_their_patterns_match() {
    let server = Server::new();
    let (hearing, sending) =
        (gilmour(&server, Options::default()).await, gilmour(&server, Options::default()).await);
    let (told, mut hears) = mpsc::channel(10);
    let mut slots = Vec::new();
    for pattern in ["x.*", "x.a", "a?c[12]*", "y.*.z"] {
        let slot = SlotTopic::new(pattern).unwrap();
        slots.push(hearing.slot(&slot, telling(&told)).await.unwrap());
    }
    for (signal, expected) in
        [("x.a", 2), ("x.a.b", 1), ("x", 0), ("abc2tail", 1), ("abc3", 0), ("y.1.2.z", 1)]
    {
        let sent = sending.signal(&topic(signal), &Data::text(signal)).await.unwrap();
        assert_eq!(sent.receivers, Some(expected), "{signal}");
        for _ in 0..expected {
            let call = hears.recv().await.unwrap();
            assert_eq!((&*call.topic, &call.sender), (signal, &sent.sender));
        }
    }
}

#[tokio::test]
async fn malformed_packets_are_dropped_and_answered_by_nobody() {
    let server = Server::new();
    let gilmour = gilmour(&server, Options::default()).await;
    let (told, mut hears) = mpsc::channel(10);
    let _service = gilmour.reply(&topic("t"), telling(&told)).await.unwrap();
    let _slot = gilmour.slot(&SlotTopic::new("s").unwrap(), telling(&told)).await.unwrap();
    let grouped = Registration::slot(&SlotTopic::new("g").unwrap(), telling(&told)).group("g");
    let _grouped = gilmour.register(grouped).await.unwrap();
    let port = server.port();
    let bad = [
        "x",
        "",
        "[]",
        "\"{}\"",
        "{",
        "null",
        r#"{"data":1}"#,
        r#"{"data":1,"sender":""}"#,
        r#"{"sender":7}"#,
    ];
    peer(move || {
        let mut raw = Peer::connect(port);
        for text in bad {
            raw.say(&["PUBLISH", "gilmour.request.t", text]);
            raw.say(&["PUBLISH", "gilmour.slot.g", text]);
        }
        raw.say(&["PUBLISH", "gilmour.slot.s", "x"]);
        // Without a sender, a slot without a group runs; a code that is not an integer reads as 0.
        raw.say(&["PUBLISH", "gilmour.slot.s", r#"{"data":{"a":1},"code":"200"}"#]);
        raw.say(&[
            "PUBLISH",
            "gilmour.request.t",
            r#"{"data":2,"code":"x","sender":"s1","more":[]}"#,
        ]);
    })
    .await;
    let mut heard = [hears.recv().await.unwrap(), hears.recv().await.unwrap()];
    heard.sort_by_key(|call| call.channel.clone());
    assert_eq!((&*heard[0].sender, heard[0].data.json()), ("s1", "2"));
    assert_eq!(heard[1].data.json(), r#"{"a":1}"#);
    assert!(heard[1].sender.len() > 30);
    assert_eq!(gilmour.engine().counts().malformed.get(), 2 * 9 + 1);
    assert!(hears.try_recv().is_err());
}

#[tokio::test]
async fn an_ident_is_known_answers_heartbeats_and_goes() {
    let server = Server::new();
    let gilmour = gilmour(&server, Options::default()).await;
    let _service =
        gilmour.reply(&topic("echo"), async |call: Call| Message::ok(call.data)).await.unwrap();
    let ident = Ident::of_this_process();
    let (port, own) = (server.port(), ident.to_string());
    // One of this host that is gone, and one of another host.
    let host = own.split("-pid-").next().unwrap().to_owned();
    let (stale, foreign) = (format!("{host}-pid-1-uuid-x"), "elsewhere-pid-1-uuid-y".to_owned());
    let known = [stale.clone(), foreign.clone()];
    peer(move || {
        let mut raw = Peer::connect(port);
        for ident in &known {
            raw.say(&["HSET", "gilmour.known_host.health", ident, "active"]);
        }
    })
    .await;
    let heartbeats = gilmour.engine().announce(&ident).await.unwrap();
    let idents = move || {
        let keys = Peer::connect(port).say(&["HKEYS", "gilmour.known_host.health"]);
        let mut keys: Vec<String> = keys.list().iter().map(|key| key.text().to_owned()).collect();
        keys.sort();
        keys
    };
    let mut expected = vec![foreign.clone(), own.clone()];
    expected.sort();
    assert_eq!(peer(idents).await, expected);
    let channel = topic(&ident.channel());
    let answer = gilmour.request(&channel, &Data::text("ping")).await.unwrap();
    assert_eq!(answer.data.json(), r#"["gilmour.request.echo"]"#);
    gilmour.engine().withdraw(&ident).await;
    heartbeats.end().await;
    assert_eq!(peer(idents).await, [foreign]);
}

#[tokio::test]
async fn failures_are_published_on_both_channels_or_kept_in_the_list() {
    let server = Server::new();
    let failing = async |_: Call| Message::failure(503, "busy");
    let publishing = gilmour(&server, Options::default().with_errors(ErrorPolicy::Publish)).await;
    let (heard, mut hears) = mpsc::channel(2);
    let _errors = publishing
        .errors(move |report| {
            let heard = heard.clone();
            async move { heard.send(report).await.unwrap() }
        })
        .await
        .unwrap();
    let service = publishing.reply(&topic("bad"), failing).await.unwrap();
    publishing.request(&topic("bad"), &Data::text("x")).await.unwrap();
    for _ in 0..2 {
        let report = hears.recv().await.unwrap();
        assert_eq!((report.code, &*report.topic), (503, "gilmour.request.bad"));
        assert_eq!((report.request_data.json(), &*report.user_data), (r#""x""#, r#""busy""#));
    }
    service.end().await;
    let queueing = gilmour(&server, Options::default().with_errors(ErrorPolicy::Queue)).await;
    let _service = queueing.reply(&topic("bad"), failing).await.unwrap();
    queueing.request(&topic("bad"), &Data::null()).await.unwrap();
    let port = server.port();
    let kept = peer(move || {
        let mut raw = Peer::connect(port);
        loop {
            let kept = raw.say(&["LRANGE", "gilmour.errorqueue", "0", "-1"]);
            if let [report] = kept.list() {
                return report.text().to_owned();
            }
        }
    })
    .await;
    assert!(kept.contains(r#""code":503"#), "{kept}");
}

#[tokio::test]
async fn a_subscription_that_ends_is_not_counted_any_more() {
    let server = Server::new();
    let gilmour = gilmour(&server, Options::default()).await;
    let service = async || {
        gilmour.reply(&topic("t"), async |call: Call| Message::ok(call.data)).await.unwrap()
    };
    for _ in 0..50 {
        let first = service().await;
        first.end().await;
        let none = gilmour.request(&topic("t"), &Data::null()).await;
        assert_eq!(none, Err(RequestError::NoSubscriber(topic("t"))));
        let second = service().await;
        assert_eq!(gilmour.request(&topic("t"), &Data::null()).await.unwrap().code, 200);
        drop(second);
    }
}

#[tokio::test]
async fn what_is_dropped_at_any_await_leaves_no_subscription() {
    let server = Server::new();
    let gilmour = gilmour(&server, Options::default()).await;
    let service = || Registration::service(&topic("t"), async |call: Call| Message::ok(call.data));
    let engine = gilmour.engine();
    for polls in 0..20 {
        let mut subscribing = engine.subscribe(service());
        let mut left = polls;
        let cut = std::future::poll_fn(|cx| {
            if left == 0 {
                return std::task::Poll::Ready(true);
            }
            left -= 1;
            subscribing.as_mut().poll(cx).map(|_| false)
        });
        let _ = tokio::time::timeout(Duration::from_millis(20), cut).await;
        drop(subscribing);
    }
    let mark =
        gilmour.reply(&topic("mark"), async |call: Call| Message::ok(call.data)).await.unwrap();
    mark.end().await;
    let port = server.port();
    let channels = peer(move || Peer::connect(port).say(&["PUBSUB", "CHANNELS"])).await;
    assert_eq!(channels, Reply::List(vec![]));
}

#[tokio::test]
async fn malformed_packets_on_the_channels_of_health_errors_and_replies_do_no_harm() {
    let server = Server::new();
    let gilmour = gilmour(&server, Options::default()).await;
    let ident = Ident::of_this_process();
    let _heartbeats = gilmour.engine().announce(&ident).await.unwrap();
    let _errors = gilmour.errors(|_| std::future::ready(())).await.unwrap();
    let port = server.port();
    let mut silent = peer(move || {
        let mut silent = Peer::connect(port);
        silent.say(&["SUBSCRIBE", "gilmour.request.odd"]);
        silent
    })
    .await;
    let asking = gilmour.clone();
    let asking = tokio::spawn(async move { asking.request(&topic("odd"), &Data::null()).await });
    let (_, text) = peer(move || silent.message()).await;
    let asked = Envelope::read(text.as_bytes()).unwrap();
    let response = format!("gilmour.response.{}", asked.sender);
    let health = ident.channel().to_string();
    peer(move || {
        let mut raw = Peer::connect(port);
        for bad in ["x", "", "[]", "{", "null", "7", "\"{}\"", "\u{0}"] {
            for channel in [&health, "gilmour.errors", "gilmour.error", &response] {
                assert_eq!(raw.say(&["PUBLISH", channel, bad]), Reply::Number(1), "{channel}");
            }
        }
        raw.say(&["PUBLISH", &response, r#"{"data":"good","code":200,"sender":"x"}"#]);
    })
    .await;
    assert_eq!(asking.await.unwrap().unwrap().data.json(), r#""good""#);
    let answer = gilmour.request(&topic(&ident.channel()), &Data::text("ping")).await.unwrap();
    assert_eq!(answer.data.json(), r#"["gilmour.error","gilmour.errors"]"#);
}
