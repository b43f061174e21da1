//! Receivers in C that block the thread they are called on, and say so.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod compile;

use std::path::Path;
use std::time::{Duration, Instant};

use poa_core::{
    Ack, AgentId, BuildContext, DataTypes, Draft, Format, Host, Message, MessageId, Payload,
    Receiver, ReceiverFactory, ReceiverOptions, Registry, Timestamp,
};
use poa_plugin::host::{Library, settled};

/// `sleeper` sleeps over its first batch, far longer than it may, and never says when it has done; `stuck` never returns at all. What
/// they build takes its time to be dropped, and then leaves a file behind.
const SOURCE: &str = r#"
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <poa_plugin.h>
static int calls;
static void wait_for(long milliseconds) {
    struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
    nanosleep(&time, NULL);
}
static void build(const poa_build *b, poa_call call) {
    char *path = malloc(b->data_dir.len + 9);
    memcpy(path, b->data_dir.data, b->data_dir.len);
    memcpy(path + b->data_dir.len, "/dropped", 9);
    poa_complete(call, POA_OK, NULL, path);
}
static void drop(void *path) {
    wait_for(300);
    fclose(fopen(path, "w"));
    free(path);
}
static void sleeper(void *i, const poa_batch *b, poa_call call) {
    (void)i; (void)b;
    if (calls++ == 0) wait_for(20000);
    else poa_complete(call, POA_OK, NULL, NULL);
}
static void stuck(void *i, const poa_batch *b, poa_call call) { (void)i; (void)b; (void)call; for (;;) pause(); }
static const poa_kind SLEEPER = { .size = sizeof(poa_kind), .role = POA_RECEIVER, .flags = POA_MAY_BLOCK,
    .name = POA_TEXT("sleeper"), .build = build, .drop = drop, .metrics_received = sleeper };
static const poa_kind STUCK = { .size = sizeof(poa_kind), .role = POA_RECEIVER, .flags = POA_MAY_BLOCK,
    .name = POA_TEXT("stuck"), .build = build, .drop = drop, .metrics_received = stuck };
static const poa_kind *const KINDS[] = { &SLEEPER, &STUCK };
const poa_descriptor poa_plugin_descriptor_v1 = { .size = sizeof(poa_descriptor), .abi_major = POA_ABI_MAJOR,
    .name = POA_TEXT("blocking"), .version = POA_TEXT("1"), .kinds = KINDS, .kinds_len = 2 };
"#;

fn library(dir: &Path) -> Library {
    compile::c(dir, "blocking", SOURCE)
}

fn factory(library: &Library, kind: &str) -> ReceiverFactory {
    let registry = library.register(Registry::new());
    registry.receivers()[kind].configure(serde_json::json!({})).unwrap()
}

/// One thread only: if a call blocked it, nothing would ever notice.
fn on_one_thread(work: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(work);
    // Waits for whatever of the host's own is blocked; the library's threads are none of it.
    drop(runtime);
}

#[test]
fn it_blocks_a_thread_of_its_own() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let begin = Instant::now();
        deliver(dir.path(), factory(&library(dir.path()), "sleeper")).await;
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    });
}

async fn deliver(dir: &Path, factory: ReceiverFactory) {
    let options = ReceiverOptions::subscribe(["m"]).timeout(Duration::from_millis(200));
    let host = Host::builder()
        .data_types(["m"])
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .ack(Ack::Delivered)
        .data_dir(dir)
        .receiver_from("r", options, factory)
        .start()
        .await
        .unwrap();
    let handle = host.handle();
    let data_type = handle.data_types().get("m").unwrap().clone();
    let payload = Payload::new(Format::Json, "{}".into());
    let draft = Draft::new(AgentId::new("agent").unwrap(), data_type, payload);
    handle.send_to_receivers(draft).unwrap().await.unwrap();
    let receiver = &handle.status().plugins[0];
    assert_eq!((receiver.restarts, receiver.delivery.unwrap().delivered), (1, 1));
    host.stop().await;
}

fn message() -> Message {
    let data_type = DataTypes::new(["m"]).unwrap().get("m").unwrap().clone();
    let payload = Payload::new(Format::Json, "{}".into());
    let draft = Draft::new(AgentId::new("agent").unwrap(), data_type, payload);
    Message::stamp(draft, MessageId::from_bytes([7; 16]), Timestamp::from_micros(7))
}

/// Gives a receiver a message, and gives it up.
async fn give_up(mut receiver: Box<dyn Receiver>) {
    let batch = [message()];
    let call = receiver.metrics_received(&batch);
    tokio::time::timeout(Duration::from_millis(2), call).await.unwrap_err();
}

#[test]
fn calls_that_never_return_are_counted_and_bounded() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (cx, factory) =
            (BuildContext::detached("r", dir.path()), factory(&library(dir.path()), "stuck"));
        let refused = loop {
            match factory(&cx).await {
                Ok(receiver) => give_up(receiver).await,
                Err(error) => break error.to_string(),
            }
        };
        assert!(refused.contains("16 calls of plugin `blocking` never returned"), "{refused}");
        // The host's own threads are as free as before.
        tokio::task::spawn_blocking(|| {}).await.unwrap();
        assert_eq!(settled(Duration::ZERO).await, 16);
    });
}

#[test]
fn whoever_waits_finds_an_instance_dropped() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let cx = BuildContext::detached("r", dir.path());
        drop(factory(&library(dir.path()), "sleeper")(&cx).await.unwrap());
        assert_eq!(settled(Duration::from_secs(30)).await, 0);
        assert!(dir.path().join("dropped").exists());
    });
}
