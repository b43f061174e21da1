//! The nodes of a cluster of poa.

use std::path::{Path, PathBuf};

use poa_test_nats::Servers;
use poa_tests::{Home, METRICS, Request, Server, database, numbers, rows, until};
use serde_json::Value;
use tempfile::TempDir;

/// A cluster of poa on NATS servers: its prefix, and the database that all of its receivers share.
pub(crate) struct Cluster {
    servers: Vec<String>,
    monitors: Vec<String>,
    prefix: String,
    dir: TempDir,
}

impl Cluster {
    /// On the servers that all tests share.
    pub(crate) fn shared() -> Self {
        Self::new(poa_test_nats::shared_cluster(), poa_test_nats::shared_monitors())
    }

    /// On servers of this test alone, which may be killed.
    pub(crate) fn on(servers: &Servers) -> Self {
        Self::new(servers.urls(), servers.monitors())
    }

    fn new(servers: Vec<String>, monitors: Vec<String>) -> Self {
        let prefix = format!("t{:08x}", fastrand::u32(..));
        Self { servers, monitors, prefix, dir: TempDir::with_prefix("poa-cluster-").unwrap() }
    }

    /// The section of the engine; `more` are further lines of it.
    pub(crate) fn bus(&self, more: &str) -> String {
        let Self { servers, monitors, prefix, .. } = self;
        format!(
            "[bus]\nengine = \"nats\"\n[bus.nats]\nservers = {servers:?}\nmonitor = {monitors:?}\nprefix = \"{prefix}\"\n\
             max_bytes = \"64MiB\"\npartitions = 4\nlease = \"3s\"\nstart_timeout = \"60s\"\n{more}\n"
        )
    }

    /// The receiver `local`, whose database all nodes share, as they would share one of PostgreSQL.
    fn receiver(&self) -> String {
        let path = self.rows();
        format!(
            "[receivers.local]\nkind = \"sqlite\"\npath = {path:?}\nsubscribe = {METRICS:?}\nbusy_timeout = \"30s\"\n"
        )
    }

    fn rows(&self) -> PathBuf {
        self.dir.path().join("metrics.db")
    }

    /// A node with handlers and the receiver.
    pub(crate) fn both(&self) -> Home {
        Home::with(&(self.receiver() + &self.bus("")))
    }

    /// A node with handlers alone.
    pub(crate) fn front_end(&self) -> Home {
        Home::with(&self.bus(""))
    }

    /// A node with the receiver alone.
    pub(crate) fn receivers(&self) -> Home {
        self.receivers_with(&self.receiver())
    }

    /// A node with these receivers alone.
    pub(crate) fn receivers_with(&self, sections: &str) -> Home {
        Home::without_handlers(&(sections.to_owned() + &self.bus("")))
    }

    /// The numbers of an agent's messages, in the order in which they were stored.
    pub(crate) fn stored(&self, agent: &str) -> Vec<usize> {
        numbers(&database(&self.rows()), agent)
    }

    /// How many messages of agents are stored.
    pub(crate) fn count(&self) -> usize {
        let found = rows(&database(&self.rows()), "SELECT count(*) FROM metrics", |row| {
            row.get::<_, i64>(0).unwrap()
        });
        usize::try_from(found[0]).unwrap()
    }

    /// A directory for files of the test.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// How many partitions of a receiver each node holds, the most first, as this node sees it.
pub(crate) async fn held(server: &Server, receiver: &str) -> Vec<u64> {
    let status = server.status().await;
    let held = status["bus"]["receivers"][receiver]["held"].as_object().cloned();
    let mut held: Vec<_> = held.unwrap_or_default().values().filter_map(Value::as_u64).collect();
    held.sort_unstable_by(|one, other| other.cmp(one));
    held
}

/// Waits until the partitions of `local` are divided so.
pub(crate) async fn shared(server: &Server, expected: &[u64]) {
    let divided = async || (held(server, "local").await == expected).then_some(());
    until(&format!("the partitions are divided as {expected:?}"), divided).await;
}

/// A token for any agent, which all of these front ends accept.
pub(crate) async fn token(servers: &[&Server]) -> String {
    let user = (format!("user-{:08x}", fastrand::u32(..)), "a long password");
    servers[0].add_user(&user.0, user.1, None).await;
    let token = servers[0].session(&user.0, user.1).await;
    for server in servers {
        // A type that does not exist: refused, but by another check.
        let request =
            Request::post("/data", &token).json(r#"{"id":"a","type":"no type","data":{}}"#);
        let known = async || (server.ask("rest", &request).await.status != 401).then_some(());
        until("every front end knows the user", known).await;
    }
    token
}
