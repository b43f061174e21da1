//! The engine over a real NATS server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::StreamExt as _;
use poa_gilmour::engine::{Registration, RequestError, SignalError, SubscribeError};
use poa_gilmour::{
    Call, Data, ErrorPolicy, Gilmour, Ident, Message, NatsEngine, Options, SlotTopic,
};
use poa_test_nats::{Servers, Setup};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::groups;
use crate::redis::{peer, telling, topic};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn server() -> Servers {
    with(Setup::single()).await
}

async fn with(setup: Setup) -> Servers {
    peer(move || Servers::start(setup).unwrap()).await
}

pub(crate) async fn gilmour(server: &Servers, options: Options) -> Gilmour {
    let engine = NatsEngine::new(&server.url(0), options).unwrap();
    engine.connect(PATIENCE).await.unwrap();
    Gilmour::new(engine).with_timeout(PATIENCE)
}

async fn pair(server: &Servers) -> (Gilmour, Gilmour) {
    (gilmour(server, Options::default()).await, gilmour(server, Options::default()).await)
}

/// A client that knows nothing of Gilmour.
async fn raw(server: &Servers) -> async_nats::Client {
    async_nats::connect(server.url(0)).await.unwrap()
}

async fn echo(call: Call) -> Message {
    Message::ok(call.data)
}

#[tokio::test]
async fn payloads_of_every_shape_come_back() {
    let server = server().await;
    let (one, two) = pair(&server).await;
    let _echo = one.reply(&topic("echo"), echo).await.unwrap();
    for json in [r#"{"a":12345678901234567890.10}"#, r#""<&>é""#, "[1,null]", "null", "0.1"] {
        let reply = two.request(&topic("echo"), &Data::parse(json).unwrap()).await.unwrap();
        assert_eq!((reply.code, reply.data.json()), (200, json));
    }
}

#[tokio::test]
async fn without_a_subscriber_it_is_known_at_once() {
    let server = server().await;
    let gilmour = gilmour(&server, Options::default()).await;
    let none = gilmour.request(&topic("missing"), &Data::null()).await.unwrap_err();
    assert_eq!(none, RequestError::NoSubscriber(topic("missing")));
    assert_eq!(gilmour.signal(&topic("missing"), &Data::null()).await.unwrap().receivers, None);
    // A slot of the same topic is not a service.
    let (told, _hears) = mpsc::channel(1);
    let _slot = gilmour.slot(&SlotTopic::new("missing").unwrap(), telling(&told)).await.unwrap();
    assert!(gilmour.request(&topic("missing"), &Data::null()).await.is_err());
}

