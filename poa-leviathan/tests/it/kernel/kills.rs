//! Processes that are killed.

use std::process::Command;
use std::sync::Arc;

use poa_leviathan::executor::{Executor, Netlink};
use poa_leviathan::model::Wiring;
use poa_leviathan::resolver::NamedNamespaces;
use poa_leviathan::seen::Seen;
use poa_leviathan::store::SqliteStore;
use poa_leviathan::{ContainerId, Leviathan, Options};

use super::{lab, lab_with};
use crate::isolated::{containers, isolated, run};
use crate::support::{
    cen, cens, cins, container, destroy, destroy_cins, make, make_all, make_cins,
};

/// The operation before which a victim dies, and its store.
const VICTIM: &str = "LEVIATHAN_TEST_DIES_BEFORE";
const STORE: &str = "LEVIATHAN_TEST_STORE";

/// The life of networks, each step waited for. Every step can be done again.
async fn life(leviathan: &Leviathan) {
    let document = cens(&[("a", &["c1", "c2"]), ("b", &["c2", "c3"]), ("d", &["c4", "c1"])]);
    leviathan.import_cens(document).await.unwrap();
    leviathan.import_cins(cins(&[("m", &["d"]), ("n", &["a", "b"])])).await.unwrap();
    make_all(leviathan, &["d"], &["m"]).await;
    make(leviathan, &["a", "b"]).await;
    make_cins(leviathan, &["n"]).await;
    leviathan.put_member(cen("b"), container("c4")).await.unwrap();
    leviathan.delete_member("a", "c1").await.unwrap();
    leviathan.put_member(cen("a"), container("c1")).await.unwrap();
}

/// Dies by SIGKILL before one operation.
#[derive(Debug)]
struct Victim {
    inner: Arc<dyn Executor>,
    left: Arc<std::sync::atomic::AtomicUsize>,
}

struct VictimSession {
    inner: Box<dyn poa_leviathan::executor::Session>,
    left: Arc<std::sync::atomic::AtomicUsize>,
}

#[async_trait::async_trait]
impl Executor for Victim {
    async fn look(
        &self,
        containers: &[ContainerId],
    ) -> Result<Box<dyn poa_leviathan::executor::Session>, poa_leviathan::Error> {
        let inner = self.inner.look(containers).await?;
        Ok(Box::new(VictimSession { inner, left: self.left.clone() }))
    }
}

#[async_trait::async_trait]
impl poa_leviathan::executor::Session for VictimSession {
    fn seen(&self) -> &Seen {
        self.inner.seen()
    }

    async fn apply(
        &mut self,
        operation: &poa_leviathan::operation::Operation,
    ) -> Result<(), poa_leviathan::Error> {
        if self.left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            let me = std::process::id().to_string();
            run("kill", &["-9", &me]);
        }
        self.inner.apply(operation).await
    }
}

/// Not a test of its own: what the next one kills.
async fn be_a_victim(before: &str) {
    let store = SqliteStore::open(std::env::var(STORE).unwrap().as_ref()).unwrap();
    let inner = Arc::new(Netlink::new("host1", Arc::new(NamedNamespaces::default())));
    let left = Arc::new(std::sync::atomic::AtomicUsize::new(before.parse().unwrap()));
    let victim = Victim { inner, left };
    let leviathan = Leviathan::open(Options::default(), Arc::new(victim), Box::new(store)).unwrap();
    life(&leviathan).await;
}

#[test]
fn a_kill_between_any_two_operations_is_made_good() {
    if let Ok(before) = std::env::var(VICTIM) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(be_a_victim(&before));
    }
    isolated(module_path!(), "a_kill_between_any_two_operations_is_made_good", async {
        let names = ["c1", "c2", "c3", "c4"];
        containers(&names);
        let clean = lab(Wiring::AlwaysBus);
        life(&clean.leviathan).await;
        let expected = clean.snapshot(&names).await;
        destroy_cins(&clean.leviathan, &["m", "n"]).await;
        destroy(&clean.leviathan, &["a", "b", "d"]).await;
        for k in 0.. {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store.db");
            let mut victim = Command::new(std::env::current_exe().unwrap());
            victim
                .args(["--exact", "kernel::kills::a_kill_between_any_two_operations_is_made_good"]);
            victim.env(VICTIM, k.to_string()).env(STORE, &path);
            let lived = victim.output().unwrap().status.success();
            let store = Box::new(SqliteStore::open(&path).unwrap());
            let next = lab_with(Options::default(), store);
            let running = next.leviathan.run().await;
            let model = next.leviathan.model();
            assert!(model.cens().values().all(|cen| !cen.status().is_busy()), "killed before {k}");
            life(&next.leviathan).await;
            assert_eq!(next.snapshot(&names).await, expected, "killed before {k}");
            destroy_cins(&next.leviathan, &["m", "n"]).await;
            destroy(&next.leviathan, &["a", "b", "d"]).await;
            assert_eq!(next.look(&[]).await.host.len(), 1, "killed before {k}");
            running.close(std::time::Duration::from_secs(10)).await;
            if lived {
                assert!(k > 15, "there are more operations than {k}");
                return;
            }
        }
    });
}
