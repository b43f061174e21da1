//! Commits that have to be on the disk before the next step of a request, and those that need not.

use std::sync::Arc;

use parking_lot::Mutex;
use poa_leviathan::executor::Recorder;
use poa_leviathan::model::{Model, Wiring};
use poa_leviathan::store::Durability::{Now, Soon};
use poa_leviathan::store::{
    Changes, Durability, MemoryStore, SqliteStore, Store, StoreError, Unconfirmed,
};
use poa_leviathan::{Leviathan, Options};

use crate::support::{cens, cins, make, make_cins};

/// Notes what was asked of another store.
struct Noting {
    inner: MemoryStore,
    asked: Arc<Mutex<Vec<Durability>>>,
}

impl Store for Noting {
    fn load(&mut self, wiring: Wiring) -> Result<Model, StoreError> {
        self.inner.load(wiring)
    }

    fn commit(
        &mut self,
        changes: &Changes,
        durable: Durability,
    ) -> Result<Option<i64>, StoreError> {
        self.asked.lock().push(durable);
        self.inner.commit(changes, durable)
    }

    fn unconfirmed(&mut self, limit: usize) -> Result<Vec<Unconfirmed>, StoreError> {
        self.inner.unconfirmed(limit)
    }

    fn confirm(&mut self, up_to: i64) -> Result<(), StoreError> {
        self.inner.confirm(up_to)
    }
}

async fn asked_for(options: Options) -> Vec<Durability> {
    let asked = Arc::default();
    let store = Noting { inner: MemoryStore::default(), asked: Arc::clone(&asked) };
    let host = Arc::new(Recorder::new("host1"));
    let leviathan = Leviathan::open(options, host, Box::new(store)).unwrap();
    leviathan.import_cens(cens(&[("cen1", &["c1", "c2"])])).await.unwrap();
    leviathan.import_cins(cins(&[("cin1", &["cen1"])])).await.unwrap();
    make(&leviathan, &["cen1"]).await;
    make_cins(&leviathan, &["cin1"]).await;
    let asked = asked.lock();
    asked.clone()
}

#[tokio::test]
async fn intents_are_durable_before_anything_is_done_and_results_follow() {
    let definitions = [Now, Now];
    let requests = [Now, Soon, Now, Soon];
    assert_eq!(asked_for(Options::default()).await, [&definitions[..], &requests].concat());
}

/// Their sequence, which tells an event that was sent from one that was not, must not be given to another one.
#[tokio::test]
async fn events_are_durable_before_anyone_is_told() {
    let options = Options { keep_events: true, ..Options::default() };
    assert_eq!(asked_for(options).await, [Now; 6]);
}

#[test]
fn a_commit_that_may_follow_is_there_after_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("leviathan.db");
    let mut store = SqliteStore::open(&file).unwrap();
    let changes = Changes { next_ip_b: Some(17), ..Changes::default() };
    store.commit(&changes, Soon).unwrap();
    // As after `kill -9`: nothing is written when it ends.
    std::mem::forget(store);
    let model = SqliteStore::open(&file).unwrap().load(Wiring::default()).unwrap();
    assert_eq!(model, changed(&changes));
}

fn changed(changes: &Changes) -> Model {
    let mut model = Model::new(Wiring::default());
    changes.apply(&mut model);
    model
}
