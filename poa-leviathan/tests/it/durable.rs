//! Commits that have to be on the disk before the next step of a request, and those that need not.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use poa_leviathan::executor::{Executor, Recorder, Session};
use poa_leviathan::model::{Model, Wiring};
use poa_leviathan::seen::Link;
use poa_leviathan::store::Durability::{Now, Soon};
use poa_leviathan::store::{
    Changes, Durability, MemoryStore, SqliteStore, Store, StoreError, Unconfirmed,
};
use poa_leviathan::{ContainerId, Error, Leviathan, Options};
use tokio::sync::mpsc;

use crate::support::{cens, cins, destroy, destroy_cins, ids, make, make_all, make_cins, status};

/// A store in memory that asks before each commit.
struct Asking<F> {
    inner: MemoryStore,
    may_commit: F,
}

impl<F: FnMut(Durability) -> Result<(), StoreError> + Send + 'static> Store for Asking<F> {
    fn load(&mut self, wiring: Wiring) -> Result<Model, StoreError> {
        self.inner.load(wiring)
    }

    fn commit(
        &mut self,
        changes: &Changes,
        durable: Durability,
    ) -> Result<Option<i64>, StoreError> {
        (self.may_commit)(durable)?;
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
    let asked = Arc::<Mutex<Vec<_>>>::default();
    let notes = Arc::clone(&asked);
    let may_commit = move |durable| {
        notes.lock().push(durable);
        Ok(())
    };
    let store = Asking { inner: MemoryStore::default(), may_commit };
    let host = Arc::new(Recorder::new("host1"));
    let leviathan = Leviathan::open(options, host, Box::new(store)).unwrap();
    leviathan.import_cens(cens(&[("cen1", &["c1", "c2"])])).await.unwrap();
    leviathan.import_cins(cins(&[("cin1", &["cen1"])])).await.unwrap();
    make(&leviathan, &["cen1"]).await;
    make_cins(&leviathan, &["cin1"]).await;
    destroy_cins(&leviathan, &["cin1"]).await;
    destroy(&leviathan, &["cen1"]).await;
    make_all(&leviathan, &["cen1"], &["cin1"]).await;
    let asked = asked.lock();
    asked.clone()
}

#[tokio::test]
async fn intents_are_durable_before_anything_is_done_and_results_follow() {
    let definitions = [Now, Now];
    let requests = [Now, Soon].repeat(5);
    assert_eq!(asked_for(Options::default()).await, [&definitions[..], &requests[..]].concat());
}

/// Their sequence, which tells an event that was sent from one that was not, must not be given to another one.
#[tokio::test]
async fn events_are_durable_before_anyone_is_told() {
    let options = Options { keep_events: true, ..Options::default() };
    assert_eq!(asked_for(options).await, [Now; 12]);
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

/// The error of a store whose disk is full.
fn disk_full() -> StoreError {
    let [file, what, reason] = ["disk", "nothing", "no space"].map(str::to_owned);
    StoreError::Damaged { file, what, reason }
}

/// Reports every look, by the number of containers.
#[derive(Debug)]
struct Watched {
    inner: Recorder,
    looks: mpsc::UnboundedSender<usize>,
}

#[async_trait::async_trait]
impl Executor for Watched {
    async fn look(&self, containers: &[ContainerId]) -> Result<Box<dyn Session>, Error> {
        let looked = self.inner.look(containers).await;
        let _ = self.looks.send(containers.len());
        looked
    }

    async fn find(&self, names: &[&str]) -> Result<BTreeMap<String, Link>, Error> {
        self.inner.find(names).await
    }
}

struct Slow {
    leviathan: Leviathan,
    recorder: Recorder,
    /// Each releases one commit, and says whether it succeeds.
    words: std::sync::mpsc::Sender<bool>,
    looks: mpsc::UnboundedReceiver<usize>,
}

/// A CEN of two members is defined on a host in memory; the store is slow.
async fn slow() -> Slow {
    let (words, awaited) = std::sync::mpsc::channel();
    let (told, looks) = mpsc::unbounded_channel();
    let recorder = Recorder::new("host1");
    let host = Arc::new(Watched { inner: recorder.clone(), looks: told });
    let may_commit = move |_| match awaited.recv() {
        Ok(true) => Ok(()),
        _ => Err(disk_full()),
    };
    let store = Asking { inner: MemoryStore::default(), may_commit };
    let leviathan = Leviathan::open(Options::default(), host, Box::new(store)).unwrap();
    words.send(true).unwrap();
    leviathan.import_cens(cens(&[("cen1", &["c1", "c2"])])).await.unwrap();
    Slow { leviathan, recorder, words, looks }
}

impl Slow {
    /// Asks for the CEN, and returns when its containers were looked into; the intent is not on the disk then.
    async fn ask(
        &mut self,
    ) -> tokio::task::JoinHandle<Result<poa_leviathan::engine::Report, Error>> {
        let leviathan = self.leviathan.clone();
        let asked =
            tokio::spawn(
                async move { Ok(leviathan.make_cens(&ids(&["cen1"])).await?.wait().await) },
            );
        while self.looks.recv().await != Some(2) {}
        asked
    }
}

#[tokio::test]
async fn the_host_is_looked_at_while_the_intent_goes_to_the_disk_but_not_touched() {
    let mut slow = slow().await;
    let asked = slow.ask().await;
    assert_eq!((slow.recorder.take(), status(&slow.leviathan, "cen1")), (vec![], "pending"));
    slow.words.send(true).unwrap();
    slow.words.send(true).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().failed, []);
    assert_eq!(status(&slow.leviathan, "cen1"), "ready");
    assert!(slow.recorder.host().host.contains_key("cen1"));
    assert!(slow.looks.try_recv().is_err(), "one look is enough");
}

#[tokio::test]
async fn an_intent_that_cannot_be_stored_changes_nothing_and_blocks_no_other_request() {
    let mut slow = slow().await;
    let asked = slow.ask().await;
    slow.words.send(false).unwrap();
    let error = asked.await.unwrap().unwrap_err();
    assert!(error.to_string().starts_with("nothing was changed"), "{error}");
    assert_eq!((slow.recorder.take(), status(&slow.leviathan, "cen1")), (vec![], "pending"));
    slow.words.send(true).unwrap();
    slow.words.send(true).unwrap();
    make(&slow.leviathan, &["cen1"]).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_intent_is_stored_leaves_no_intent_behind() {
    let mut slow = slow().await;
    let asked = slow.ask().await;
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    slow.words.send(true).unwrap();
    slow.words.send(true).unwrap();
    let mut models = slow.leviathan.models();
    let ready = models.wait_for(|model| model.cen("cen1").unwrap().status().as_str() == "ready");
    ready.await.unwrap();
}
