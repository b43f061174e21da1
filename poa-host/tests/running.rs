//! A running server: the output of the admin listener, and the effect of signals.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;

use poa_core::{AgentId, Draft, Payload};
use poa_host::{Outcome, Server, Signal, Source};
use serde_json::Value;
use support::served::{Served, ask};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A configuration with this handler and these keys of the receiver.
fn config(folder: &Path, handler: &str, receiver: &str) -> String {
    let data_dir = toml::Value::String(folder.join("data").display().to_string());
    format!(
        "data_dir = {data_dir}\nmetrics = [\"blocks\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[bus]\nengine = \"memory\"\n\
         [stop]\nhandlers = \"5s\"\ndrain = \"100ms\"\n[handlers.front]\n{handler}\n\
         [receivers.local]\nkind = \"box\"\npath = \"x\"\nsubscribe = [\"blocks\"]\n{receiver}\n"
    )
}

const EAR: &str = "kind = \"ear\"\nlisten = \"127.0.0.1:0\"";
const GATED: &str = "kind = \"ear\"\nlisten = \"127.0.0.1:0\"\ngate = \"closed\"";

async fn start(handler: &str, receiver: &str) -> (TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("poa.toml");
    std::fs::write(&file, config(folder.path(), handler, receiver)).unwrap();
    let server = Server::start(Source::File(file), support::registry()).await.unwrap();
    (folder, server)
}

async fn served(handler: &str) -> Served {
    let (folder, server) = start(handler, "").await;
    Served::serve(folder, server)
}

fn warning(status: &Value) -> &str {
    status["warnings"][0].as_str().unwrap_or_default()
}

#[tokio::test]
async fn the_admin_listener_answers() {
    let served = served(EAR).await;
    assert_eq!(ask(&served.admin, "GET", "/health/live").await, (200, "{\"live\":true}".into()));
    assert_eq!(ask(&served.admin, "GET", "/health/ready").await, (200, "{\"ready\":true}".into()));
    let (code, metrics) = ask(&served.admin, "GET", "/metrics").await;
    assert_eq!(code, 200);
    for part in [
        "poa_receiver_backlog_messages{receiver=\"local\"} 0",
        "poa_unrouted_messages_total{} 0",
        "# TYPE poa_unrouted_messages_total counter",
    ] {
        assert_eq!(metrics.matches(part).count(), 1, "{part} in {metrics}");
    }
    let (code, body) = ask(&served.admin, "GET", "/nothing").await;
    assert!(code == 404 && body.contains("/health/ready"), "{code} {body}");
    let (code, body) = ask(&served.admin, "POST", "/status").await;
    assert!(code == 405 && body.contains("needs GET"), "{code} {body}");
    assert_eq!(served.stop().await.exit_code(), 0);
}

#[tokio::test]
async fn the_status_shows_the_plugins_and_no_secret() {
    let served = served(&format!("{EAR}\npassword = \"topsecret\"")).await;
    let status = served.status().await;
    assert_eq!(status["phase"], "ready");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["warnings"], serde_json::json!([]));
    assert_eq!(status["plugins"][0]["name"], "front");
    assert_eq!(status["plugins"][1]["delivery"]["backlog_messages"], 0);
    let (_, metrics) = ask(&served.admin, "GET", "/metrics").await;
    assert!(!format!("{status}{metrics}").contains("topsecret"));
}

#[tokio::test]
async fn the_log_is_the_default_and_keeps_stored_messages() {
    let folder = tempfile::tempdir().unwrap();
    let text = config(folder.path(), EAR, "").replace("engine = \"memory\"", "");
    let source = Source::Text { name: "test", text };
    let server = Server::start(source, support::registry()).await.unwrap();
    let served = Served::serve(folder, server);
    let status = served.status().await;
    assert_eq!((&status["ack"], &status["engine"]), (&"stored".into(), &"log".into()));
    assert_eq!(served.stop().await.exit_code(), 0);
}

#[tokio::test]
async fn the_admin_listener_stays_up_and_is_not_ready_while_draining() {
    let served = served(GATED).await;
    served.tell.send(Signal::Terminate).await.unwrap();
    served.until(|status| status["phase"] == "draining").await;
    let (code, body) = ask(&served.admin, "GET", "/health/ready").await;
    assert!(code == 503 && body.contains("draining"), "{code} {body}");
    assert_eq!(ask(&served.admin, "GET", "/health/live").await.0, 200);
    TcpStream::connect(served.front.as_ref().unwrap()).await.unwrap();
    let outcome = served.run.await.unwrap().unwrap();
    assert_eq!(outcome.exit_code(), 0, "{outcome:?}");
    assert!(TcpStream::connect(&served.admin).await.is_err());
}

