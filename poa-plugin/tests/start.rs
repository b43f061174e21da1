//! Receivers in C that start, do work of their own, and send.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod compile;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use poa_core::{ReceiverFactory, Registry};
use poa_plugin::host::settled;
use poa_testkit::{Recording, TestHost, receiver_contract};
use serde_json::{Value, json};
use tempfile::TempDir;

const SOURCE: &str = include_str!("fixtures/derive.c");

/// The receiver, and the log of its calls.
struct Derive {
    dir: TempDir,
    factory: ReceiverFactory,
}

impl Derive {
    fn compile(source: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kinds = compile::c(dir.path(), "derive", source).register(Registry::new());
        let config = json!({ "log": log_in(dir.path()) });
        let factory = kinds.receivers()["derive"].configure(config).unwrap();
        Self { dir, factory }
    }

    /// A host with it, and a recording of the messages it sends.
    async fn host(&self) -> (TestHost, Recording) {
        let recording = Recording::new();
        let options = || TestHost::options().timeout(Duration::from_secs(60));
        let host = TestHost::start(|host| {
            let host = host.receiver_from("r", options(), self.factory.clone());
            host.receiver_from("beside", options(), recording.factory())
        });
        (host.await, recording)
    }

    /// The calls, once the library has ended everything.
    async fn calls(&self) -> Vec<String> {
        assert_eq!(settled(Duration::from_secs(60)).await, 0);
        let text = std::fs::read_to_string(log_in(self.dir.path())).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn log_in(dir: &Path) -> PathBuf {
    dir.join("calls")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_started_receiver_sends_until_it_is_removed() {
    let derive = Derive::compile(SOURCE);
    let (host, recording) = derive.host().await;
    for (n, message) in recording.messages(3).await.iter().take(3).enumerate() {
        let data: Value = message.payload().read().unwrap();
        assert_eq!(data, json!({ "from": "r", "n": n }));
        assert_eq!(message.data_type().name(), "networking_metrics");
    }
    host.handle().remove_receiver("r").await.unwrap();
    // The host still runs; its thread alone is refused, and still exists when it is.
    assert_eq!(derive.calls().await, ["start", "one at a time", "shutdown", "refused", "drop"]);
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_that_sends_after_the_end_of_the_host_is_refused() {
    let derive = Derive::compile(SOURCE);
    let (host, recording) = derive.host().await;
    recording.messages(1).await;
    assert!(host.stop().await.is_clean());
    let calls = derive.calls().await;
    assert_eq!((&*calls[0], &*calls[calls.len() - 1]), ("start", "drop"));
    for call in ["refused", "shutdown"] {
        assert_eq!(calls.iter().filter(|made| *made == call).count(), 1, "{calls:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_is_an_instance_that_fails() {
    let derive = Derive::compile(&format!("#define FAILURES 2\n{SOURCE}"));
    let (host, recording) = derive.host().await;
    recording.messages(1).await;
    assert_eq!(host.status("r").restarts, 2);
    assert!(host.stop().await.is_clean());
    let calls = derive.calls().await;
    assert_eq!(calls.iter().filter(|call| *call == "start").count(), 3, "{calls:?}");
    assert_eq!(calls.iter().filter(|call| *call == "drop").count(), 3, "{calls:?}");
}

/// As with a host that does not pass on `start`.
#[test]
fn the_contract_detects_a_receiver_that_is_never_started() {
    let without =
        SOURCE.replace("    .start = start,\n", "").replace("static void start(", "void start(");
    let derive = Derive::compile(&without);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let check = receiver_contract(derive.factory.clone(), async || Vec::new());
    let panic = catch_unwind(AssertUnwindSafe(|| runtime.block_on(check))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(
        text.contains("has to be accepted, and is not") && text.contains("not started"),
        "{text}"
    );
}
