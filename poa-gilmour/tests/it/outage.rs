//! Redis goes away and comes back.

use std::time::{Duration, Instant};

use poa_gilmour::engine::State;
use poa_gilmour::{Call, Data, Gilmour, Ident, Message, Options, RedisEngine, SlotTopic};
use poa_test_redis::{Peer, Reply, Server};

use crate::redis::{gilmour, peer, topic};

/// All subscriptions are back within 5 s; a busy machine gets more here.
pub(crate) const BACK: Duration = Duration::from_secs(30);

pub(crate) async fn up(gilmour: &Gilmour) -> Duration {
    let begin = Instant::now();
    let mut state = gilmour.engine().state();
    let up = tokio::time::timeout(BACK, state.wait_for(State::is_up)).await;
    up.expect("in time").unwrap();
    begin.elapsed()
}

/// Waits until so many requests more have been served.
pub(crate) async fn served(gilmour: &Gilmour, more: u64) {
    let counts = gilmour.engine().counts();
    let before = counts.calls.get();
    let serving = async {
        while counts.calls.get() < before + more {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(BACK, serving).await.expect("requests are served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_load_ends_no_subscription_and_hangs_no_request() {
    let mut server = Server::new();
    let (serving, asking) =
        (gilmour(&server, Options::default()).await, gilmour(&server, Options::default()).await);
    let echo = async |call: Call| Message::ok(call.data);
    let _service = serving.reply(&topic("echo"), echo).await.unwrap();
    let _slot = serving.slot(&SlotTopic::new("log.*").unwrap(), echo).await.unwrap();
    let ident = Ident::of_this_process();
    let _heartbeats = serving.engine().announce(&ident).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let load = (0..20).map(|_| {
        let (asking, stop) = (asking.clone(), stop.clone());
        tokio::spawn(async move {
            let (mut answered, mut codes) = (0, std::collections::BTreeSet::new());
            while !stop.is_cancelled() {
                match asking.request(&topic("echo"), &Data::null()).await {
                    Ok(_) => answered += 1,
                    Err(error) => {
                        codes.insert(error.code());
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
            (answered, codes)
        })
    });
    let load: Vec<_> = load.collect();
    served(&serving, 200).await;
    let mut down = asking.engine().state();
    server.kill();
    tokio::time::timeout(BACK, down.wait_for(|state| !state.is_up())).await.unwrap().unwrap();
    let refused = asking.request(&topic("echo"), &Data::null()).await.unwrap_err();
    assert_eq!(refused.code(), 503);
    assert!(refused.to_string().starts_with("redis cannot be reached: "), "{refused}");
    server.start();
    up(&serving).await;
    up(&asking).await;
    assert_eq!(
        asking.request(&topic("echo"), &Data::text("x")).await.unwrap().data.json(),
        r#""x""#
    );
    assert_eq!(asking.signal(&topic("log.a"), &Data::null()).await.unwrap().receivers, Some(1));
    served(&serving, 200).await;
    stop.cancel();
    for worker in load {
        let (_, codes) = worker.await.unwrap();
        // 404 in the moment when the one is back and the other is not.
        assert!(codes.iter().all(|code| [404, 503].contains(code)), "{codes:?}");
    }
    assert_eq!(serving.engine().counts().disconnects.get(), 1);
    let port = server.port();
    let known =
        peer(move || Peer::connect(port).say(&["HKEYS", "gilmour.known_host.health"])).await;
    assert_eq!(known, Reply::List(vec![Reply::Text(ident.to_string())]));
}

#[tokio::test]
async fn a_server_that_is_not_there_at_first_is_found_later() {
    let mut server = Server::new();
    server.kill();
    let engine = RedisEngine::new(&server.url(), Options::default()).unwrap();
    assert!(engine.connect(Duration::from_millis(10)).await.is_err());
    let gilmour = Gilmour::new(engine);
    let echo = async |call: Call| Message::ok(call.data);
    assert!(gilmour.reply(&topic("echo"), echo).await.is_err());
    server.start();
    up(&gilmour).await;
    let _service = gilmour.reply(&topic("echo"), echo).await.unwrap();
    assert_eq!(gilmour.request(&topic("echo"), &Data::null()).await.unwrap().code, 200);
}

#[tokio::test]
async fn an_engine_that_is_dropped_leaves_the_server() {
    let server = Server::new();
    let gilmour = gilmour(&server, Options::default()).await;
    let _service =
        gilmour.reply(&topic("echo"), async |call: Call| Message::ok(call.data)).await.unwrap();
    drop(gilmour);
    let port = server.port();
    peer(move || {
        let mut raw = Peer::connect(port);
        while raw.say(&["PUBSUB", "NUMSUB", "gilmour.request.echo"]).list()[1] != Reply::Number(0) {
            std::thread::yield_now();
        }
    })
    .await;
}
