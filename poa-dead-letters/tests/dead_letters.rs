//! Letters are kept, looked at, dropped and delivered again.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue panics")]

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use poa_core::{
    AgentId, BuildContext, BuildError, CustomHandler, DataTypes, DeadLetter, DeadLetters,
    DeliveryError, Draft, HandlerContext, Host, HostBuilder, Message, MessageId, Payload,
    PluginError, Receiver, ReceiverFactory, ReceiverOptions, Timestamp, async_trait,
};
use poa_dead_letters::{DeadLetterStore, OpenError, Which};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Refuses messages with certain numbers, until it is mended.
#[derive(Clone)]
struct Picky {
    refused: Arc<Mutex<HashSet<u64>>>,
    got: mpsc::UnboundedSender<u64>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Numbered {
    n: u64,
}

fn number(message: &Message) -> u64 {
    message.payload().read::<Numbered>().unwrap().n
}

#[async_trait]
impl Receiver for Picky {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let refused = self.refused.lock().clone();
        let bad = |message: &Message| refused.contains(&number(message));
        if batch.iter().any(bad) {
            return Err(DeliveryError::permanent("this number is refused"));
        }
        for message in batch {
            self.got.send(number(message)).map_err(DeliveryError::transient)?;
        }
        Ok(())
    }
}

fn picky(refused: &[u64]) -> (Picky, mpsc::UnboundedReceiver<u64>) {
    let (got, receiver) = mpsc::unbounded_channel();
    (Picky { refused: Arc::new(Mutex::new(refused.iter().copied().collect())), got }, receiver)
}

async fn start(dir: &Path, store: &DeadLetterStore, picky: &Picky) -> Host {
    builder(dir, store, picky).start().await.unwrap()
}

fn builder(dir: &Path, store: &DeadLetterStore, picky: &Picky) -> HostBuilder {
    let picky = picky.clone();
    let factory: ReceiverFactory = Arc::new(move |_: &BuildContext| {
        let picky = picky.clone();
        Box::pin(async { Ok(Box::new(picky) as Box<dyn Receiver>) })
    });
    Host::builder()
        .data_types(["m"])
        .data_dir(dir)
        .engine::<poa_engine_local::Log>("log", Default::default())
        .dead_letters(Arc::new(store.clone()))
        .receiver_from("picky", ReceiverOptions::subscribe(["m"]), factory)
}

fn draft(host: &Host, n: u64) -> Draft {
    draft_of(host.handle().data_types(), "m", n)
}

fn draft_of(types: &DataTypes, data_type: &str, n: u64) -> Draft {
    let data_type = types.get(data_type).unwrap().clone();
    let payload = Payload::json(&Numbered { n }).unwrap();
    Draft::new(AgentId::new("agent").unwrap(), data_type, payload)
}

