//! Plugins in shared libraries, built outside the workspace, in a real server: no message is lost, whatever happens to the
//! server and to them.
//!
//! `POA_TEST_MESSAGES` sets how many messages go through all of them (100,000 if not set), those that misbehave included.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use poa_core::{BuildContext, HandlerFactory, ReceiverContext, ReceiverFactory, Registry};
use poa_host::Library;
use poa_testkit::{Samples, handler_contract, receiver_contract};
use poa_tests::{Home, METRICS, Request, Server, program, soon, sqlite, until};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections to the handler, each with an agent of its own.
const CLIENTS: usize = 64;
/// How often the server is killed meanwhile.
const KILLS: usize = 4;

/// A library of the examples.
fn library(name: &str) -> PathBuf {
    let built = std::env::var_os("POA_TEST_PLUGINS").unwrap_or_else(|| {
        panic!("set POA_TEST_PLUGINS to the directory of the example plugins, or run `cargo xtask test`")
    });
    PathBuf::from(built).join(format!("lib{name}.so"))
}

/// The entry that loads it.
fn load(name: &str) -> String {
    format!("[[plugins]]\npath = {:?}\n", library(name))
}

fn receiver(name: &str, kind: &str, more: &str) -> String {
    format!("[receivers.{name}]\nkind = {kind:?}\nsubscribe = {METRICS:?}\n{more}\n")
}

fn messages() -> usize {
    std::env::var("POA_TEST_MESSAGES").map_or(100_000, |count| count.parse().unwrap())
}

/// All of the foreign plugins, and where they write.
fn all_of_them() -> Home {
    let sections = [
        "[handlers.tcp]\nkind = \"tcp\"\nlisten = \"127.0.0.1:0\"\n".to_owned(),
        receiver("rust", "lines", "path = \"rust.ndjson\""),
        receiver("c", "ndjson", "path = \"c.ndjson\""),
        load("plugin_tcp"),
        load("plugin_lines"),
        load("ndjson"),
    ];
    Home::with(&sections.concat())
}

