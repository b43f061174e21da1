//! What a handler does for its host.

use std::time::Duration;

use poa_core::{Ack, HandlerPlugin as _};
use poa_exec::{Config, ExecHandler};
use poa_testkit::{Recording, TestHost};
use serde_json::Value;

use crate::{READY, scratch, sh, sh_in};

async fn host(config: Config, recording: &Recording) -> TestHost {
    TestHost::start(|host| {
        let host = host.handler::<ExecHandler>("child", config);
        host.receiver_from("seen", TestHost::options(), recording.factory())
    })
    .await
}

/// What the host answered to each line that the child wrote.
async fn answers(lines: &[&str]) -> (Vec<Value>, Recording) {
    let (dir, recording) = (scratch(), Recording::new());
    let ask: Vec<_> = lines
        .iter()
        .map(|line| format!("echo '{line}'; read -r answer; echo \"$answer\" >> \"$dir/answers\""))
        .collect();
    let end = r#"touch "$dir/done"; read -r stop"#;
    let mut script = vec![READY];
    script.extend(ask.iter().map(String::as_str));
    script.push(end);
    let host = host(sh_in(dir.path(), &script), &recording).await;
    while !dir.path().join("done").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(host.stop().await.is_clean());
    let text = std::fs::read_to_string(dir.path().join("answers")).unwrap();
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), recording)
}

fn send(id: u64, message: &str) -> String {
    format!(r#"{{"type":"send","id":{id},"messages":[{message}]}}"#)
}

#[tokio::test]
async fn each_send_is_answered() {
    let good = send(1, r#"{"agent_id":"a","data_type":"system_metrics","data":{"n": 1.50}}"#);
    let unknown = send(2, r#"{"agent_id":"a","data_type":"weather","data":{}}"#);
    let array = send(3, r#"{"agent_id":"a","data_type":"system_metrics","data":[1]}"#);
    let nobody = send(4, r#"{"agent_id":"","data_type":"system_metrics","data":{}}"#);
    let (answers, recording) = answers(&[&good, &unknown, &array, &nobody, &send(5, "")]).await;
    let texts: Vec<_> = answers.iter().map(ToString::to_string).collect();
    assert_eq!(texts[0], r#"{"id":1,"ok":true,"type":"result"}"#);
    let reasons: Vec<_> =
        answers[1..].iter().map(|answer| answer["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons[0], "messages[0]: unknown data_type `weather`");
    assert_eq!(reasons[1], "messages[0]: data is no object");
    assert!(reasons[2].starts_with("messages[0]: agent_id "), "{reasons:?}");
    assert_eq!(reasons[3], "`messages` holds no message");
    assert!(answers[1..].iter().all(|answer| answer.get("retry_after").is_none()), "{answers:?}");
    let record = recording.record();
    let seen: Vec<_> = record.messages().map(|message| message.payload().bytes().clone()).collect();
    assert_eq!(seen, [r#"{"n": 1.50}"#]);
}

#[tokio::test]
async fn a_repeated_key_is_taken_once() {
    let message = r#"{"agent_id":"a","data_type":"system_metrics","key":"k","data":{}}"#;
    let (answers, recording) = answers(&[&send(1, message), &send(2, message)]).await;
    assert!(answers.iter().all(|answer| answer["ok"] == true), "{answers:?}");
    assert_eq!(recording.record().messages().count(), 1);
}

#[tokio::test]
async fn agents_come_and_go() {
    let recording = Recording::new();
    let ping = r#"echo '{"type":"ping","agent_id":"a"}'"#;
    let bye = r#"echo '{"type":"bye","agent_id":"a"}'"#;
    let host = host(sh(&[READY, ping, bye, "read -r stop"]), &recording).await;
    let record = recording.until(|record| record.activity.len() == 2).await;
    assert!(record.activity[0].active && !record.activity[1].active);
    assert!(host.stop().await.is_clean());
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_delivered() {
    let (dir, recording) = (scratch(), Recording::new());
    let message = send(1, r#"{"agent_id":"a","data_type":"system_metrics","data":{}}"#);
    let script =
        [READY, &format!("echo '{message}'"), r#"read -r line; echo "$line" > "$dir/answer""#];
    let faults = poa_testkit::Faults::every(1, poa_testkit::Fault::Hang);
    let host = TestHost::start(|host| {
        let host =
            host.handler::<ExecHandler>("child", sh_in(dir.path(), &script)).ack(Ack::Delivered);
        let host = host.stop_timeouts(Duration::from_secs(5), Duration::from_millis(100));
        host.receiver_from("stuck", TestHost::options(), faults.around(recording.factory()))
    })
    .await;
    while faults.batches_tried() == 0 {
        tokio::task::yield_now().await;
    }
    let report = host.stop().await;
    assert_eq!(report.abandoned, ["receivers.stuck"]);
    let answer = std::fs::read_to_string(dir.path().join("answer")).unwrap_or_default();
    assert!(!answer.contains("\"ok\":true"), "{answer}");
}

#[tokio::test]
async fn a_child_that_ends_is_started_anew() {
    let (dir, recording) = (scratch(), Recording::new());
    let message = send(1, r#"{"agent_id":"a","data_type":"system_metrics","data":{}}"#);
    let script = [
        READY,
        &format!("echo '{message}'"),
        r#"read -r answer; test -e "$dir/second" || { touch "$dir/second"; exit 3; }"#,
        "read -r stop",
    ];
    let host = host(sh_in(dir.path(), &script), &recording).await;
    recording.messages(2).await;
    let status = host.status("child");
    assert_eq!(status.restarts, 1);
    assert!(
        format!("{status:?}").contains("`sh` ended before it was told to (exit status: 3)"),
        "{status:?}"
    );
    assert!(host.stop().await.is_clean());
}

#[tokio::test]
async fn nonsense_ends_a_handler_too() {
    let recording = Recording::new();
    let host =
        host(sh(&[READY, r#"echo '{"type":"ack","id":1}'"#, "read -r stop"]), &recording).await;
    let wrong = "the child process failed: `sh` wrote a `ack` frame `1`, which nobody waits for; \
                 a handler writes `send`, `ping` and `bye`";
    while !format!("{:?}", host.status("child")).contains(wrong) {
        tokio::task::yield_now().await;
    }
    drop(host);
}

#[tokio::test]
async fn problems_are_found_before_anything_runs() {
    let problems = ExecHandler::validate(&Config::new(Vec::<String>::new()));
    assert_eq!(problems.len(), 1, "{problems:?}");
}