#[tokio::test]
async fn timeouts_are_local_and_late_replies_are_dropped() {
    let server = server().await;
    let gilmour = gilmour(&server, Options::default()).await;
    let client = raw(&server).await;
    let mut silent = client.subscribe("gilmour.request.slow").await.unwrap();
    client.flush().await.unwrap();
    let quick = gilmour.clone().with_timeout(Duration::from_millis(50));
    let asked = async {
        loop {
            match quick.request(&topic("slow"), &Data::null()).await {
                // The subscription of the other client may be on its way.
                Err(RequestError::NoSubscriber(_)) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    };
    assert_eq!(asked.await, Err(RequestError::TimedOut));
    let request = silent.next().await.unwrap();
    client.publish(request.reply.unwrap(), "{}".into()).await.unwrap();
    while gilmour.engine().counts().late_replies.get() == 0 {
        tokio::task::yield_now().await;
    }
    let slow =
        Registration::service(&topic("slower"), async |_: Call| std::future::pending().await);
    let _slow = gilmour.register(slow.timeout(Duration::from_millis(50))).await.unwrap();
    let reply = gilmour.request(&topic("slower"), &Data::null()).await.unwrap();
    assert_eq!((reply.code, reply.data.json()), (499, r#""Execution timed out""#));
}

#[tokio::test]
async fn a_thousand_requests_lose_no_reply_and_a_group_shares_them() {
    let server = server().await;
    let (one, two) = pair(&server).await;
    let runs: Arc<[AtomicUsize; 3]> = Arc::default();
    let counting = |index: usize| {
        let runs = runs.clone();
        Registration::service(&topic("echo"), move |call: Call| {
            runs[index].fetch_add(1, SeqCst);
            async move { Message::ok(call.data) }
        })
    };
    let _held = (
        one.register(counting(0)).await.unwrap(),
        two.register(counting(1)).await.unwrap(),
        two.register(counting(2).group("other")).await.unwrap(),
    );
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
    // Each group has got each of them once, the first reply counted.
    let ran = |index: usize| runs[index].load(SeqCst);
    let all = async {
        while (ran(0) + ran(1), ran(2)) != (1000, 1000) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    assert!(ran(0) > 100 && ran(1) > 100, "{runs:?}");
}

#[tokio::test]
async fn slots_hear_what_their_patterns_match() {
    let server = server().await;
    let (hearing, sending) = pair(&server).await;
    let (told, mut hears) = mpsc::channel(100);
    let mut slots = Vec::new();
    for pattern in ["x.*", "x.a", "a?c[12]*", "y.*.z", "pin*"] {
        let slot = SlotTopic::new(pattern).unwrap();
        slots.push(hearing.slot(&slot, telling(&told)).await.unwrap());
    }
    let signals = [
        ("x.a", 2),
        ("x.a.b", 1),
        ("x", 0),
        ("abc2tail", 1),
        ("abc3", 0),
        ("y.1.2.z", 1),
        ("pin", 1),
    ];
    for (signal, _) in signals {
        sending.signal(&topic(signal), &Data::text(signal)).await.unwrap();
    }
    let expected: usize = signals.iter().map(|(_, expected)| expected).sum();
    let mut heard = Vec::new();
    for _ in 0..expected {
        let call = tokio::time::timeout(PATIENCE, hears.recv()).await.unwrap().unwrap();
        assert_eq!(call.data, Data::text(&call.topic));
        heard.push(call.topic);
    }
    for (signal, expected) in signals {
        assert_eq!(heard.iter().filter(|topic| ***topic == *signal).count(), expected, "{signal}");
    }
    assert!(hears.try_recv().is_err());
}

#[tokio::test]
async fn a_group_of_slots_gets_a_signal_once_unless_its_sender_has_handled_it() {
    let server = server().await;
    let (one, two) = pair(&server).await;
    groups::a_group_of_slots_gets_a_signal_once(&one, &two).await;

    let (told, mut hears) = mpsc::channel(100);
    let slot = |pattern: &str| {
        Registration::slot(&SlotTopic::new(pattern).unwrap(), telling(&told)).group("g")
    };
    let ignoring = gilmour(&server, Options::default().with_slot_groups(false)).await;
    let _more = (
        ignoring.register(slot("y")).await.unwrap(),
        ignoring.register(slot("y")).await.unwrap(),
        ignoring.register(slot("y").strict()).await.unwrap(),
        ignoring.register(slot("y").strict()).await.unwrap(),
    );
    for _ in 0..20 {
        ignoring.signal(&topic("y"), &Data::null()).await.unwrap();
        for _ in 0..3 {
            assert_eq!(&*hears.recv().await.unwrap().topic, "y");
        }
    }
}

#[tokio::test]
async fn topics_that_are_not_subjects_are_refused_before_anything_is_sent() {
    let server = server().await;
    let gilmour = gilmour(&server, Options::default()).await;
    for bad in ["a..b", "a b", "a.>", ".a"] {
        let asked = gilmour.request(&topic(bad), &Data::null()).await.unwrap_err();
        assert_eq!(asked.code(), 400, "{bad}: {asked}");
        let sent = gilmour.signal(&topic(bad), &Data::null()).await.unwrap_err();
        assert!(matches!(sent, SignalError::Topic(_)), "{bad}: {sent}");
        let served = gilmour.reply(&topic(bad), echo).await.unwrap_err();
        assert!(matches!(served, SubscribeError::Topic(_)), "{bad}: {served}");
    }
    let slot = Registration::slot(&SlotTopic::new("pin*").unwrap(), echo).group("g");
    assert!(gilmour.engine().check(&slot).is_err() && gilmour.register(slot).await.is_err());
}

#[tokio::test]
async fn malformed_packets_are_dropped_and_never_answered() {
    let server = server().await;
    let gilmour = gilmour(&server, Options::default()).await;
    let (told, mut hears) = mpsc::channel(10);
    let _service = gilmour.reply(&topic("t"), telling(&told)).await.unwrap();
    let _slot = gilmour.slot(&SlotTopic::new("s").unwrap(), telling(&told)).await.unwrap();
    let client = raw(&server).await;
    let mut replies = client.subscribe("replies").await.unwrap();
    for bad in ["x", "", "[]", "\"{}\"", "{", "null", "\u{0}"] {
        for subject in ["gilmour.request.t", "gilmour.slot.s"] {
            client.publish_with_reply(subject, "replies", bad.into()).await.unwrap();
        }
    }
    // No address for the reply.
    client.publish("gilmour.request.t", r#"{"data":1,"sender":"s"}"#.into()).await.unwrap();
    let good = r#"{"data":2,"code":"x","more":[]}"#;
    client.publish_with_reply("gilmour.request.t", "replies", good.into()).await.unwrap();
    client.publish("gilmour.slot.s", good.into()).await.unwrap();
    let mut heard = [hears.recv().await.unwrap(), hears.recv().await.unwrap()];
    heard.sort_by_key(|call| call.channel.clone());
    assert_eq!(heard.map(|call| call.data.json().to_owned()), ["2", "2"]);
    let reply = replies.next().await.unwrap();
    let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!((&reply["data"], &reply["code"]), (&json!(2), &json!(200)));
    assert_eq!(gilmour.engine().counts().malformed.get(), 2 * 7 + 1);
    assert!(hears.try_recv().is_err());
    // A server that answers nonsense.
    let mut odd = client.subscribe("gilmour.request.odd").await.unwrap();
    client.flush().await.unwrap();
    let answering = async {
        let request = odd.next().await.unwrap();
        client.publish(request.reply.unwrap(), "[]".into()).await.unwrap();
    };
    let (topic, data) = (topic("odd"), Data::null());
    let asking = async {
        loop {
            match gilmour.request(&topic, &data).await {
                Err(RequestError::NoSubscriber(_)) => {}
                other => return other.unwrap().code,
            }
        }
    };
    assert_eq!(tokio::join!(asking, answering).0, 502);
}

#[tokio::test]
async fn what_is_too_large_is_told_to_both_sides() {
    let server = with(Setup::single().set("max_payload: 4KB")).await;
    let gilmour = gilmour(&server, Options::default()).await;
    let large = Data::text(&"x".repeat(5000));
    let reply = large.clone();
    let large_reply = move |_: Call| std::future::ready(Message::ok(reply.clone()));
    let _service = gilmour.reply(&topic("t"), large_reply).await.unwrap();
    assert_eq!(gilmour.request(&topic("t"), &large).await.unwrap_err().code(), 413);
    assert!(matches!(gilmour.signal(&topic("t"), &large).await, Err(SignalError::TooLarge(_))));
    let reply = gilmour.request(&topic("t"), &Data::null()).await.unwrap();
    assert_eq!(reply.code, 502);
    assert!(reply.data.json().contains("more than the broker carries"), "{reply:?}");
}

#[tokio::test]
async fn services_are_shown_as_nats_shows_its_own() {
    let server = server().await;
    let gilmour = gilmour(&server, Options::default()).await;
    let client = raw(&server).await;
    let failing = async |_: Call| Message::failure(503, "busy");
    let _service = gilmour.reply(&topic("store.metrics"), failing).await.unwrap();
    let gone = gilmour.reply(&topic("gone"), echo).await.unwrap();
    gilmour.request(&topic("store.metrics"), &Data::null()).await.unwrap();
    gone.end().await;
    let ask = async |subject: &str| {
        let answer = client.request(subject.to_owned(), "".into()).await.unwrap();
        serde_json::from_slice::<Value>(&answer.payload).unwrap()
    };
    let ping = ask("$SRV.PING").await;
    assert_eq!(
        (&ping["type"], &ping["name"]),
        (&json!("io.nats.micro.v1.ping_response"), &json!("gilmour"))
    );
    let id = ping["id"].as_str().unwrap();
    assert_eq!(ask("$SRV.PING.gilmour").await["id"], id);
    let info = ask(&format!("$SRV.INFO.gilmour.{id}")).await;
    let endpoint = json!({"name": "store-metrics", "subject": "gilmour.request.store.metrics", "queue_group": "_default", "metadata": {}});
    assert_eq!(
        (&info["type"], &info["endpoints"]),
        (&json!("io.nats.micro.v1.info_response"), &json!([endpoint]))
    );
    let stats = ask("$SRV.STATS").await;
    let endpoint = &stats["endpoints"][0];
    assert_eq!((&endpoint["num_requests"], &endpoint["num_errors"]), (&json!(1), &json!(1)));
    assert!(stats["started"].as_str().unwrap().ends_with('Z'), "{stats}");
}

#[tokio::test]
async fn failures_are_published_on_both_subjects_or_kept_in_a_stream() {
    let server = server().await;
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
    let client = raw(&server).await;
    let kept = async {
        loop {
            let answer = client.request("$JS.API.STREAM.INFO.gilmour_errors", "".into()).await;
            let info: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
            if info["state"]["messages"] == 1 {
                return info["config"].clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let config = tokio::time::timeout(PATIENCE, kept).await.unwrap();
    assert_eq!((&config["max_msgs"], &config["discard"]), (&json!(10_000), &json!("old")));
}

#[tokio::test]
async fn heartbeats_name_the_channels() {
    let server = server().await;
    let gilmour = gilmour(&server, Options::default()).await;
    let _service = gilmour.reply(&topic("echo"), echo).await.unwrap();
    let ident = Ident::of_this_process();
    let heartbeats = gilmour.engine().announce(&ident).await.unwrap();
    let channel = topic(&ident.channel());
    let answer = gilmour.request(&channel, &Data::text("ping")).await.unwrap();
    assert_eq!(answer.data.json(), r#"["gilmour.request.echo"]"#);
    heartbeats.end().await;
    assert!(gilmour.request(&channel, &Data::null()).await.is_err());
}

#[tokio::test]
async fn a_subject_that_the_server_refuses_is_told() {
    // In place of the accounts that a server of the tests has.
    let rules = "accounts { POA { users: [{user: poa, password: poa, permissions: { subscribe: { deny: \"gilmour.request.bad\" } }}] }, \
         SYS { users: [{user: sys, password: sys}] } }";
    let server = with(Setup::single().set(rules)).await;
    let gilmour = gilmour(&server, Options::default()).await;
    let refused = gilmour.reply(&topic("bad"), echo).await.unwrap_err();
    assert!(matches!(refused, SubscribeError::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains("gilmour.request.bad"), "{refused}");
    let _good = gilmour.reply(&topic("good"), echo).await.unwrap();
    assert_eq!(gilmour.request(&topic("good"), &Data::null()).await.unwrap().code, 200);
}

#[tokio::test]
async fn a_subscription_that_ends_is_not_counted_any_more() {
    let server = server().await;
    let gilmour = gilmour(&server, Options::default()).await;
    for _ in 0..50 {
        gilmour.reply(&topic("t"), echo).await.unwrap().end().await;
        let none = gilmour.request(&topic("t"), &Data::null()).await;
        assert_eq!(none, Err(RequestError::NoSubscriber(topic("t"))));
    }
}

/// The subjects that the connections of a server subscribe to.
async fn subjects(server: &Servers) -> BTreeSet<String> {
    let monitor = server.monitors()[0].trim_start_matches("http://").to_owned();
    peer(move || {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(monitor).unwrap();
        stream.write_all(b"GET /subsz?subs=1&limit=1000 HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let listed: Value = serde_json::from_str(body).unwrap();
        let list = listed["subscriptions_list"].as_array().cloned().unwrap_or_default();
        let subject = |one: &Value| one["subject"].as_str().unwrap_or_default().to_owned();
        list.iter().map(subject).filter(|subject| subject.starts_with("gilmour.")).collect()
    })
    .await
}

#[tokio::test]
async fn what_is_dropped_at_any_await_leaves_no_subscription_and_no_request() {
    let server = server().await;
    let gilmour = gilmour(&server, Options::default()).await;
    let engine = gilmour.engine();
    let _slow =
        gilmour.reply(&topic("slow"), async |_: Call| std::future::pending().await).await.unwrap();
    for polls in 0..40 {
        let mut subscribing = engine.subscribe(Registration::service(&topic("t"), echo));
        cut(&mut subscribing, polls).await;
        drop(subscribing);
        let (slow, data) = (topic("slow"), Data::null());
        let mut asking = engine.request(&slow, &data, PATIENCE);
        cut(&mut asking, polls).await;
    }
    let gone = async {
        while subjects(&server).await != BTreeSet::from(["gilmour.request.slow".to_owned()]) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

/// Polls a future so often at most.
async fn cut<F: Future + Unpin>(future: &mut F, mut polls: usize) {
    let cut = std::future::poll_fn(|cx| {
        if polls == 0 {
            return std::task::Poll::Ready(());
        }
        polls -= 1;
        std::pin::Pin::new(&mut *future).poll(cx).map(|_| ())
    });
    let _ = tokio::time::timeout(Duration::from_millis(20), cut).await;
}
