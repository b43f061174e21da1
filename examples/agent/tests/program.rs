//! The program, from its command line to its exit code.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{Act, FakeServer, ID, PASSWORD, USER, all_well};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

fn agent(server: &FakeServer) -> Command {
    let url = format!("http://{}", server.address);
    let mut command = Command::new(env!("CARGO_BIN_EXE_poa-agent"));
    command.args(["--rest", &url, "--auth", &url, "--user", USER, "--id", ID]);
    command.env_remove("POA_PASSWORD").env("RUST_LOG", "trace").kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn told(output: &Output) -> String {
    [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat()
}

#[tokio::test]
async fn signals_end_it_cleanly_after_a_bye() {
    for kind in [Signal::TERM, Signal::INT] {
        let server = FakeServer::start(all_well).await;
        let child = agent(&server).env("POA_PASSWORD", PASSWORD).spawn().unwrap();
        server.wait_for("/data", 2).await;
        signal(&child, kind);
        let output = child.wait_with_output().await.unwrap();

        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        assert!(
            told(&output).contains("2 sent") && told(&output).contains("said bye"),
            "{}",
            told(&output)
        );
        assert_eq!(server.calls("/bye").len(), 1);
    }
}

#[tokio::test]
async fn neither_password_nor_token_show_in_the_most_detailed_log() {
    let server = FakeServer::start(all_well).await;
    let child = agent(&server).args(["--password", PASSWORD]).spawn().unwrap();
    server.wait_for("/data", 2).await;
    signal(&child, Signal::TERM);
    let told = told(&child.wait_with_output().await.unwrap());

    assert!(told.contains("logged in"), "{told}");
    for secret in [PASSWORD, "YWxpY2U6", "token-0"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_error_with_an_exit_code() {
    let server = FakeServer::start(|_, _| Act::Answer(401, &[], "")).await;
    let output = agent(&server).args(["--password", "wrong-one"]).output().await.unwrap();

    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("refused the user alice"), "{}", told(&output));
    assert!(!told(&output).contains("wrong-one"), "{}", told(&output));
}

#[tokio::test]
async fn a_missing_password_is_an_error_that_names_the_ways_to_give_it() {
    let server = FakeServer::start(all_well).await;
    let output = agent(&server).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("--password-file") && told(&output).contains("POA_PASSWORD"),
        "{}",
        told(&output)
    );
    assert!(server.calls("/session").is_empty());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let server = FakeServer::start(|call, _| match &*call.path {
        "/data" => Act::Answer(503, &[("retry-after", "60")], ""),
        _ => Act::Succeed,
    })
    .await;
    let mut child = agent(&server).env("POA_PASSWORD", PASSWORD).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().unwrap().contains("sending failed") {}
    signal(&child, Signal::TERM);
    // The flush begins with one more attempt: by then the first signal has been seen.
    server.wait_for("/data", 2).await;
    signal(&child, Signal::TERM);

    while !lines.next_line().await.unwrap().unwrap().contains("second signal") {}
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
}