async fn take(got: &mut mpsc::UnboundedReceiver<u64>, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(got.recv().await.unwrap());
    }
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_delivered_is_kept_and_delivered_after_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeadLetterStore::open(dir.path().join("dead.db"), 1 << 20).unwrap();
    let (picky, mut got) = picky(&[13, 57]);
    let host = start(dir.path(), &store, &picky).await;
    for n in 0..100 {
        host.handle().send_to_receivers(draft(&host, n)).unwrap().await.unwrap();
    }
    let fine: Vec<u64> = (0..100).filter(|n| ![13, 57].contains(n)).collect();
    assert_eq!(take(&mut got, 98).await, fine);
    assert!(host.stop().await.is_clean());

    let letters = store.list(&Which::Receiver("picky".into())).unwrap();
    assert_eq!(letters.len(), 2);
    assert_eq!(
        (letters[0].reason.as_str(), letters[0].agent_id.as_str()),
        ("this number is refused", "agent")
    );
    let whole = store.show(letters[0].id).unwrap().unwrap();
    assert_eq!((whole.format, whole.payload.as_slice()), ("json", br#"{"n":13}"#.as_slice()));

    // One of them is mended, and a replay is requested while nothing runs.
    picky.refused.lock().remove(&57);
    assert_eq!(store.request_replay(&Which::All).unwrap(), 2);
    let host = start(dir.path(), &store, &picky).await;
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn({
        let (store, handle, shutdown) = (store.clone(), host.handle(), shutdown.clone());
        async move { store.serve_replays(handle, shutdown).await }
    });
    assert_eq!(take(&mut got, 1).await, [57]);
    picky.refused.lock().clear();
    // The other came back with its new reason, and waits to be asked for again.
    let waiting = loop {
        match store.list(&Which::All).unwrap().as_slice() {
            [letter] if !letter.replay => break letter.clone(),
            _ => tokio::task::yield_now().await,
        }
    };
    assert_eq!(waiting.id, letters[0].id);
    assert!(waiting.attempts > letters[0].attempts);
    store.request_replay(&Which::Id(waiting.id)).unwrap();
    assert_eq!(take(&mut got, 1).await, [13]);
    while !store.list(&Which::All).unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    serving.await.unwrap();
    assert!(host.stop().await.is_clean());
}

#[tokio::test]
async fn the_store_is_bounded_and_the_newest_stay() {
    let dir = tempfile::tempdir().unwrap();
    // Each takes 337 bytes: its texts, and what the database needs for it.
    let store = DeadLetterStore::open(dir.path().join("dead.db"), 1200).unwrap();
    let (picky, _got) = picky(&[1, 2, 3, 4, 5]);
    let host = start(dir.path(), &store, &picky).await;
    store.observe(host.handle().telemetry());
    for n in 1..=5 {
        host.handle().send_to_receivers(draft(&host, n)).unwrap().await.unwrap();
    }
    let handle = host.handle();
    assert!(host.stop().await.is_clean());
    let left = store.list(&Which::All).unwrap();
    assert_eq!(left.len(), 3);
    assert!(
        handle.metrics().contains("poa_dead_letters_dropped_total 2\n"),
        "{}",
        handle.metrics()
    );
    let last = store.show(left[2].id).unwrap().unwrap();
    assert_eq!(last.payload, br#"{"n":5}"#);
    assert_eq!(store.remove(&Which::All).unwrap(), 3);
    assert!(store.list(&Which::All).unwrap().is_empty());
    assert!(store.show(left[0].id).unwrap().is_none());
}

#[tokio::test]
async fn keeping_a_letter_twice_keeps_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeadLetterStore::open(dir.path().join("dead.db"), 1 << 20).unwrap();
    let (message, other) = (message(1), message(2));
    let letter = |receiver: &str, message: &Message, reason| {
        DeadLetter::new(receiver, message.clone(), reason)
    };
    store.keep(vec![letter("r", &message, "first"), letter("r", &other, "other")]).await.unwrap();
    store.request_replay(&Which::All).unwrap();
    // After a crash, or after a replay in vain.
    store.keep(vec![letter("r", &message, "second")]).await.unwrap();
    store.keep(vec![letter("another receiver", &message, "third")]).await.unwrap();
    let kept = store.list(&Which::Receiver("r".into())).unwrap();
    let kept: Vec<_> =
        kept.iter().map(|letter| (&*letter.reason, letter.attempts, letter.replay)).collect();
    assert_eq!(kept, [("second", 2, false), ("other", 1, true)]);
    assert_eq!(store.list(&Which::All).unwrap().len(), 3);
}

/// A message with this number that no host has seen.
fn message(n: u64) -> Message {
    let types = DataTypes::new(["m"]).unwrap();
    let draft = draft_of(&types, "m", n);
    let id = MessageId::from_bytes([u8::try_from(n).unwrap(); 16]);
    Message::stamp(draft, id, Timestamp::from_micros(n))
}

/// A receiver that is down, a type that is gone and a handler with the name of a receiver that is gone do not block others.
#[tokio::test(flavor = "multi_thread")]
async fn replays_of_one_receiver_do_not_wait_for_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeadLetterStore::open(dir.path().join("dead.db"), 1 << 20).unwrap();
    let types = DataTypes::new(["m", "gone"]).unwrap();
    let letter = |receiver: &str, data_type, n: u64| {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&n.to_be_bytes());
        let draft = draft_of(&types, data_type, n);
        let message = Message::stamp(draft, MessageId::from_bytes(id), Timestamp::from_micros(n));
        DeadLetter::new(receiver, message, "for the test")
    };
    store.keep(vec![letter("down", "m", 1), letter("handler", "m", 2)]).await.unwrap();
    store.keep((10..400).map(|n| letter("picky", "gone", n)).collect()).await.unwrap();
    store.keep(vec![letter("picky", "m", 400)]).await.unwrap();
    store.request_replay(&Which::All).unwrap();

    let (picky, mut got) = picky(&[]);
    let down: ReceiverFactory =
        Arc::new(|_: &BuildContext| Box::pin(async { Err(BuildError::unavailable("down")) }));
    let host = builder(dir.path(), &store, &picky)
        .receiver_from("down", ReceiverOptions::subscribe(["m"]), down)
        .handler_from("handler", Arc::new(|_| Box::pin(async { Ok(Box::new(Idle) as _) })))
        .stop_timeouts(Duration::from_secs(1), Duration::from_millis(50));
    let host = host.start().await.unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn({
        let (store, handle, shutdown) = (store.clone(), host.handle(), shutdown.clone());
        async move { store.serve_replays(handle, shutdown).await }
    });
    assert_eq!(take(&mut got, 1).await, [400]);
    while store.list(&Which::All).unwrap().len() > 392 {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    serving.await.unwrap();
    assert_eq!(store.list(&Which::Receiver("picky".into())).unwrap().len(), 390);
    host.stop().await;
}

