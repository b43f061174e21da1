//! Letters are kept, looked at, dropped and delivered again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use poa_core::{
    AgentId, BuildContext, DeadLetters, DeliveryError, Draft, Engine, Host, Message, Payload,
    Receiver, ReceiverFactory, ReceiverOptions, async_trait,
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
    let picky = picky.clone();
    let factory: ReceiverFactory = Arc::new(move |_: &BuildContext| {
        let picky = picky.clone();
        Box::pin(async { Ok(Box::new(picky) as Box<dyn Receiver>) })
    });
    Host::builder()
        .metrics(["m"])
        .data_dir(dir)
        .engine(Engine::Log)
        .dead_letters(Arc::new(store.clone()))
        .receiver_from("picky", ReceiverOptions::subscribe(["m"]), factory)
        .start()
        .await
        .unwrap()
}

fn draft(host: &Host, n: u64) -> Draft {
    let data_type = host.handle().data_types().get("m").unwrap().clone();
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
    let store = DeadLetterStore::open(dir.path().join("dead.db"), 25).unwrap();
    let (picky, _got) = picky(&[1, 2, 3, 4, 5]);
    let host = start(dir.path(), &store, &picky).await;
    for n in 1..=5 {
        host.handle().send_to_receivers(draft(&host, n)).unwrap().await.unwrap();
    }
    assert!(host.stop().await.is_clean());
    let left = store.list(&Which::All).unwrap();
    // Each takes 7 bytes.
    assert_eq!(left.len(), 3);
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
    store.keep(Vec::new()).await.unwrap();
    assert!(store.list(&Which::All).unwrap().is_empty());
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
