//! A plugin in C++ that throws.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod compile;

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use poa_core::{
    AgentId, BuildContext, DataTypes, DeliveryError, Draft, Format, Message, MessageId, Payload,
    Registry, Timestamp,
};

const SOURCE: &str = r#"
#include <stdexcept>
#include <poa_plugin.h>
static void build(const poa_build *, poa_call call) { poa_complete(call, POA_OK, nullptr, nullptr); }
static void wild(void *, const poa_batch *, poa_call) { throw std::runtime_error("thrown"); }
static void guarded(void *, const poa_batch *, poa_call call) noexcept {
    poa_guard(call, [] { throw std::runtime_error("thrown"); });
}
static const poa_kind WILD = { .size = sizeof(poa_kind), .role = POA_RECEIVER, .flags = 0, .name = POA_TEXT("wild"),
    .build = build, .metrics_received = wild };
static const poa_kind GUARDED = { .size = sizeof(poa_kind), .role = POA_RECEIVER, .flags = 0, .name = POA_TEXT("guarded"),
    .build = build, .metrics_received = guarded };
static const poa_kind *const KINDS[] = { &WILD, &GUARDED };
extern "C" POA_EXPORT const poa_descriptor poa_plugin_descriptor_v1 = { sizeof(poa_descriptor), POA_ABI_MAJOR, 0,
    POA_TEXT("throwing"), POA_TEXT("1"), KINDS, 2, nullptr };
"#;

/// Gives a message to a receiver of this kind.
async fn deliver(kind: &str) -> Result<(), DeliveryError> {
    let dir = tempfile::tempdir().unwrap();
    let registry = compile::cpp(dir.path(), "throwing", SOURCE).register(Registry::new());
    let factory = registry.receivers()[kind].configure(serde_json::json!({})).unwrap();
    let cx = BuildContext::detached("r", dir.path());
    let mut receiver = factory(&cx).await.unwrap();
    let data_type = DataTypes::new(["m"]).unwrap().get("m").unwrap().clone();
    let payload = Payload::new(Format::Json, "{}".into());
    let draft = Draft::new(AgentId::new("agent").unwrap(), data_type, payload);
    let message = Message::stamp(draft, MessageId::from_bytes([7; 16]), Timestamp::from_micros(7));
    receiver.metrics_received(&[message]).await
}

#[tokio::test]
async fn an_exception_that_is_caught_is_a_panic_of_the_plugin() {
    let panic = tokio::spawn(deliver("guarded")).await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "thrown");
}

const AGAIN: &str = "POA_TEST_THROW";

#[tokio::test]
async fn an_exception_that_leaves_the_plugin_ends_the_process_and_is_named() {
    if std::env::var_os(AGAIN).is_some() {
        let _ = deliver("wild").await;
        unreachable!("the process has ended");
    }
    let name = "an_exception_that_leaves_the_plugin_ends_the_process_and_is_named";
    let mut again = Command::new(std::env::current_exe().unwrap());
    let output = again.args(["--exact", name, "--nocapture"]).env(AGAIN, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "{said}");
    assert!(
        said.contains("an exception left the function `metrics_received` of plugin `throwing`"),
        "{said}"
    );
}
