//! A receiver that fails in every way at once: what can be stored is stored once, what cannot is kept, and delivered after
//! the fix.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue panics")]

use std::path::Path;
use std::sync::Arc;

use poa_core::config::Duration;
use poa_core::{Ack, AgentId, Draft, Host, Message, Payload, ReceiverFactory, ReceiverOptions};
use poa_dead_letters::{DeadLetterStore, Which};
use poa_receiver_sqlite::Sqlite;
use poa_testkit::{Fault, Faults, Step};
use tokio_util::sync::CancellationToken;

const COUNT: u64 = 5000;
/// One message in a thousand.
const POISON: u64 = 1000;
const BATCH: usize = 50;
const AGENTS: u64 = 8;

#[derive(serde::Serialize, serde::Deserialize)]
struct Data {
    n: u64,
}

fn is_poison(message: &Message) -> bool {
    message.payload().read::<Data>().unwrap().n % POISON == 7
}

/// One batch in ten has a transient error, one in 37 panics, one in 23 is stored but not confirmed.
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
    let mut options = ReceiverOptions::subscribe(["m"]).batch(BATCH, Duration::from_millis(5));
    options.retry.initial = Duration::from_millis(1);
    Host::builder()
        .data_types(["m"])
        .data_dir(dir)
        .engine::<poa_engine_local::Log>("log", Default::default())
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

/// Whether each agent's messages are stored in the order in which it sent them.
fn in_order(dir: &Path) -> bool {
    let database = rusqlite::Connection::open(dir.join("metrics.db")).unwrap();
    let sql = "SELECT json_extract(body, '$.n') FROM metrics WHERE agent_id = ?1 ORDER BY rowid";
    let mut statement = database.prepare(sql).unwrap();
    (0..AGENTS).all(|agent| {
        let rows = statement.query_map([format!("agent-{agent}")], |row| row.get::<_, i64>(0));
        let numbers: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
        numbers.len() > 100 && numbers.is_sorted()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_stored_once_and_the_poison_after_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeadLetterStore::open(dir.path().join("dead.db"), 1 << 20).unwrap();
    let sqlite = poa_testkit::receiver_factory::<Sqlite>(poa_receiver_sqlite::Config::default());

    let host = start(dir.path(), &store, faults().around(sqlite.clone())).await;
    let handle = host.handle();
    let data_type = handle.data_types().get("m").unwrap();
    // Many are under way at a time, so that there are whole batches to narrow down.
    for some in 0..COUNT / 500 {
        let receipts: Vec<_> = (some * 500..(some + 1) * 500)
            .map(|n| {
                let agent = AgentId::new(format!("agent-{}", n % AGENTS)).unwrap();
                let payload = Payload::json(&Data { n }).unwrap();
                handle.send_to_receivers(Draft::new(agent, data_type.clone(), payload)).unwrap()
            })
            .collect();
        for receipt in receipts {
            receipt.await.unwrap();
        }
    }
    assert!(host.stop().await.is_clean());
    let status = handle.status().plugins.remove(0);
    let counts = status.delivery.unwrap();
    // Batches are tried again whole or in halves; only what is poison is tried alone.
    assert!(status.restarts > 0 && counts.retried > 0, "{status:?}");
    assert!(in_order(dir.path()));
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