#[tokio::test]
async fn a_second_signal_ends_the_server_immediately() {
    for (signal, code) in [(Signal::Interrupt, 130), (Signal::Terminate, 143)] {
        let served = served(GATED).await;
        served.tell.send(Signal::Terminate).await.unwrap();
        served.until(|status| status["phase"] == "draining").await;
        served.tell.send(Signal::Hangup).await.unwrap();
        served.tell.send(signal).await.unwrap();
        let outcome = served.run.await.unwrap().unwrap();
        assert_eq!(outcome, Outcome::Aborted(signal));
        assert_eq!(outcome.exit_code(), code);
    }
}

#[tokio::test]
async fn lost_messages_set_the_exit_code() {
    let (folder, server) = start("kind = \"mute\"", "hang = true").await;
    let host = server.handle();
    let blocks = host.data_types().get("blocks").unwrap().clone();
    let payload = Payload::json(&serde_json::json!({})).unwrap();
    let receipt = host.send_to_receivers(Draft::new(AgentId::new("a").unwrap(), blocks, payload));
    assert!(receipt.is_ok());
    let outcome = Served::serve(folder, server).stop().await;
    let Outcome::Stopped { report, lost: 1 } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(report.undelivered, [("local".to_owned(), 1)]);
    assert_eq!(outcome.exit_code(), 3);
}

#[tokio::test]
async fn a_signal_during_the_start_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = config(folder.path(), "kind = \"never\"", "");
    let (tell, signals) = mpsc::channel(4);
    tell.send(Signal::Interrupt).await.unwrap();
    let ready = |_: &Server| panic!("the server cannot be ready");
    let outcome =
        poa_host::run(Source::Text { name: "test", text }, support::registry(), signals, ready)
            .await;
    assert_eq!(outcome.unwrap().exit_code(), 0);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = taken.local_addr().unwrap();
    let cases = [
        (
            config(folder.path(), &format!("kind = \"ear\"\nlisten = \"{at}\""), ""),
            "handlers.front: cannot listen on",
        ),
        (
            config(folder.path(), EAR, "").replacen("127.0.0.1:0", &at.to_string(), 1),
            "admin: cannot listen on",
        ),
    ];
    for (text, said) in cases {
        let source = Source::Text { name: "test", text };
        let error = Server::start(source, support::registry()).await.unwrap_err();
        let line = poa_host::Chain(&error).to_string();
        assert!(line.starts_with(&format!("{said} {at}")), "{line}");
        assert_eq!(error.exit_code(), 1);
    }
}

#[tokio::test]
async fn a_reload_replaces_the_host_and_keeps_the_admin_listener() {
    let served = served(EAR).await;
    let more = config(served.folder.path(), EAR, "") + "[handlers.second]\nkind = \"mute\"\n";
    served.reload(&more).await;
    let status = served.until(|status| status["plugins"][1]["name"] == "second").await;
    assert_eq!(status["warnings"], serde_json::json!([]));
    served.until(|status| status["phase"] == "ready").await;
    assert_eq!(served.stop().await.exit_code(), 0);
}

#[tokio::test]
async fn a_reload_with_problems_changes_nothing() {
    let served = served(EAR).await;
    let before = served.status().await;
    let bad = config(served.folder.path(), EAR, "")
        .replace("\"blocks\"", "\"block\"")
        .replace("drain", "dain");
    served.reload(&bad).await;
    let after = served.until(|status| !warning(status).is_empty()).await;
    assert!(warning(&after).contains("unknown key `dain`"), "{after}");
    assert_eq!((&after["phase"], &after["started_at"]), (&"ready".into(), &before["started_at"]));
    TcpStream::connect(served.front.as_ref().unwrap()).await.unwrap();

    served.reload(&config(served.folder.path(), EAR, "")).await;
    served.until(|status| status["phase"] == "ready" && warning(status).is_empty()).await;
}

#[tokio::test]
async fn a_reload_that_does_not_start_falls_back() {
    let served = served(EAR).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = taken.local_addr().unwrap();
    served
        .reload(&config(served.folder.path(), &format!("kind = \"ear\"\nlisten = \"{at}\""), ""))
        .await;
    let status =
        served.until(|status| status["phase"] == "ready" && !warning(status).is_empty()).await;
    assert!(
        warning(&status).contains(&format!("handlers.front: cannot listen on {at}")),
        "{status}"
    );
    let endpoint = status["plugins"][0]["endpoints"][0].as_str().unwrap();
    TcpStream::connect(endpoint.trim_start_matches("tcp://")).await.unwrap();
}

/// A server whose receiver needs the file `needed`, which is missing when it is told to reload `more`.
async fn without_what_it_needs() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let needed = folder.path().join("needed");
    std::fs::write(&needed, "").unwrap();
    let receiver = format!("needs = {:?}\nrequired = true", needed.display().to_string());
    let text = config(folder.path(), EAR, &receiver);
    let file = folder.path().join("poa.toml");
    std::fs::write(&file, &text).unwrap();
    let server = Server::start(Source::File(file), support::registry()).await.unwrap();
    let served = Served::serve(folder, server);
    std::fs::remove_file(&needed).unwrap();
    // A changed time to stop replaces the whole host.
    let text = text.replace("100ms", "90ms");
    served.reload(&(text + "[handlers.second]\nkind = \"mute\"\n")).await;
    let status = served.until(|status| warning(status).contains("no messages are accepted")).await;
    assert_eq!(status["phase"], "reloading");
    assert!(warning(&status).contains("the file that it needs is missing"), "{status}");
    served
}

