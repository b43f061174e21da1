//! `/metrics` of a server with every plugin, read by Prometheus and its linter.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::path::PathBuf;
use std::process::Stdio;

use poa_tests::{Home, METRICS, Request, Server, free_port, soon, sqlite, until};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

/// A program of Prometheus.
fn program(name: &str) -> PathBuf {
    let directory = std::env::var_os("POA_TEST_PROMETHEUS_BIN").unwrap_or_else(|| {
        panic!("set POA_TEST_PROMETHEUS_BIN to the directory of `promtool` and `prometheus`, or run `cargo xtask test`")
    });
    PathBuf::from(directory).join(name)
}

/// Every kind of plugin but those in libraries and child processes. The databases of two receivers are not there.
fn everything() -> Home {
    let listen = "listen = \"127.0.0.1:0\"";
    let (to_all, to_one) = (format!("subscribe = {METRICS:?}"), "subscribe = [\"system_metrics\"]");
    let sections = [
        format!("[handlers.ws]\nkind = \"ws\"\n{listen}"),
        format!("[handlers.gilmour]\nkind = \"gilmour\"\n{listen}\nengine = \"memory\""),
        format!(
            "[handlers.networks]\nkind = \"leviathan\"\n{listen}\nhost = \"host1\"\nexecutor = \"record\""
        ),
        sqlite("local", "metrics.db", "retention = \"30d\""),
        format!(
            "[receivers.store]\nkind = \"postgres\"\nurl = \"postgres://postgres@127.0.0.1:1/x\"\n{to_one}"
        ),
        format!(
            "[receivers.blocks]\nkind = \"dynamodb\"\ntable = \"blocks\"\nregion = \"us-east-1\"\nendpoint = \"http://127.0.0.1:1\"\naccess_key_id = \"a\"\nsecret_access_key = \"b\"\n{to_one}"
        ),
        format!(
            "[receivers.dashboard]\nkind = \"dashboard\"\n{listen}\nws_secret = \"wssecret\"\n{to_all}"
        ),
        format!(
            "[receivers.signals]\nkind = \"gilmour\"\nengine = \"memory\"\ntopic = \"poa\"\nmode = \"signal\"\n{to_one}"
        ),
        "[limits.agent]\nmessages = 1000".to_owned(),
    ];
    Home::with(&sections.join("\n"))
}

/// A server with everything that has stored a message, refused one, and failed to reload.
async fn busy(home: &Home) -> Server {
    let server = Server::start(home).await;
    let token = server.login().await;
    let body = r#"{"id":"a","type":"system_metrics","data":{"cpu_load":1}}"#;
    let sent = server.ask("rest", &Request::post("/data", &token).json(body)).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    let refused = server.ask("rest", &Request::post("/data", &token).json("{}")).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let good = std::fs::read_to_string(home.config()).unwrap();
    std::fs::write(home.config(), "nonsense").unwrap();
    server.tell_to_reload();
    until("the reload is refused", async || {
        (server.status().await["last_reload"]["result"] == "refused").then_some(())
    })
    .await;
    std::fs::write(home.config(), good).unwrap();
    server.drained("local").await;
    server
}

#[tokio::test]
async fn the_linter_finds_nothing() {
    let home = everything();
    let server = busy(&home).await;
    let scraped = server.ask("admin", &Request::new("GET", "/metrics")).await;
    assert_eq!(scraped.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for name in [
        "poa_build_info",
        "poa_reloads_total",
        "poa_data_dir_free_bytes",
        "poa_receiver_backlog_messages",
        "poa_auth_logins_total",
        "process_start_time_seconds",
    ] {
        let series = |line: &str| {
            line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "))
        };
        assert!(scraped.body.lines().any(series), "{name}: {}", scraped.body);
    }
    let mut lint = Command::new(program("promtool"));
    lint.args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut lint = lint.kill_on_drop(true).spawn().unwrap();
    let mut input = lint.stdin.take().unwrap();
    input.write_all(scraped.body.as_bytes()).await.unwrap();
    drop(input);
    let linted = soon("the linter ends", lint.wait_with_output()).await.unwrap();
    let said = format!("{linted:?}");
    assert!(
        linted.status.success() && linted.stdout.is_empty() && linted.stderr.is_empty(),
        "{said}"
    );
    // The backlog of the missing databases would delay an orderly stop.
    server.kill().await;
}

/// Prometheus with one target. Killed on drop.
fn scraping(home: &Home, server: &Server, port: u16) -> Child {
    let config = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: poa\n    static_configs:\n      - targets: ['{}']\n",
        server.address("admin")
    );
    let file = home.path().join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(program("prometheus"));
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", home.path().join("prometheus").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().unwrap()
}

/// The answer of Prometheus to a query: the value of the first series.
async fn asked(port: u16, query: &str) -> Option<String> {
    let mut client = poa_tests::Client::connect(&format!("127.0.0.1:{port}")).await.ok()?;
    let request = Request::new("GET", &format!("/api/v1/query?query={query}"));
    let answer = client.exchange(&request.bytes()).await.ok()?;
    let found = serde_json::from_str::<serde_json::Value>(&answer.body).ok()?;
    found["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
}

#[tokio::test]
async fn prometheus_scrapes_it() {
    let home = everything();
    let server = busy(&home).await;
    let port = free_port();
    let mut prometheus = scraping(&home, &server, port);
    let wanted = [
        ("up", "1"),
        ("poa_reloads_total%7Bresult=%22refused%22%7D", "1"),
        ("poa_receiver_delivered_messages_total%7Breceiver=%22local%22%7D", "1"),
    ];
    for (query, value) in wanted {
        until(query, async || (asked(port, query).await? == value).then_some(())).await;
    }
    prometheus.kill().await.unwrap();
    // The backlog of the missing databases would delay an orderly stop.
    server.kill().await;
}
