//! A receiver that fails in every way at once: what can be stored is stored once, what cannot is kept, and delivered after
//! the fix.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]

use std::path::Path;
use std::sync::Arc;

use poa_core::config::Duration;
use poa_core::{
    Ack, AgentId, Draft, Engine, Host, Message, Payload, ReceiverFactory, ReceiverOptions,
};
use poa_dead_letters::{DeadLetterStore, Which};
use poa_receiver_sqlite::Sqlite;
use poa_testkit::{Fault, Faults, Step};
use tokio_util::sync::CancellationToken;

const COUNT: u64 = 5000;
/// One message in a thousand.
const POISON: u64 = 1000;

#[derive(serde::Serialize, serde::Deserialize)]
struct Data {
    n: u64,
}

fn is_poison(message: &Message) -> bool {
    message.payload().read::<Data>().unwrap().n % POISON == 7
}

/// One batch in ten fails for now, one in 37 panics, one in 23 is stored without the host hearing of it.
fn faults() -> Faults {
    Faults::new(|count, step| match step {
        Step::Batch(_) if count.is_multiple_of(37) => Some(Fault::Panic),
        Step::Batch(_) if count.is_multiple_of(10) => Some(Fault::Transient),
        Step::Batch(batch) if batch.iter().any(is_poison) => Some(Fault::Permanent),
        Step::Batch(_) if count.is_multiple_of(23) => Some(Fault::Unconfirmed),
        _ => None,
    })
}

async fn start(dir: &Path, store: &DeadLetterStore, factory: ReceiverFactory) -> Host {
    let mut options = ReceiverOptions::subscribe(["m"]).batch(200, Duration::from_millis(1));
    options.retry.initial = Duration::from_millis(1);
    Host::builder()
        .metrics(["m"])
        .data_dir(dir)
        .engine(Engine::Log)
        .ack(Ack::Stored)
        .dead_letters(Arc::new(store.clone()))
        .receiver_from("sqlite", options, factory)
        .start()
        .await
        .unwrap()
}

fn stored(dir: &Path) -> Vec<u64> {
    let database = rusqlite::Connection::open(dir.join("metrics.db")).unwrap();
    let sql = "SELECT json_extract(body, '$.n') FROM metrics ORDER BY 1";
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    rows.map(|n| n.unwrap().unsigned_abs()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_stored_once_and_the_poison_after_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeadLetterStore::open(dir.path().join("dead.db"), 1 << 20).unwrap();
    let sqlite = poa_testkit::factory::<Sqlite>(poa_receiver_sqlite::Config::default());

    let host = start(dir.path(), &store, faults().around(sqlite.clone())).await;
    let handle = host.handle();
    let data_type = handle.data_types().get("m").unwrap();
    for n in 0..COUNT {
        let agent = AgentId::new("agent").unwrap();
        let draft = Draft::new(agent, data_type.clone(), Payload::json(&Data { n }).unwrap());
        handle.send_to_receivers(draft).unwrap().await.unwrap();
    }
    assert!(host.stop().await.is_clean());
    let poison = |n: &u64| n % POISON == 7;
    let letters = store.list(&Which::All).unwrap();
    assert_eq!(
        stored(dir.path()),
        (0..COUNT).filter(|n| !poison(n)).collect::<Vec<_>>(),
        "{letters:?}"
    );
    assert_eq!(letters.len(), (0..COUNT).filter(poison).count());
    assert!(letters.iter().all(|letter| letter.reason == "injected"), "{letters:?}");

    // The fix: a receiver without faults.
    let host = start(dir.path(), &store, sqlite).await;
    store.request_replay(&Which::All).unwrap();
    let (handle, shutdown, replaying) = (host.handle(), CancellationToken::new(), store.clone());
    let served = shutdown.clone();
    let serving = tokio::spawn(async move { replaying.serve_replays(handle, served).await });
    poa_tests::until("the dead letters are delivered", async || {
        store.list(&Which::All).unwrap().is_empty().then_some(())
    })
    .await;
    shutdown.cancel();
    serving.await.unwrap();
    assert!(host.stop().await.is_clean());
    assert_eq!(stored(dir.path()), (0..COUNT).collect::<Vec<_>>());
}