/// A handler that does nothing.
struct Idle;

#[async_trait]
impl CustomHandler for Idle {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        cx.shutdown().cancelled().await;
        Ok(())
    }
}

#[test]
fn what_is_no_store_is_refused_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    std::fs::write(&text, "no database, but a text that is long enough to be one").unwrap();
    let error = DeadLetterStore::open(&text, 1).unwrap_err();
    assert!(matches!(error, OpenError::Database { .. }), "{error:?}");
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("no database"));

    let foreign = dir.path().join("foreign");
    let other = rusqlite::Connection::open(&foreign).unwrap();
    other.pragma_update(None, "application_id", 7).unwrap();
    assert!(matches!(DeadLetterStore::open(&foreign, 1), Err(OpenError::Foreign { .. })));

    let newer = dir.path().join("newer");
    drop(DeadLetterStore::open(&newer, 1).unwrap());
    let connection = rusqlite::Connection::open(&newer).unwrap();
    connection.pragma_update(None, "user_version", 9).unwrap();
    assert!(matches!(DeadLetterStore::open(&newer, 1), Err(OpenError::Newer { found: 9, .. })));

    let error = DeadLetterStore::open(dir.path(), 1).unwrap_err();
    assert!(matches!(error, OpenError::File { .. }), "{error:?}");
}

#[tokio::test]
async fn letters_kept_after_their_file_was_removed_are_found_after_a_restart() {
    for files in [&["dead.db", "dead.db-wal", "dead.db-shm"][..], &["dead.db"], &["dead.db-wal"]] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead.db");
        let store = DeadLetterStore::open(&path, 1 << 20).unwrap();
        store.keep(vec![DeadLetter::new("r", message(1), "before")]).await.unwrap();
        for file in files {
            std::fs::remove_file(dir.path().join(file)).unwrap();
        }
        store.keep(vec![DeadLetter::new("r", message(2), "first")]).await.unwrap();
        store.keep(vec![DeadLetter::new("r", message(3), "second")]).await.unwrap();
        drop(store);
        let found = DeadLetterStore::open(&path, 1 << 20).unwrap().list(&Which::All).unwrap();
        let reasons: Vec<_> = found.iter().map(|letter| &*letter.reason).collect();
        let expected: &[_] = if files.contains(&"dead.db") {
            &["first", "second"]
        } else {
            &["before", "first", "second"]
        };
        assert_eq!(reasons, expected, "{files:?}");
    }
}

/// One agent that sends poison must not push out what others have to look at.
#[tokio::test]
async fn an_agent_with_most_letters_loses_its_own_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeadLetterStore::open(dir.path().join("dead.db"), 100_000).unwrap();
    let letter = |agent: &str, n: u64| {
        let data_type = DataTypes::new(["m"]).unwrap().get("m").unwrap().clone();
        let payload = Payload::json(&Numbered { n }).unwrap();
        let draft = Draft::new(AgentId::new(agent).unwrap(), data_type, payload);
        let id = MessageId::from_bytes(u128::from(n).to_be_bytes());
        DeadLetter::new("r", Message::stamp(draft, id, Timestamp::now()), "refused")
    };
    store.keep((0..50).map(|n| letter("quiet", n)).collect()).await.unwrap();
    for batch in 0..50 {
        let poison = (100..150).map(|n| letter("flooding", batch * 100 + n)).collect();
        store.keep(poison).await.unwrap();
    }
    let left = store.list(&Which::All).unwrap();
    assert_eq!(left.iter().filter(|letter| letter.agent_id == "quiet").count(), 50);
    assert!(left.len() > 150, "{}", left.len());
}
