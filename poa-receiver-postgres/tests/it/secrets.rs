//! The password is never shown.

use std::io::Write;
use std::sync::{Arc, Mutex};

use poa_core::{BuildContext, Plugin, Receiver};
use poa_receiver_postgres::{Config, Postgres};
use poa_testkit::Samples;

use crate::common::Database;

/// The log output of everything that runs on this thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Until the guard is dropped.
    pub(crate) fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_output_contains_the_password() {
    let log = Log::default();
    let _guard = log.listen();

    let database = Database::shared().await;
    let (login, place) = database.url.split_once('@').unwrap();
    let password = login.rsplit_once(':').unwrap().1;
    let cx = BuildContext::detached("store", std::env::temp_dir());
    let mut said = String::new();
    let wrong = format!("{}{password}x@{place}", login.strip_suffix(password).unwrap());
    for url in [
        wrong,
        format!("postgres://u:{password}@127.0.0.1:1/d"),
        format!("postgres://u:{password}@:{password}/d"),
    ] {
        let config = Config::new(url);
        said += &format!("{config:?} {:?}", Postgres::validate(&config));
        said += &format!("{:?}", Postgres::build(config, &cx).await.unwrap_err());
    }
    let mut receiver = Postgres::build(database.config(), &cx).await.unwrap();
    said += &format!("{receiver:?} {:?}", database.config());
    database.execute("DROP TABLE metrics CASCADE; ALTER TABLE eth_stats RENAME TO elsewhere").await;
    let mut samples = Samples::default();
    let broken = samples.json("a1", "system_metrics", "{");
    said += &format!("{:?}", receiver.metrics_received(&[broken]).await.unwrap_err());
    receiver.metrics_received(&[samples.json("a1", "system_metrics", "{}")]).await.unwrap();
    database.execute("ALTER TABLE metrics RENAME COLUMN body TO data").await;
    let refused = receiver.metrics_received(&[samples.json("a1", "system_metrics", "{}")]).await;
    said += &format!("{:?}", refused.unwrap_err());

    let log = log.text();
    assert!(log.contains("tables are missing"), "{log}");
    assert!(said.contains("127.0.0.1"), "{said}");
    assert!(!log.contains(password) && !said.contains(password), "{said}{log}");
}
