//! A message that ends the process each time it is delivered does not end it for ever.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use poa_core::{
    Ack, AgentId, BuildContext, DeliveryError, Draft, Engine, Host, Message, Payload, Receiver,
    ReceiverFactory, ReceiverOptions, async_trait,
};
use poa_dead_letters::{DeadLetterStore, Which};

const DIR: &str = "POA_TEST_CRASH_DIR";
const NAME: &str = "a_message_that_ends_the_process_is_set_aside_and_the_others_are_delivered";
const COUNT: u64 = 20;
const DEADLY: u64 = 13;

#[derive(serde::Serialize, serde::Deserialize)]
struct Numbered {
    n: u64,
}

/// Writes down what it gets, and ends the process at one number.
struct Deadly(std::fs::File);

#[async_trait]
impl Receiver for Deadly {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let numbers = batch.iter().map(|message| message.payload().read::<Numbered>().unwrap().n);
        let numbers: Vec<_> = numbers.collect();
        if numbers.contains(&DEADLY) {
            std::process::abort();
        }
        for n in numbers {
            writeln!(self.0, "{n}").map_err(DeliveryError::transient)?;
        }
        Ok(())
    }
}

/// The process that dies: sends its messages the first time, and ends well once all are dealt with.
#[tokio::main]
async fn child(dir: &Path) {
    let got = dir.join("got");
    let factory: ReceiverFactory = Arc::new(move |_: &BuildContext| {
        let file = std::fs::File::options().create(true).append(true).open(&got).unwrap();
        Box::pin(async { Ok(Box::new(Deadly(file)) as Box<dyn Receiver>) })
    });
    let store = DeadLetterStore::open(dir.join("dead.db"), 1 << 20).unwrap();
    let host = Host::builder()
        .metrics(["m"])
        .data_dir(dir)
        .engine(Engine::Log)
        .ack(Ack::Stored)
        .dead_letters(Arc::new(store))
        .receiver_from("deadly", ReceiverOptions::subscribe(["m"]), factory)
        .start()
        .await
        .unwrap();
    let handle = host.handle();
    if std::fs::File::create_new(dir.join("sent")).is_ok() {
        let data_type = handle.data_types().get("m").unwrap();
        let draft = |n| {
            let payload = Payload::json(&Numbered { n }).unwrap();
            Draft::new(AgentId::new("agent").unwrap(), data_type.clone(), payload)
        };
        // One call, so that all of them are in the log before any is delivered.
        let all = (0..COUNT).map(draft).collect();
        let receipt = handle.context("test").send_all_to_receivers(all).unwrap();
        receipt.await.unwrap();
    }
    assert!(host.stop().await.is_clean());
}

#[test]
fn a_message_that_ends_the_process_is_set_aside_and_the_others_are_delivered() {
    if let Some(dir) = std::env::var_os(DIR) {
        return child(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let run = || {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", NAME]).env(DIR, dir.path()).output().unwrap().status.success()
    };
    // With its batch, then twice alone.
    let ends: Vec<_> = (0..4).map(|_| run()).collect();
    assert_eq!(ends, [false, false, false, true]);

    let store = DeadLetterStore::open(dir.path().join("dead.db"), 1 << 20).unwrap();
    let letters = store.list(&Which::All).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "the process ended each time it was delivered");
    assert_eq!(store.show(letters[0].id).unwrap().unwrap().payload, br#"{"n":13}"#);

    let got = std::fs::read_to_string(dir.path().join("got")).unwrap();
    let mut got: Vec<u64> = got.lines().map(|line| line.parse().unwrap()).collect();
    got.sort_unstable();
    got.dedup();
    assert_eq!(got, (0..COUNT).filter(|n| *n != DEADLY).collect::<Vec<_>>());
}
