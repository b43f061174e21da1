//! A handler and its host.

use std::time::Duration;

use poa_core::{Ack, Plugin as _};
use poa_exec::{Config, ExecHandler};
use poa_testkit::{Fault, Faults, Recording, TestHost};
use serde_json::Value;

use crate::{READY, scratch, sh, sh_in};

async fn host(config: Config, recording: &Recording) -> TestHost {
    TestHost::start(|host| {
        let host = host.handler::<ExecHandler>("child", config);
        host.receiver_from("seen", TestHost::options(), recording.factory())
    })
    .await
}

/// Waits, in any kind of time.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let limit = std::time::Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(std::time::Instant::now() < limit, "within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The host's answers to the lines that the child wrote.
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
    until("the last answer", || dir.path().join("done").exists()).await;
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
    assert_eq!(reasons[1], "messages[0]: expected an object, found an array");
    assert!(reasons[2].starts_with("messages[0]: agent_id "), "{reasons:?}");
    assert_eq!(reasons[3], "`messages` is empty");
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
    let faults = Faults::every(1, Fault::Hang);
    let host = TestHost::start(|host| {
        let host =
            host.handler::<ExecHandler>("child", sh_in(dir.path(), &script)).ack(Ack::Delivered);
        let host = host.stop_timeouts(Duration::from_secs(5), Duration::from_millis(100));
        host.receiver_from("stuck", TestHost::options(), faults.around(recording.factory()))
    })
    .await;
    until("the receiver has it", || faults.batches_tried() > 0).await;
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
    let wrong = "the child process failed: `sh` wrote a `ack` frame `1`, which was not expected; \
                 a handler writes `send`, `ping`, `bye` and `alive`";
    until(wrong, || format!("{:?}", host.status("child")).contains(wrong)).await;
    drop(host);
}

/// A `send` of one message with this data.
fn send_data(id: u64, data: &str) -> String {
    send(id, &format!(r#"{{"agent_id":"a","data_type":"system_metrics","data":{data}}}"#))
}

#[tokio::test]
async fn what_a_stranger_made_a_child_write_does_not_end_it() {
    let (deep, deepest) = (nested(129), nested(128));
    let lines = [
        send_data(1, r#"{"n":NaN}"#),
        send_data(2, r#"{"n":-Infinity}"#),
        send_data(3, &deep),
        send_data(4, r#"{"text":"\ud800"}"#),
        send(5, r#"{"agent_id":null,"data_type":"system_metrics","data":{}}"#),
        send_data(6, &deepest),
    ];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let (answers, recording) = answers(&lines).await;
    let reason = |index: usize| {
        assert_eq!(answers[index]["id"], index + 1);
        assert_eq!(answers[index].get("retry_after"), None, "{answers:?}");
        answers[index]["reason"].as_str().unwrap()
    };
    let shape = "it is not a JSON object of the right shape: ";
    assert!(reason(0).starts_with(&format!("{shape}expected value at line 1 ")), "{answers:?}");
    assert!(reason(1).starts_with(&format!("{shape}invalid number at line 1 ")), "{answers:?}");
    assert!(reason(2).contains("nested deeper than 128 levels"), "{answers:?}");
    assert!(reason(3).contains("lone surrogate in a string"), "{answers:?}");
    assert!(reason(4).starts_with(&format!("{shape}invalid type: null")), "{answers:?}");
    assert_eq!(answers[5]["ok"], true, "{answers:?}");
    assert_eq!(recording.record().messages().count(), 1);
}

/// An object of so many levels.
fn nested(levels: usize) -> String {
    "{\"a\":".repeat(levels - 1) + "{}" + &"}".repeat(levels - 1)
}

#[tokio::test]
async fn a_child_that_promised_to_is_heard_of_or_hangs() {
    let recording = Recording::new();
    let greet = r#"read -r hello; echo '{"type":"ready","protocol":1,"heartbeat":1}'"#;
    // It says something for longer than a second, and then no more.
    let alive = r#"for n in 1 2 3 4 5 6; do echo '{"type":"alive"}'; sleep 0.25; done"#;
    let host = host(sh(&[greet, alive, "read -r stop"]), &recording).await;
    let begin = std::time::Instant::now();
    let wrong = "`sh` hangs: it promised a heartbeat every 1s and sent none";
    until(wrong, || format!("{:?}", host.status("child")).contains(wrong)).await;
    assert!(begin.elapsed() > Duration::from_secs(2), "{:?}", begin.elapsed());
    drop(host);
}

#[tokio::test]
async fn of_what_is_not_answered_there_is_so_much() {
    let (recording, faults) = (Recording::new(), Faults::every(1, Fault::Hang));
    let message = send_data(1, "{}");
    let script = [READY, &format!("for n in $(seq 3000); do echo '{message}'; done"), "read -r x"];
    let host = TestHost::start(|host| {
        let host = host.handler::<ExecHandler>("child", sh(&script)).ack(Ack::Delivered);
        host.receiver_from("stuck", TestHost::options(), faults.around(recording.factory()))
    })
    .await;
    let taken = || host.status("stuck").delivery.map_or(0, |delivery| delivery.backlog_messages);
    until("a thousand are taken", || taken() >= 1000).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(taken(), 1000);
    drop(host);
}

#[tokio::test]
async fn a_child_that_reads_no_answers_is_not_heard_for_ever_and_ends() {
    let dir = scratch();
    let refused = send(1, "");
    let script = [
        READY,
        &format!("for n in $(seq 60000); do echo '{refused}'; done"),
        r#"touch "$dir/wrote_all""#,
        "sleep 1000",
    ];
    let recording = Recording::new();
    let host = host(sh_in(dir.path(), &script), &recording).await;
    // Its answers fill the pipe. Were it heard without them, it would be done by then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    tokio::time::pause();
    let wrong = "`sh` did not read its input within 1m";
    until(wrong, || format!("{:?}", host.status("child")).contains(wrong)).await;
    assert!(!dir.path().join("wrote_all").exists());
    drop(host);
}

#[tokio::test]
async fn problems_are_found_before_anything_runs() {
    let problems = ExecHandler::validate(&Config::new(Vec::<String>::new()));
    assert_eq!(problems.len(), 1, "{problems:?}");
}
