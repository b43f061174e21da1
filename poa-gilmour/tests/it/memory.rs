//! The engine within a process: groups, timeouts, panics, cancellation, reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use poa_gilmour::engine::{Engine as _, Registration, RequestError, Signal, State};
use poa_gilmour::{
    Call, Data, ErrorPolicy, Gilmour, Ident, MemoryEngine, Message, Options, SlotTopic, Topic,
};
use tokio::sync::{Notify, mpsc};

fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

fn slot_topic(name: &str) -> SlotTopic {
    SlotTopic::new(name).unwrap()
}

fn memory() -> Gilmour {
    Gilmour::new(MemoryEngine::default())
}

/// A handler that answers with a name.
fn named(name: &'static str) -> impl poa_gilmour::Handler {
    move |_: Call| async move { Message::ok(Data::text(name)) }
}

#[tokio::test]
async fn a_request_is_answered_by_one_of_a_group_in_turn() {
    let gilmour = memory();
    let echo = topic("echo");
    let _a = gilmour.reply(&echo, named("a")).await.unwrap();
    let b = gilmour.reply(&echo, named("b")).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(gilmour.request(&echo, &Data::null()).await.unwrap().data.json().to_owned());
    }
    assert_eq!(seen, [r#""a""#, r#""b""#, r#""a""#, r#""b""#]);
    b.end().await;
    for _ in 0..2 {
        assert_eq!(gilmour.request(&echo, &Data::null()).await.unwrap().data.json(), r#""a""#);
    }
}

#[tokio::test]
async fn every_group_runs_and_the_first_reply_counts() {
    let gilmour = memory();
    let (ran, mut runs) = mpsc::channel(2);
    let held = Arc::new(Notify::new());
    let quick = ran.clone();
    let quick = Registration::service(&topic("t"), move |_: Call| {
        let quick = quick.clone();
        async move {
            quick.send("quick").await.unwrap();
            Message::ok(Data::text("quick"))
        }
    });
    let _quick = gilmour.register(quick.group("one")).await.unwrap();
    let hold = held.clone();
    let slow = Registration::service(&topic("t"), move |_: Call| {
        let (ran, hold) = (ran.clone(), hold.clone());
        async move {
            hold.notified().await;
            ran.send("slow").await.unwrap();
            Message::ok(Data::text("slow"))
        }
    });
    let _slow = gilmour.register(slow.group("two")).await.unwrap();
    assert_eq!(
        gilmour.request(&topic("t"), &Data::null()).await.unwrap().data.json(),
        r#""quick""#
    );
    held.notify_one();
    assert_eq!((runs.recv().await, runs.recv().await), (Some("quick"), Some("slow")));
}

#[tokio::test]
async fn signals_and_requests_of_one_topic_do_not_meet() {
    let gilmour = memory();
    let (heard, mut hears) = mpsc::channel(1);
    let _slot = gilmour
        .slot(&slot_topic("t"), move |call: Call| {
            let heard = heard.clone();
            async move {
                heard.send(call).await.unwrap();
                Message::ok(Data::null())
            }
        })
        .await
        .unwrap();
    let none = gilmour.request(&topic("t"), &Data::null()).await;
    assert_eq!(none, Err(RequestError::NoSubscriber(topic("t"))));
    let _service = gilmour.reply(&topic("t"), named("service")).await.unwrap();
    let sent = gilmour.signal(&topic("t"), &Data::text("x")).await.unwrap();
    assert_eq!(sent.receivers, Some(1));
    let call = hears.recv().await.unwrap();
    assert_eq!((&*call.topic, &*call.channel), ("t", "gilmour.slot.t"));
    assert_eq!((call.sender, call.data.json()), (sent.sender, r#""x""#));
    assert_eq!(gilmour.signal(&topic("u"), &Data::null()).await.unwrap().receivers, Some(0));
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_handler_ends_it_before_the_caller_is_told() {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let gilmour = memory();
    let dropped = Arc::new(AtomicUsize::new(0));
    let within = dropped.clone();
    let service = Registration::service(&topic("slow"), move |_: Call| {
        let guard = Dropped(within.clone());
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    });
    let _service = gilmour.register(service.timeout(Duration::from_secs(2))).await.unwrap();
    let reply = gilmour.request(&topic("slow"), &Data::null()).await.unwrap();
    assert_eq!((reply.code, reply.data.json()), (499, r#""Execution timed out""#));
    assert_eq!(dropped.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_in_vain_is_told_so_and_the_late_reply_dropped() {
    let gilmour = memory().with_timeout(Duration::from_secs(1));
    let ran = Arc::new(Notify::new());
    let told = ran.clone();
    let _service = gilmour
        .reply(&topic("slow"), move |_: Call| {
            let told = told.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(3)).await;
                told.notify_one();
                Message::ok(Data::null())
            }
        })
        .await
        .unwrap();
    assert_eq!(gilmour.request(&topic("slow"), &Data::null()).await, Err(RequestError::TimedOut));
    ran.notified().await;
    assert_eq!(gilmour.engine().counts().timed_out.get(), 1);
}

#[tokio::test]
async fn a_panic_is_a_reply() {
    let gilmour = memory();
    let _service = gilmour
        .reply(&topic("bad"), async |_: Call| -> Message { panic!("as told") })
        .await
        .unwrap();
    let reply = gilmour.request(&topic("bad"), &Data::null()).await.unwrap();
    assert_eq!((reply.code, reply.data.json()), (500, r#""the handler panicked""#));
}

#[tokio::test]
async fn too_many_calls_are_refused() {
    let engine = MemoryEngine::new(Options::default().with_max_calls(1));
    let gilmour = Gilmour::new(engine);
    let (begun, held) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begin, hold) = (begun.clone(), held.clone());
    let _service = gilmour
        .reply(&topic("t"), move |_: Call| {
            let (begin, hold) = (begin.clone(), hold.clone());
            async move {
                begin.notify_one();
                hold.notified().await;
                Message::ok(Data::null())
            }
        })
        .await
        .unwrap();
    let first = tokio::spawn({
        let gilmour = gilmour.clone();
        async move { gilmour.request(&topic("t"), &Data::null()).await }
    });
    begun.notified().await;
    assert_eq!(gilmour.request(&topic("t"), &Data::null()).await.unwrap().code, 503);
    held.notify_one();
    assert_eq!(first.await.unwrap().unwrap().code, 200);
    assert_eq!(gilmour.engine().counts().refused_calls.get(), 1);
}

#[tokio::test]
async fn failures_are_reported_to_both_channels() {
    let engine = MemoryEngine::new(Options::default().with_errors(ErrorPolicy::Publish));
    let gilmour = Gilmour::new(engine);
    let (heard, mut hears) = mpsc::channel(2);
    let _errors = gilmour
        .errors(move |report| {
            let heard = heard.clone();
            async move { heard.send(report).await.unwrap() }
        })
        .await
        .unwrap();
    let _service =
        gilmour.reply(&topic("bad"), async |_: Call| Message::failure(503, "busy")).await.unwrap();
    gilmour.request(&topic("bad"), &Data::text("x")).await.unwrap();
    for _ in 0..2 {
        let report = hears.recv().await.unwrap();
        assert_eq!((report.code, &*report.topic), (503, "gilmour.request.bad"));
        assert_eq!((report.request_data.json(), &*report.user_data), (r#""x""#, r#""busy""#));
    }
}

#[tokio::test]
async fn failures_are_kept_newest_first() {
    let engine = Arc::new(MemoryEngine::new(Options::default().with_errors(ErrorPolicy::Queue)));
    let gilmour = Gilmour::shared(engine.clone());
    let _service = gilmour
        .reply(&topic("bad"), async |call: Call| Message::new(call.data, 500))
        .await
        .unwrap();
    for n in 1..=2 {
        gilmour.request(&topic("bad"), &Data::new(&n).unwrap()).await.unwrap();
    }
    let queue = engine.error_queue();
    assert_eq!(queue.len(), 2);
    assert!(queue[0].contains(r#""request_data":"2""#), "{queue:?}");
}

#[tokio::test]
async fn groups_of_slots_can_be_ignored_as_go_does() {
    for (options, receivers) in
        [(Options::default(), 1), (Options::default().with_slot_groups(false), 2)]
    {
        let gilmour = Gilmour::new(MemoryEngine::new(options));
        let slot = || Registration::slot(&slot_topic("t"), named("x")).group("g");
        let _both =
            (gilmour.register(slot()).await.unwrap(), gilmour.register(slot()).await.unwrap());
        let sent = gilmour.signal(&topic("t"), &Data::null()).await.unwrap();
        assert_eq!(sent.receivers, Some(receivers));
    }
}

#[tokio::test]
async fn a_signal_passes_over_the_group_that_has_it() {
    let engine = MemoryEngine::default();
    let slot = Registration::slot(&slot_topic("t"), named("x")).group("poa");
    let _slot = engine.subscribe(slot).await.unwrap();
    let (t, data) = (topic("t"), Data::null());
    let sent = engine.signal(Signal::new(&t, &data).taken_by(&["poa".into()])).await.unwrap();
    assert_eq!(sent.receivers, Some(0));
}

#[tokio::test]
async fn heartbeats_name_the_channels() {
    let gilmour = memory();
    let _service = gilmour.reply(&topic("echo"), named("x")).await.unwrap();
    let _slot = gilmour.slot(&slot_topic("log.*"), named("x")).await.unwrap();
    let ident = Ident::of_this_process();
    let _health = gilmour.engine().announce(&ident).await.unwrap();
    let heartbeat = topic(&ident.channel());
    let reply = gilmour.request(&heartbeat, &Data::text("ping")).await.unwrap();
    assert_eq!(reply.data.json(), r#"["gilmour.request.echo","gilmour.slot.log.*"]"#);
}

#[tokio::test]
async fn a_subscription_that_is_dropped_at_any_await_is_gone() {
    let gilmour = memory();
    let subscription = gilmour.reply(&topic("t"), named("x")).await.unwrap();
    drop(subscription);
    assert!(gilmour.request(&topic("t"), &Data::null()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_calls_and_refuses_what_comes_after() {
    let gilmour = memory();
    let begun = Arc::new(Notify::new());
    let begin = begun.clone();
    let _service = gilmour
        .reply(&topic("t"), move |_: Call| {
            let begin = begin.clone();
            async move {
                begin.notify_one();
                tokio::time::sleep(Duration::from_secs(1)).await;
                Message::ok(Data::null())
            }
        })
        .await
        .unwrap();
    let engine = gilmour.engine().clone();
    let request = tokio::spawn(async move { gilmour.request(&topic("t"), &Data::null()).await });
    begun.notified().await;
    engine.close(Duration::from_secs(5)).await;
    assert_eq!(request.await.unwrap().unwrap().code, 200);
    assert!(matches!(*engine.state().borrow(), State::Down(_)));
}
