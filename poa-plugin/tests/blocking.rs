//! A receiver in C that blocks the thread it is called on, and says so.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use poa_core::{Ack, AgentId, Draft, Engine, Format, Host, Payload, ReceiverOptions, Registry};
use poa_plugin::host::Library;

/// Sleeps over its first batch, far longer than it may, and never says when it has done.
const SLEEPER: &str = r#"
#define _POSIX_C_SOURCE 200809L
#include <time.h>
#include <poa_plugin.h>
static int calls;
static void build(const poa_build *b, poa_call call) { (void)b; poa_complete(call, POA_OK, NULL, NULL); }
static void received(void *i, const poa_batch *b, poa_call call) {
    struct timespec time = { 20, 0 };
    (void)i; (void)b;
    if (calls++ == 0) nanosleep(&time, NULL);
    else poa_complete(call, POA_OK, NULL, NULL);
}
static const poa_kind KIND = { .size = sizeof(poa_kind), .role = POA_RECEIVER, .flags = POA_MAY_BLOCK,
    .name = POA_TEXT("sleeper"), .build = build, .metrics_received = received };
static const poa_kind *const KINDS[] = { &KIND };
const poa_descriptor poa_plugin_descriptor_v1 = { .size = sizeof(poa_descriptor), .abi_major = POA_ABI_MAJOR,
    .name = POA_TEXT("sleeper"), .version = POA_TEXT("1"), .kinds = KINDS, .kinds_len = 1 };
"#;

fn sleeper(dir: &Path) -> Library {
    let (source, library) = (dir.join("sleeper.c"), dir.join("sleeper.so"));
    std::fs::write(&source, SLEEPER).unwrap();
    let output = Command::new("cc")
        .args(["-std=c99", "-shared", "-fPIC", "-I"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
        .arg("-o")
        .args([&library, &source])
        .output()
        .unwrap_or_else(|error| panic!("install a C compiler as `cc`: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Library::load(&library).unwrap()
}

/// One thread only: if the call blocked it, nothing would ever notice.
#[test]
fn it_blocks_a_thread_of_its_own() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(deliver());
    runtime.shutdown_background();
}

async fn deliver() {
    let dir = tempfile::tempdir().unwrap();
    let registry = sleeper(dir.path()).register(Registry::new());
    let factory = registry.receivers()["sleeper"].configure(serde_json::json!({})).unwrap();
    let options = ReceiverOptions::subscribe(["m"]).timeout(Duration::from_millis(200));
    let host = Host::builder()
        .metrics(["m"])
        .engine(Engine::Memory)
        .ack(Ack::Delivered)
        .data_dir(dir.path())
        .receiver_from("r", options, factory)
        .start()
        .await
        .unwrap();
    let handle = host.handle();
    let data_type = handle.data_types().get("m").unwrap().clone();
    let payload = Payload::new(Format::Json, "{}".into());
    let draft = Draft::new(AgentId::new("agent").unwrap(), data_type, payload);
    let begin = Instant::now();
    handle.send_to_receivers(draft).unwrap().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    let receiver = &handle.status().plugins[0];
    assert_eq!((receiver.restarts, receiver.delivery.unwrap().delivered), (1, 1));
    host.stop().await;
}
