//! The commands that ask a running server.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const CONFIG: &str = "metrics = [\"system_metrics\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
     [handlers.rest]\nkind = \"rest\"\nlisten = \"127.0.0.1:0\"\nanonymous = true\n\
     [receivers.local]\nkind = \"sqlite\"\npath = \"metrics.db\"\nsubscribe = [\"system_metrics\"]\n";

/// A server that runs, and is killed when the test ends early.
struct Served {
    folder: TempDir,
    child: Child,
    admin: String,
    rest: String,
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("poa.toml"), CONFIG).unwrap();
        let mut child =
            program(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let at = |name: &str| {
            let (_, rest) = line.split_once(&format!(" {name}=http://")).unwrap();
            rest.split_whitespace().next().unwrap().to_owned()
        };
        Self { folder, admin: at("admin"), rest: at("rest"), child }
    }

    fn call(&self, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } =
            program(self.folder.path()).args(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.folder.path().join("poa.toml"), text).unwrap();
    }

    fn send(&self, agent: &str) {
        let body = format!(
            "{{\"id\":\"{agent}\",\"type\":\"system_metrics\",\"data\":{{\"type\":\"statistics\",\"body\":{{\"cpu_load\":1}}}}}}"
        );
        let head = format!(
            "POST /data HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = ask(&self.rest, &head);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn metrics(&self) -> String {
        ask(
            &self.admin,
            &format!("GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin),
        )
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poa-server"));
    command.current_dir(folder).env_remove("RUST_LOG");
    command
}

fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_tap_shows_messages_and_does_not_hold_up_the_stop() {
    let server = Served::start();
    let mut tap = program(server.folder.path());
    tap.args(["tap", "--agent", "a1"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut tap = tap.spawn().unwrap();
    let mut lines = BufReader::new(tap.stdout.take().unwrap()).lines();
    // Messages before the tap began are not shown, so some are sent until one is.
    let (first, rest) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        first.send(lines.next().unwrap().unwrap()).unwrap();
        lines.count()
    });
    let line = loop {
        server.send("other");
        server.send("a1");
        if let Ok(line) = rest.recv_timeout(std::time::Duration::from_millis(50)) {
            break line;
        }
    };
    let shown: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&shown["agent_id"], &shown["receiver"], &shown["data_type"]),
        (&"a1".into(), &"local".into(), &"system_metrics".into())
    );
    assert_eq!(shown["data"]["body"]["cpu_load"], 1);
    server.stop();
    assert!(tap.wait().unwrap().code().is_some());
}

#[test]
fn a_top_shows_plugins_and_agents() {
    let server = Served::start();
    server.send("busy");
    let (code, table, errors) = server.call(&["top", "--once"]);
    assert_eq!(code, 0, "{errors}");
    for words in ["ready", "PLUGIN", "handler   rest", "receiver  local", "AGENT"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    server.stop();
}

#[test]
fn a_plan_is_what_a_reload_does_then() {
    let server = Served::start();
    assert_eq!(server.call(&["plan"]).1, "nothing changes\n");
    let (code, out, errors) = server.call(&["reload"]);
    assert!(code == 0 && out.starts_with("nothing changes\nunchanged in "), "{out}{errors}");

    let more = "[receivers.second]\nkind = \"sqlite\"\npath = \"second.db\"\nsubscribe = [\"system_metrics\"]\n";
    server.configure(&format!("{CONFIG}{more}"));
    let (_, planned, _) = server.call(&["plan"]);
    let expected = "keep     handlers.rest\nkeep     receivers.local\nstart    receivers.second\n";
    assert_eq!(planned, expected);
    let (code, done, errors) = server.call(&["reload"]);
    assert_eq!(code, 0, "{errors}");
    assert!(done.starts_with(expected) && done.contains("applied in "), "{done}");
    server.send("a");
    let metrics = server.metrics();
    for line in [
        "poa_reloads_total{result=\"applied\"} 1",
        "poa_reloads_total{result=\"unchanged\"} 1",
        "poa_last_reload_successful 1",
        "poa_build_info{version=",
        "process_start_time_seconds ",
        "poa_data_dir_free_bytes ",
        "poa_log_lines_total{outcome=\"queue_full\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    server.stop();
}

#[test]
fn a_reload_of_a_broken_file_changes_nothing_and_says_why() {
    let server = Served::start();
    server.configure(&CONFIG.replace("listen", "lisen"));
    let (code, out, errors) = server.call(&["plan"]);
    assert_eq!((code, out.as_str()), (2, ""), "{errors}");
    assert!(errors.contains("did you mean `listen`?"), "{errors}");
    server.configure(CONFIG);
    let other = server.folder.path().join("other.toml");
    std::fs::write(&other, CONFIG.replace("metrics.db", "other.db")).unwrap();
    let (_, planned, _) = server.call(&["plan", "--config", "other.toml"]);
    assert!(planned.contains("replace  receivers.local  (path changed)"), "{planned}");

    server.configure(&CONFIG.replace("sqlite", "sqlitee"));
    let place = server.folder.path().join("poa-data");
    let (code, _, errors) = server.call(&["reload", "--config", "other.toml"]);
    assert_eq!(code, 1, "{}", place.display());
    assert!(errors.contains("refused: ") && errors.contains("did you mean `sqlite`?"), "{errors}");
    server.send("a");
    server.stop();
}

#[test]
fn two_files_are_compared_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("old.toml"), CONFIG).unwrap();
    std::fs::write(folder.path().join("new.toml"), CONFIG.replace("anonymous = true", "")).unwrap();
    let args = ["plan", "--from", "old.toml", "--config", "new.toml"];
    let output = program(folder.path()).args(args).output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "replace  handlers.rest  (anonymous removed)\nkeep     receivers.local\n"
    );
}

#[test]
fn what_changes_or_shows_messages_needs_the_token() {
    let server = Served::start();
    let token = server.folder.path().join("poa-data/admin_token");
    assert_eq!(std::fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    for (method, path) in [("POST", "/reload"), ("POST", "/plan"), ("GET", "/tap"), ("GET", "/top")]
    {
        for authorization in ["", "authorization: Bearer wrong\r\n"] {
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: {}\r\n{authorization}content-length: 0\r\nconnection: close\r\n\r\n",
                server.admin
            );
            let answer = ask(&server.admin, &head);
            assert!(
                answer.starts_with("HTTP/1.1 401") && answer.contains("admin_token"),
                "{answer}"
            );
        }
    }
    std::fs::write(&token, "wrong").unwrap();
    let (code, _, errors) = server.call(&["reload"]);
    assert!(code == 1 && errors.contains("this needs the admin token"), "{errors}");
    server.stop();
}

#[test]
fn without_a_server_each_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("poa.toml"), CONFIG).unwrap();
    std::fs::create_dir(folder.path().join("poa-data")).unwrap();
    for command in ["reload", "plan", "tap", "top"] {
        let output = program(folder.path()).arg(command).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(errors.contains("admin_endpoint, which a running server writes"), "{errors}");
    }
}

#[test]
fn a_picture_needs_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{CONFIG}[auth]\nsecret_key = \"${{env:POA_TEST_UNSET}}\"\n");
    std::fs::write(folder.path().join("poa.toml"), text).unwrap();
    let graph = |format: &str| {
        let output = program(folder.path()).args(["graph", "--format", format]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(graph("mermaid").contains("bus -- \"system_metrics\" --> r0[\"local<br/>sqlite\"]"));
    assert!(graph("dot").starts_with("digraph poa {"));
}
