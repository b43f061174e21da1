//! No child outlives its receiver.

use std::path::Path;
use std::time::Duration;

use poa_core::Receiver as _;
use poa_testkit::Samples;
use rustix::process::{Pid, test_kill_process};

use crate::{ACK, NEXT, READY, build, scratch, sh_in};

/// The number that a script wrote into a file, once it has.
async fn pid(path: &Path) -> Pid {
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if let Some(pid) = text.strip_suffix('\n').and_then(|text| text.parse().ok()) {
            return Pid::from_raw(pid).unwrap();
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until a process has ended.
async fn gone(pid: Pid) {
    let ended = async {
        while runs(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the process ends");
}

/// Whether it runs. An orphan that is not reaped still exists, but does not run.
fn runs(pid: Pid) -> bool {
    match std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) {
        Ok(stat) => !stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")),
        Err(_) => test_kill_process(pid).is_ok(),
    }
}

#[tokio::test]
async fn a_hung_child_goes_with_the_call() {
    let dir = scratch();
    let tell = r#"echo $$ > "$dir/child"; sleep 1000 & echo $! > "$dir/grandchild"; wait"#;
    let mut receiver = build(sh_in(dir.path(), &[READY, NEXT, tell])).await.unwrap();
    let messages = [Samples::default().json("a", "system_metrics", "{}")];
    let (child, grandchild) = (dir.path().join("child"), dir.path().join("grandchild"));
    let hung = tokio::time::timeout(Duration::from_secs(600), receiver.metrics_received(&messages));
    tokio::select! {
        result = hung => panic!("{result:?}"),
        _ = pid(&grandchild) => {}
    }
    for left in [child, grandchild] {
        gone(pid(&left).await).await;
    }
}

#[tokio::test]
async fn a_receiver_that_is_dropped_leaves_nothing() {
    let dir = scratch();
    let script = [READY, r#"echo $$ > "$dir/child""#, "read -r line"];
    let receiver = build(sh_in(dir.path(), &script)).await.unwrap();
    let child = pid(&dir.path().join("child")).await;
    drop(receiver);
    gone(child).await;
}

#[tokio::test]
async fn a_child_is_told_to_stop_and_may_finish() {
    let dir = scratch();
    let script = [
        READY,
        NEXT,
        ACK,
        "read -r stop",
        r#"echo "$stop" > "$dir/stop"; read -r more || echo end >> "$dir/stop""#,
    ];
    let mut receiver = build(sh_in(dir.path(), &script)).await.unwrap();
    let messages = [Samples::default().json("a", "system_metrics", "{}")];
    receiver.metrics_received(&messages).await.unwrap();
    receiver.terminate().await;
    let told = std::fs::read_to_string(dir.path().join("stop")).unwrap();
    assert_eq!(told, "{\"type\":\"stop\"}\nend\n");
}

#[tokio::test]
async fn a_child_that_does_not_stop_is_made_to() {
    let dir = scratch();
    let script = [
        r#"trap 'echo asked > "$dir/asked"' TERM"#,
        READY,
        r#"echo $$ > "$dir/child""#,
        "while true; do sleep 1000; done",
    ];
    let mut config = sh_in(dir.path(), &script);
    config.stop_timeout = poa_core::config::Duration::from_millis(50);
    let mut receiver = build(config).await.unwrap();
    let child = pid(&dir.path().join("child")).await;
    receiver.terminate().await;
    gone(child).await;
    assert_eq!(std::fs::read_to_string(dir.path().join("asked")).unwrap(), "asked\n");
}
