//! NATS goes away and comes back.

use std::collections::BTreeSet;
use std::time::Duration;

use poa_gilmour::engine::State;
use poa_gilmour::{Call, Data, Gilmour, Message, NatsEngine, Options, SlotTopic};
use tokio::sync::mpsc;

use crate::nats::{gilmour, server};
use crate::outage::{BACK, served, up};
use crate::redis::{telling, topic};

async fn echo(call: Call) -> Message {
    Message::ok(call.data)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_load_ends_no_subscription_and_hangs_no_request() {
    let mut server = server().await;
    let (serving, asking) =
        (gilmour(&server, Options::default()).await, gilmour(&server, Options::default()).await);
    let (told, mut hears) = mpsc::channel(100);
    let _service = serving.reply(&topic("echo"), echo).await.unwrap();
    let _slot = serving.slot(&SlotTopic::new("log.*").unwrap(), telling(&told)).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let load = (0..20).map(|_| {
        let (asking, stop) = (asking.clone(), stop.clone());
        tokio::spawn(async move {
            let mut codes = BTreeSet::new();
            while !stop.is_cancelled() {
                if let Err(error) = asking.request(&topic("echo"), &Data::null()).await {
                    codes.insert(error.code());
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            codes
        })
    });
    let load: Vec<_> = load.collect();
    served(&serving, 200).await;
    let mut down = asking.engine().state();
    server.kill(0);
    tokio::time::timeout(BACK, down.wait_for(|state| !state.is_up())).await.unwrap().unwrap();
    let refused = asking.request(&topic("echo"), &Data::null()).await.unwrap_err();
    assert_eq!(refused.code(), 503);
    assert!(refused.to_string().starts_with("nats cannot be reached: "), "{refused}");
    assert!(asking.signal(&topic("log.a"), &Data::null()).await.is_err());
    let server = crate::redis::peer(move || {
        server.resume(0).unwrap();
        server
    })
    .await;
    up(&serving).await;
    up(&asking).await;
    let reply = asking.request(&topic("echo"), &Data::text("x")).await.unwrap();
    assert_eq!(reply.data.json(), r#""x""#);
    asking.signal(&topic("log.a"), &Data::null()).await.unwrap();
    let heard = tokio::time::timeout(BACK, hears.recv()).await.unwrap().unwrap();
    assert_eq!(&*heard.topic, "log.a");
    served(&serving, 200).await;
    stop.cancel();
    for worker in load {
        let codes = worker.await.unwrap();
        // 404 in the moment when the one is back and the other is not.
        assert!(codes.iter().all(|code| [404, 503].contains(code)), "{codes:?}");
    }
    assert_eq!(serving.engine().counts().disconnects.get(), 1);
    drop(server);
}

#[tokio::test]
async fn a_server_that_is_not_there_at_first_is_found_later() {
    let mut server = server().await;
    server.kill(0);
    let engine = NatsEngine::new(&server.url(0), Options::default()).unwrap();
    let gilmour = Gilmour::new(engine);
    let refused = gilmour.reply(&topic("echo"), echo).await.unwrap_err();
    assert!(refused.to_string().starts_with("nats cannot be reached: "), "{refused}");
    assert!(matches!(&*gilmour.engine().state().borrow(), State::Down(_)));
    let server = crate::redis::peer(move || {
        server.resume(0).unwrap();
        server
    })
    .await;
    up(&gilmour).await;
    let _service = gilmour.reply(&topic("echo"), echo).await.unwrap();
    assert_eq!(gilmour.request(&topic("echo"), &Data::null()).await.unwrap().code, 200);
    drop(server);
}

#[tokio::test]
async fn closing_sends_the_replies_of_calls_that_run_and_refuses_what_comes_after() {
    let server = server().await;
    let (serving, asking) =
        (gilmour(&server, Options::default()).await, gilmour(&server, Options::default()).await);
    let (begun, mut begins) = mpsc::channel(1);
    let (finish, finished) = tokio::sync::watch::channel(false);
    let handler = move |_: Call| {
        let (begun, mut finished) = (begun.clone(), finished.clone());
        async move {
            begun.send(()).await.unwrap();
            finished.wait_for(|done| *done).await.unwrap();
            Message::ok(Data::text("done"))
        }
    };
    let _service = serving.reply(&topic("t"), handler).await.unwrap();
    let (t, data) = (topic("t"), Data::null());
    let closing = async {
        begins.recv().await.unwrap();
        let closing = serving.engine().close(BACK);
        finish.send(true).unwrap();
        closing.await;
    };
    let (reply, ()) = tokio::join!(asking.request(&t, &data), closing);
    assert_eq!(reply.unwrap().data.json(), r#""done""#);
    assert_eq!(serving.request(&topic("t"), &Data::null()).await.unwrap_err().code(), 503);
}