#[tokio::test]
async fn a_server_survives_a_reload_after_which_neither_configuration_starts() {
    let served = without_what_it_needs().await;
    assert_eq!(ask(&served.admin, "GET", "/health/live").await.0, 200);
    assert_eq!(ask(&served.admin, "GET", "/health/ready").await.0, 503);
    std::fs::write(served.folder.path().join("needed"), "").unwrap();
    let status = served.until(|status| status["phase"] == "ready").await;
    assert_eq!((&status["plugins"][1]["name"], warning(&status)), (&"second".into(), ""));
    assert_eq!(status["last_reload"]["result"], "applied");
    assert_eq!(served.stop().await.exit_code(), 0);
}

#[tokio::test]
async fn a_server_that_cannot_reload_can_be_stopped() {
    let served = without_what_it_needs().await;
    assert_eq!(served.stop().await.exit_code(), 0);
}

#[tokio::test]
async fn an_abandoned_plugin_sets_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let text = config(folder.path(), GATED, "").replace("\"5s\"", "\"50ms\"");
    let server = Server::start(Source::Text { name: "test", text }, support::registry()).await;
    let outcome = Served::serve(folder, server.unwrap()).stop().await;
    let Outcome::Stopped { report, lost: 0 } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(report.abandoned, ["handlers.front"]);
    assert_eq!(outcome.exit_code(), 3);
}

#[tokio::test]
async fn a_reload_of_the_same_file_changes_nothing() {
    let served = served(EAR).await;
    let before = served.status().await;
    let same = std::fs::read_to_string(served.folder.path().join("poa.toml")).unwrap();
    served.reload(&same).await;
    let after = served.until(|status| status["last_reload"]["result"] == "unchanged").await;
    assert_eq!(after["started_at"], before["started_at"]);
    let (_, metrics) = ask(&served.admin, "GET", "/metrics").await;
    assert!(metrics.contains("poa_reloads_total{result=\"unchanged\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_reload_that_adds_and_removes_plugins_keeps_the_host() {
    let served = served(EAR).await;
    let before = served.status().await;
    let more = "[handlers.second]\nkind = \"mute\"\n[receivers.more]\nkind = \"box\"\npath = \"y\"\nsubscribe = [\"blocks\"]\n";
    let text = config(served.folder.path(), EAR, "");
    served.reload(&(text.clone() + more)).await;
    let names = |status: &Value| {
        let plugins = status["plugins"].as_array().unwrap().iter();
        plugins.map(|plugin| plugin["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let during = served.until(|status| names(status).len() == 4).await;
    assert_eq!(names(&during), ["front", "second", "local", "more"]);
    served.until(|status| status["last_reload"]["result"] == "applied").await;
    served.reload(&text.replace("path = \"x\"", "path = \"z\"")).await;
    let after = served.until(|status| names(status).len() == 2).await;
    assert_eq!(after["started_at"], before["started_at"]);
    TcpStream::connect(served.front.as_ref().unwrap()).await.unwrap();
    assert_eq!(served.stop().await.exit_code(), 0);
}

#[tokio::test]
async fn a_step_that_fails_undoes_those_before_it() {
    let served = served(EAR).await;
    let before = served.status().await;
    let more = "[handlers.second]\nkind = \"mute\"\n\
         [receivers.more]\nkind = \"box\"\npath = \"y\"\nneeds = \"/nonexistent\"\nrequired = true\nsubscribe = [\"blocks\"]\n";
    served.reload(&(config(served.folder.path(), EAR, "") + more)).await;
    let after = served.until(|status| status["last_reload"]["result"] == "rolled_back").await;
    assert!(
        warning(&after).contains("receivers.more: ") && warning(&after).contains("is missing"),
        "{after}"
    );
    assert_eq!(after["plugins"].as_array().unwrap().len(), 2, "{after}");
    assert_eq!((&after["phase"], &after["started_at"]), (&"ready".into(), &before["started_at"]));
    assert_eq!(served.stop().await.exit_code(), 0);
}

#[tokio::test]
async fn an_admin_listener_that_is_to_move_needs_a_restart() {
    let served = served(EAR).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let moved = config(served.folder.path(), EAR, "").replacen("127.0.0.1:0", &free.to_string(), 1);
    for _ in 0..2 {
        served.reload(&moved).await;
        let status =
            served.until(|status| status["phase"] == "ready" && !warning(status).is_empty()).await;
        assert!(warning(&status).contains("[admin] has changed"), "{status}");
    }
}