/// Two more, which misbehave every few seconds, and are restarted for it.
fn unruly_ones() -> String {
    let faults = "panic_at = 3\nwait_at = 5\nblock_at = 7\npanic_on_drop = true\ncalm = 5\ntimeout = \"500ms\"";
    let sections = [
        receiver("wild", "unruly", faults),
        receiver("wild_c", "unruly_c", "calm = 5\ntimeout = \"1s\""),
        load("plugin_unruly"),
        load("unruly"),
    ];
    sections.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_server_is_killed() {
    let home = all_of_them();
    let text = fs::read_to_string(home.config()).unwrap() + &unruly_ones();
    fs::write(home.config(), text).unwrap();
    let mut server = Server::start(&home).await;
    let token = server.login().await;
    let (place, places) = watch::channel(Some(server.address("tcp").to_owned()));
    let each = messages() / CLIENTS;
    let begin = Instant::now();
    let mut senders: JoinSet<_> =
        (0..CLIENTS).map(|agent| send(agent, each, token.clone(), places.clone())).collect();
    for n in 1..=KILLS {
        written(&home, "rust.ndjson", n * each * CLIENTS / (KILLS + 2)).await;
        server.kill().await;
        place.send_replace(None);
        server = Server::start(&home).await;
        place.send_replace(Some(server.address("tcp").to_owned()));
    }
    while let Some(sent) = senders.join_next().await {
        sent.unwrap();
    }
    let sent = begin.elapsed();
    let mut restarts = Vec::new();
    for receiver in ["rust", "c", "wild", "wild_c"] {
        drained(&server, receiver).await;
        restarts.push(server.plugin(receiver).await["restarts"].clone());
    }
    println!(
        "{} messages, {KILLS} kills: taken in {sent:.1?}, delivered in {:.1?}; restarts since the last one {restarts:?}",
        each * CLIENTS,
        begin.elapsed()
    );
    server.stop().await;
    for file in ["rust.ndjson", "c.ndjson"] {
        check_lines(&home, file, each);
    }
    for file in ["unruly.txt", "unruly-c.txt"] {
        check_unruly(&home, file, each * CLIENTS);
    }
    let log = home.log();
    for told in ["told to panic at batch", "which was completed before or never made"] {
        assert!(log.contains(told), "{told}: {log}");
    }
}

/// Waits until the file has about so many messages of 100 bytes each.
async fn written(home: &Home, file: &str, messages: usize) {
    let file = home.data(file);
    while fs::metadata(&file).map_or(0, |file| file.len()) < messages as u64 * 100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for as long as a million messages may take.
async fn drained(server: &Server, receiver: &str) {
    while server.plugin(receiver).await["delivery"]["backlog_messages"] != 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sends an agent's messages, each until it is acknowledged, wherever the handler is.
async fn send(
    agent: usize,
    count: usize,
    token: String,
    mut places: watch::Receiver<Option<String>>,
) {
    let mut sent = 0;
    while sent < count {
        let address = places.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        // Broken off by a kill: again from there, with the same key.
        if let Ok(stream) = TcpStream::connect(address).await {
            stream.set_nodelay(true).unwrap();
            let _ = converse(stream, agent, &mut sent, count, &token).await;
        }
        tokio::task::yield_now().await;
    }
}

/// Asks and is answered; `sent` is what was acknowledged.
async fn converse(
    stream: TcpStream,
    agent: usize,
    sent: &mut usize,
    count: usize,
    token: &str,
) -> std::io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut answers = BufReader::new(input).lines();
    while *sent < count {
        let n = *sent;
        let line = format!("{token} agent-{agent} system_metrics key-{n} {{\"n\":{n}}}\n");
        output.write_all(line.as_bytes()).await?;
        match answers.next_line().await?.as_deref() {
            Some("ok") => *sent += 1,
            Some("later") => tokio::time::sleep(Duration::from_millis(5)).await,
            Some(answer) => panic!("{answer}"),
            None => break,
        }
    }
    Ok(())
}

/// Every message of every agent is there, once, whatever a crash has cut or repeated.
fn check_lines(home: &Home, file: &str, each: usize) {
    let text = fs::read_to_string(home.data(file)).unwrap();
    let mut found: BTreeMap<String, BTreeMap<u64, Vec<String>>> = BTreeMap::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        let numbers = found.entry(text("agent_id")).or_default();
        numbers.entry(line["data"]["n"].as_u64().unwrap()).or_default().push(text("message_id"));
    }
    assert_eq!(found.len(), CLIENTS, "{file}");
    for (agent, numbers) in found {
        assert_eq!(numbers.len(), each, "{file}: {agent} lost messages");
        let doubled: Vec<_> = numbers.iter().filter(|(_, ids)| ids.len() != 1).collect();
        assert!(doubled.is_empty(), "{file}: {agent}: {doubled:?} stand there twice");
    }
}

/// Sends `count` messages in calls of 500 over REST.
async fn send_by_rest(server: &Server, count: usize) {
    let token = server.login().await;
    let mut client = server.client().await;
    let numbers: Vec<_> = (0..count).collect();
    for call in numbers.chunks(500) {
        let message = |n: &usize| {
            format!(
                r#"{{"id":"agent-0","type":"system_metrics","data":{{"type":"t","body":{{"n":{n}}}}}}}"#
            )
        };
        let body: Vec<_> = call.iter().map(message).collect();
        let request = Request::post("/data", &token).json(&format!("[{}]", body.join(",")));
        let answer = soon("an answer", client.exchange(&request.bytes())).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// The ids in a file of `id agent data` lines are those of `count` messages; a crash may have cut a line, whose message came again.
fn check_unruly(home: &Home, file: &str, count: usize) {
    let text = fs::read_to_string(home.data(file)).unwrap();
    let whole = text.lines().filter(|line| line.ends_with('}'));
    let ids: BTreeSet<_> = whole.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(ids.len(), count, "{file}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_panics_waits_and_blocks_is_restarted() {
    const COUNT: usize = 20_000;
    let faults = "panic_at = 37\nwait_at = 53\nblock_at = 71\npanic_on_drop = true\n\
        timeout = \"300ms\"\nbatch = { size = 100, linger = \"1ms\" }";
    let unruly = receiver("unruly", "unruly", faults);
    let home =
        Home::with(&[sqlite("local", "metrics.db", ""), unruly, load("plugin_unruly")].concat());
    let server = Server::start(&home).await;
    send_by_rest(&server, COUNT).await;
    server.drained("local").await;
    server.drained("unruly").await;
    let plugin = server.plugin("unruly").await;
    assert!(plugin["restarts"].as_u64() >= Some(6), "{plugin}");
    assert_eq!(plugin["delivery"]["dead_lettered"], 0, "{plugin}");
    assert_eq!(server.plugin("local").await["restarts"], 0);
    server.stop().await;
    check_unruly(&home, "unruly.txt", COUNT);
    let log = home.log();
    assert!(log.contains("panicked: told to panic at batch 37"), "{log}");
    assert!(log.contains("panicked while it was dropped"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_calls_back_late_and_twice_harms_nobody() {
    const COUNT: usize = 10_000;
    let slow = "timeout = \"400ms\"\nbatch = { size = 1000, linger = \"1ms\" }";
    let home = Home::with(&[receiver("unruly", "unruly_c", slow), load("unruly")].concat());
    let server = Server::start(&home).await;
    send_by_rest(&server, COUNT).await;
    server.drained("unruly").await;
    let plugin = server.plugin("unruly").await;
    assert!(plugin["restarts"].as_u64() >= Some(1), "{plugin}");
    server.stop().await;
    check_unruly(&home, "unruly-c.txt", COUNT);
    let log = home.log();
    assert!(log.contains("which was completed before or never made"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_in_hand_when_the_server_stops_is_waited_for() {
    let slow = "timeout = \"20s\"\nbatch = { size = 1, linger = \"1ms\" }";
    let home = Home::with(&[receiver("unruly", "unruly_c", slow), load("unruly")].concat());
    let server = Server::start(&home).await;
    send_by_rest(&server, 5).await;
    // The fifth batch takes longer than the rest of the stop.
    until("the fifth is in flight", async || {
        let delivery = server.plugin("unruly").await["delivery"]["delivered"].clone();
        (delivery == 4).then_some(())
    })
    .await;
    server.stop().await;
    check_unruly(&home, "unruly-c.txt", 5);
}

/// The instance is told to stop, terminated and dropped; then a thread of it still completes calls and logs.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_calls_back_after_it_was_told_to_stop() {
    let home = Home::with(&[receiver("unruly", "unruly_c", ""), load("unruly")].concat());
    let server = Server::start(&home).await;
    send_by_rest(&server, 3).await;
    server.drained("unruly").await;
    home.change_host(1);
    server.tell_to_reload();
    let said = "still here after it was told to stop";
    until("the reload is done", async || home.log().contains("\"running\"").then_some(())).await;
    let before = home.log().matches(said).count();
    until("it still calls", async || (home.log().matches(said).count() > before).then_some(()))
        .await;
    assert_eq!(server.plugin("unruly").await["phase"], "running");
    assert_eq!(server.plugin("unruly").await["restarts"], 0);
    server.stop().await;
    check_unruly(&home, "unruly-c.txt", 3);
}

/// The receipts of a plugin's handler wait for receivers, with timers that are the host's.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_answered_once_its_message_is_delivered() {
    let home = all_of_them();
    let text = fs::read_to_string(home.config()).unwrap() + "[bus]\nack = \"delivered\"\n";
    fs::write(home.config(), text).unwrap();
    let server = Server::start(&home).await;
    let token = server.login().await;
    let mut sent = 0;
    let stream = TcpStream::connect(server.address("tcp")).await.unwrap();
    soon("answers", converse(stream, 0, &mut sent, 20, &token)).await.unwrap();
    assert_eq!(sent, 20);
    // No answer was `later`: that would have come as another message of the same key.
    assert_eq!(server.status().await["repeated"], 0);
    for file in ["rust.ndjson", "c.ndjson"] {
        assert_eq!(fs::read_to_string(home.data(file)).unwrap().lines().count(), 20);
    }
    server.stop().await;
}

/// Its port is free again when the next host is built.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_finds_the_port_of_a_plugin_free() {
    let tcp = "[handlers.tcp]\nkind = \"tcp\"\nlisten = \"127.0.0.1:0\"\n";
    let home = Home::with(&[&sqlite("local", "metrics.db", ""), tcp, &load("plugin_tcp")].concat());
    let server = Server::start(&home).await;
    let port = server.address("tcp").to_owned();
    let text = fs::read_to_string(home.config()).unwrap();
    let begin = text.find("[handlers.tcp]").unwrap();
    let fixed = text[begin..].replacen("127.0.0.1:0", &port, 1);
    fs::write(home.config(), text[..begin].to_owned() + &fixed).unwrap();
    for n in 1..=5 {
        // The first finds another address in the file, which is the one that the plugin has; the others replace the host.
        if n > 1 {
            home.change_host(n);
        }
        server.tell_to_reload();
        let reloads = async || (home.log().matches("\"running\"").count() == n).then_some(());
        until("it is reloaded", reloads).await;
        assert_eq!(server.status().await["warnings"], serde_json::json!([]), "{}", home.log());
        TcpStream::connect(&port).await.unwrap();
    }
    server.stop().await;
}

/// The kinds of a library, which is loaded into this process.
fn registry(name: &str) -> Registry {
    Library::load(&library(name)).unwrap().register(Registry::new())
}

/// A receiver of this kind, and where it writes.
fn writer(name: &str, kind: &str) -> (ReceiverFactory, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lines.ndjson");
    let kind = registry(name).receivers()[kind].clone();
    (kind.configure(serde_json::json!({ "path": path })).unwrap(), path, dir)
}

/// The ids of the messages in a file.
fn ids(path: &std::path::Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.split('"').nth(3)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_in_rust_keeps_the_contract() {
    let (factory, path, _dir) = writer("plugin_lines", "lines");
    receiver_contract(factory, async || ids(&path)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_in_c_keeps_the_contract() {
    let (factory, path, _dir) = writer("ndjson", "ndjson");
    receiver_contract(factory, async || ids(&path)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handler_keeps_the_contract() {
    let config = serde_json::json!({ "listen": "127.0.0.1:0", "anonymous": true });
    let kind = registry("plugin_tcp").handlers()["tcp"].clone();
    let factory: HandlerFactory = kind.configure(config).unwrap();
    handler_contract(factory, async |endpoints| {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let Some(address) = endpoints.first().and_then(|at| at.strip_prefix("tcp://")) else {
            return false;
        };
        let Ok(stream) = TcpStream::connect(address).await else { return false };
        let (input, mut output) = stream.into_split();
        let n = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let line = format!("- pump-7 system_metrics key-{n} {{}}\n");
        let answer = async {
            output.write_all(line.as_bytes()).await?;
            BufReader::new(input).lines().next_line().await
        };
        answer.await.is_ok_and(|answer| answer.as_deref() == Some("ok"))
    })
    .await;
}

const SMALL: &str = "POA_TEST_SMALL_FILES";

/// Gives batches to a receiver whose file may not grow beyond 8 KiB.
async fn write_too_much(name: &str, kind: &str) {
    let (factory, path, dir) = writer(name, kind);
    let cx = BuildContext::detached("r", dir.path());
    let mut receiver = factory(&cx).await.unwrap();
    receiver.start(ReceiverContext::detached(&cx)).await.unwrap();
    let mut samples = Samples::from_now();
    let mut batch = |size: usize| {
        let data = serde_json::json!({ "type": "t", "body": "x".repeat(size) });
        vec![
            samples.message("agent", "system_metrics", &data),
            samples.message("agent", "system_metrics", &data),
        ]
    };
    let (first, large, last) = (batch(100), batch(5000), batch(100));
    receiver.metrics_received(&first).await.unwrap();
    let failed = receiver.metrics_received(&large).await.unwrap_err();
    assert!(matches!(failed, poa_core::DeliveryError::Transient { .. }), "{failed:?}");
    receiver.metrics_received(&last).await.unwrap();
    receiver.metrics_received(&first).await.unwrap();
    let sent: Vec<_> = [&first[..], &last].concat().iter().map(|m| m.id().to_string()).collect();
    assert_eq!(ids(&path), sent);
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with("}\n") && text.lines().count() == 4, "{text}");
}

/// A batch that cannot be written is not confirmed, and leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_confirms_nothing() {
    if std::env::var_os(SMALL).is_some() {
        write_too_much("ndjson", "ndjson").await;
        return write_too_much("plugin_lines", "lines").await;
    }
    // A signal that is ignored stays so in the program that is begun; the limit is in blocks of 512 bytes, or of 1024.
    let limited =
        "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact a_full_disk_confirms_nothing --nocapture";
    let mut again = Command::new("sh");
    again.args(["-c", limited]).arg(std::env::current_exe().unwrap()).env(SMALL, "1");
    let output = again.output().unwrap();
    assert!(output.status.success(), "{}", printed(&output));
}

/// A plugin is of use only if its tokio and the server's may differ; these do, so that it is tested.
#[test]
fn the_plugins_have_another_tokio() {
    let version = |lock: &str| {
        let text =
            fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(lock))
                .unwrap();
        let after = text.split("name = \"tokio\"\nversion = \"").nth(1).unwrap();
        after.split('"').next().unwrap().to_owned()
    };
    assert_ne!(version("Cargo.lock"), version("examples/plugins/rust/Cargo.lock"));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_metrics_of_plugins_are_the_servers() {
    let home = all_of_them();
    let server = Server::start(&home).await;
    send_by_rest(&server, 500).await;
    server.drained("rust").await;
    let metrics = server.ask("admin", &Request::new("GET", "/metrics")).await.body;
    assert!(metrics.contains("poa_lines_written_total{receiver=\"rust\"} 500"), "{metrics}");
    assert_eq!(
        server.plugin("tcp").await["endpoints"][0],
        format!("tcp://{}", server.address("tcp"))
    );
    server.stop().await;
    let log = home.log();
    for (plugin, instance, text) in [
        ("plugin-lines", "rust", "appending"),
        ("plugin-tcp", "tcp", "listening"),
        ("ndjson", "c", "appending lines"),
    ] {
        let said = log.lines().any(|line| {
            line.contains(&format!("\"plugin\":{plugin:?}"))
                && line.contains(&format!("\"instance\":{instance:?}"))
                && line.contains(text)
                && line.contains("INFO")
        });
        assert!(said, "{plugin}: {log}");
    }
}

/// The output of a command.
fn ask(home: &Home, args: &[&str]) -> Output {
    Command::new(program()).args(args).current_dir(home.path()).output().unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn commands_know_what_is_loaded() {
    let home = all_of_them();
    let list = printed(&ask(&home, &["list"]));
    for (kind, file) in [("handler  tcp", "plugin_tcp"), ("receiver ndjson", "ndjson")] {
        let line = format!("{kind}  {}", library(file).display());
        assert!(list.contains(&line), "{list}");
    }
    let schema = printed(&ask(&home, &["schema"]));
    assert!(schema.contains("Writes JSON lines."), "{schema}");
    let file = library("ndjson");
    let inspected = printed(&ask(&home, &["plugin", "inspect", &file.to_string_lossy()]));
    assert_eq!(inspected, "name     ndjson\nversion  1.0.0\nabi      1.2\nreceiver ndjson\n");
    let check = ask(&home, &["check"]);
    assert_eq!((check.status.code(), printed(&check)), (Some(0), "poa.toml: ok\n".to_owned()));
}

#[test]
fn problems_have_their_place_in_the_file() {
    let bad =
        [receiver("c", "ndjson", "path = 7\npth = \"x\""), load("ndjson"), load("ndjson")].concat();
    let home = Home::with(&bad);
    fs::write(home.path().join("cut.so"), &fs::read(library("ndjson")).unwrap()[..5000]).unwrap();
    let text = fs::read_to_string(home.config()).unwrap() + "[[plugins]]\npath = \"cut.so\"\n";
    fs::write(home.config(), &text).unwrap();
    let check = ask(&home, &["check"]);
    let said = printed(&check);
    assert_eq!(check.status.code(), Some(2), "{said}");
    let line = |what: &str| 1 + text.lines().position(|line| line == what).unwrap();
    let last = text.lines().count();
    for (place, problem) in [
        (format!("{}:8: receivers.c.path", line("path = 7")), "expected a string"),
        (format!("{}:1: receivers.c.pth", line("pth = \"x\"")), "did you mean `path`?"),
        (format!("{}:8: plugins[1].path", last - 2), "receiver kind `ndjson` exists already"),
        (format!("{last}:8: plugins[2].path"), "cut.so: the file ends too early"),
    ] {
        let found = said.lines().any(|line| line.contains(&place) && line.contains(problem));
        assert!(found, "{place}: {problem}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_with_a_plugin_that_is_none_changes_nothing() {
    let home = all_of_them();
    let server = Server::start(&home).await;
    let good = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), format!("{good}[[plugins]]\npath = \"poa.toml\"\n")).unwrap();
    server.tell_to_reload();
    until("the reload has failed", async || {
        let warnings = server.status().await["warnings"].to_string();
        warnings.contains("poa.toml: not a shared library").then_some(())
    })
    .await;
    fs::write(home.config(), good).unwrap();
    server.tell_to_reload();
    until("the reload has worked", async || {
        let status = server.status().await;
        (status["phase"] == "ready" && status["warnings"] == serde_json::json!([])).then_some(())
    })
    .await;
    let status = server.status().await;
    let running = status["plugins"].as_array().unwrap().iter().filter(|p| p["phase"] == "running");
    assert_eq!(running.count(), 5, "{status}");
    server.stop().await;
}
