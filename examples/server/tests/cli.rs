//! The program as operators and their scripts meet it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use poa_core::{
    AgentId, DataTypes, DeadLetter, DeadLetters as _, Draft, Message, MessageId, Payload, Timestamp,
};
use poa_dead_letters::DeadLetterStore;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poa-server"));
    command.current_dir(folder).env_remove("RUST_LOG");
    command
}

fn call(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = program(folder).args(args).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A directory with a configuration on free ports.
fn folder(rest: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("poa.toml"), config(rest)).unwrap();
    folder
}

fn config(rest: &str) -> String {
    format!(
        "metrics = [\"system_metrics\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[handlers.rest]\nkind = \"rest\"\nlisten = \"{rest}\"\n\
         [receivers.local]\nkind = \"sqlite\"\npath = \"metrics.db\"\nsubscribe = [\"system_metrics\"]\n"
    )
}

const FREE: &str = "127.0.0.1:0";

/// A server that runs, and is killed when the test ends early.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(folder: &Path, args: &[&str]) -> Self {
        let mut command = program(folder);
        let mut child =
            command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that has these words.
    fn line(&mut self, words: &str) -> String {
        self.lines.find_map(|line| line.ok().filter(|line| line.contains(words))).unwrap_or_else(
            || {
                let mut log = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
                panic!("no line with {words}: {log}")
            },
        )
    }

    fn tell(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn exit_code(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn check_says_ok_and_touches_nothing() {
    let folder = folder(FREE);
    assert_eq!(
        call(folder.path(), &["check", "--config", "poa.toml"]),
        (0, "poa.toml: ok\n".into(), String::new())
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn check_warns_of_what_a_removed_receiver_leaves() {
    let folder = folder(FREE);
    let log = folder.path().join("poa-data/log");
    std::fs::create_dir_all(&log).unwrap();
    let cursor = |messages| serde_json::json!({"position": 0, "messages": messages, "bytes": 9});
    let cursors = serde_json::json!({
        "version": 1,
        "cursors": {"local": cursor(3), "gone": cursor(7), "done": cursor(0)},
        "keys_from": 0,
    });
    std::fs::write(log.join("cursors.json"), cursors.to_string()).unwrap();
    let (code, _, warnings) = call(folder.path(), &["check", "--config", "poa.toml"]);
    assert_eq!(
        (code, warnings.as_str()),
        (
            0,
            "warning: about 7 messages wait for receivers.gone, which is not configured; \
             the next start discards them\n"
        )
    );
}

#[test]
fn the_example_configuration_is_good() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/poa.toml");
    let folder = tempfile::tempdir().unwrap();
    let (code, _, errors) = call(folder.path(), &["check", "--config", example]);
    assert_eq!((code, errors.as_str()), (0, ""));
}

#[test]
fn check_tells_every_problem() {
    let folder = folder("here");
    let file = folder.path().join("poa.toml");
    let text = std::fs::read_to_string(&file)
        .unwrap()
        .replace("subscribe", "subscibe")
        .replace("[admin]", "[admn]");
    std::fs::write(&file, text).unwrap();
    let (code, out, errors) = call(folder.path(), &["check", "--config", "poa.toml"]);
    assert_eq!((code, out.as_str()), (2, ""));
    let places: Vec<_> =
        errors.lines().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        places,
        [
            "poa.toml:2:2 admn",
            "poa.toml:6:10 handlers.rest.listen",
            "poa.toml:10:1 receivers.local.subscibe"
        ],
        "{errors}"
    );
    let (code, _, errors) = call(folder.path(), &["--config", "poa.toml"]);
    assert_eq!((code, errors.lines().count()), (2, 3), "{errors}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["check", "--config", "absent.toml"][..], &["run", "--config", "absent.toml"]] {
        let (code, _, errors) = call(folder.path(), args);
        assert_eq!(code, 2);
        assert!(errors.starts_with("absent.toml:1:1: cannot read the file:"), "{errors}");
    }
}

#[test]
fn a_port_in_use_is_named_with_the_cure() {
    let taken = TcpListener::bind(FREE).unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let folder = folder(&at);
    let (code, _, errors) = call(folder.path(), &["--log", "off"]);
    assert_eq!(code, 1);
    let start = format!("poa-server: handlers.rest: cannot listen on {at}: address already in use");
    assert!(errors.starts_with(&start) && errors.lines().count() == 1, "{errors}");

    let port = taken.local_addr().unwrap().port().to_string();
    let (code, _, errors) = call(folder.path(), &["demo", "--listen-base", &port]);
    assert_eq!(code, 1);
    assert!(
        errors.contains("poa-server: admin: cannot listen on") && errors.contains("--listen-base"),
        "{errors}"
    );
}

#[test]
fn runs_until_it_is_told_to_stop() {
    let folder = folder(FREE);
    for (args, signal) in [(&["run"][..], Signal::TERM), (&["--config", "poa.toml"], Signal::INT)] {
        let mut server = Running::start(folder.path(), args);
        let ready = server.line("poa-server ready");
        let rest = ready.split(" rest=http://").nth(1).unwrap();
        TcpStream::connect(rest).unwrap();
        assert!(ready.starts_with("poa-server ready admin=http://127.0.0.1:"), "{ready}");
        server.tell(signal);
        assert_eq!(server.exit_code(), 0);
    }
}

#[test]
fn a_reload_with_problems_is_logged_and_changes_nothing() {
    let folder = folder(FREE);
    let mut server = Running::start(folder.path(), &["--log-format", "json"]);
    let ready = server.line("poa-server ready");
    let file = folder.path().join("poa.toml");
    std::fs::write(&file, config(FREE).replace("sqlite", "sqlitee")).unwrap();
    server.tell(Signal::HUP);
    let mut log = BufReader::new(server.child.stderr.take().unwrap()).lines();
    let said = log
        .find_map(|line| line.ok().filter(|line| line.contains("did you mean `sqlite`?")))
        .unwrap();
    assert!(
        said.contains("poa.toml:8:8: receivers.local.kind") && said.contains("\"level\":\"ERROR\""),
        "{said}"
    );
    TcpStream::connect(ready.split(" rest=http://").nth(1).unwrap()).unwrap();
    server.tell(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn what_there_is_can_be_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (code, kinds, _) = call(folder.path(), &["list"]);
    assert_eq!(code, 0);
    for kind in ["handler  auth", "handler  rest", "receiver sqlite"] {
        assert!(kinds.lines().any(|line| line == kind), "{kinds}");
    }
    let (code, schema, _) = call(folder.path(), &["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(code, 0);
    let kinds = &schema["properties"]["handlers"]["additionalProperties"]["properties"]["kind"];
    let kinds = kinds["enum"].as_array().unwrap();
    assert!(kinds.iter().any(|kind| kind == "rest"), "{kinds:?}");
}

#[test]
fn a_wrong_command_line_is_2() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["chekc"][..], &["--colour"], &["user", "add", "a", "b"]] {
        assert_eq!(call(folder.path(), args).0, 2, "{args:?}");
    }
    let (code, _, errors) = call(folder.path(), &["list", "--log", "a=b=c"]);
    assert!(code == 1 && errors.contains("is not a log filter"), "{errors}");
}

#[test]
fn users_live_from_add_to_remove() {
    let folder = folder(FREE);
    std::fs::create_dir(folder.path().join("poa-data")).unwrap();
    let user = |args: &[&str]| call(folder.path(), &[&["user"], args].concat());
    let (code, out, _) = user(&["add", "alice", "--agent-id", "a1"]);
    let mut lines = out.lines();
    assert_eq!((code, lines.next()), (0, Some("user alice")));
    assert!(lines.next().unwrap().strip_prefix("password ").unwrap().len() >= 15, "{out}");

    std::fs::write(folder.path().join("pw"), "a good password\n").unwrap();
    let (code, out, errors) = user(&["add", "bob", "--password-file", "pw"]);
    assert_eq!((code, out.as_str()), (0, "user bob\n"));
    assert!(errors.contains("bob may speak for every agent; bind a user"), "{errors}");
    let (code, _, errors) = user(&["add", "bob"]);
    assert_eq!(
        (code, last(&errors)),
        (1, "poa-server: bob: this user name is taken; choose another")
    );

    assert_eq!(user(&["ban", "alice"]).1, "alice is banned\n");
    let (_, list, _) = user(&["list"]);
    let states: Vec<_> =
        list.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>()).collect();
    assert_eq!(states, [["alice", "banned"], ["bob", "active"]], "{list}");
    assert_eq!(user(&["unban", "alice"]).0, 0);
    assert_eq!(user(&["remove", "alice"]).0, 0);
    assert_eq!(user(&["delete", "bob"]).1, "bob is removed\n");
    let (code, _, errors) = user(&["ban", "alice"]);
    assert_eq!((code, last(&errors)), (1, "poa-server: alice: no such user"));
    let files: Vec<_> = std::fs::read_dir(folder.path().join("poa-data")).unwrap().collect();
    let secrets = ["secret_key", "admin_password"];
    assert!(files.into_iter().all(|file| {
        let name = file.unwrap().file_name();
        !secrets.contains(&name.to_str().unwrap())
    }));
}

/// The last line.
fn last(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

#[test]
fn users_can_be_managed_while_the_server_runs() {
    let folder = folder(FREE);
    let file = folder.path().join("poa.toml");
    let text = config(FREE) + "[handlers.auth]\nkind = \"auth\"\nlisten = \"127.0.0.1:0\"\n";
    std::fs::write(file, text).unwrap();
    let mut server = Running::start(folder.path(), &[]);
    let ready = server.line("poa-server ready");
    let at = |name: &str| {
        let from = ready.split_once(&format!(" {name}=http://")).unwrap().1;
        from.split(' ').next().unwrap().to_owned()
    };
    std::fs::write(folder.path().join("pw"), "a good password").unwrap();
    assert_eq!(call(folder.path(), &["user", "add", "bob", "--password-file", "pw"]).0, 0);

    // "bob:a good password"
    let session = post(&at("auth"), "/session", "Basic Ym9iOmEgZ29vZCBwYXNzd29yZA==", "");
    let token =
        session.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let ping = || post(&at("rest"), "/ping", &format!("Bearer {token}"), "{\"id\":\"a\"}");
    assert!(ping().starts_with("HTTP/1.1 200"), "{}", ping());
    assert_eq!(call(folder.path(), &["user", "ban", "bob"]).0, 0);
    while ping().starts_with("HTTP/1.1 200") {}
    assert!(ping().starts_with("HTTP/1.1 401"), "{}", ping());
}

fn post(address: &str, path: &str, authorization: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         authorization: {authorization}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The commands that the demo prints must work when copied.
#[test]
fn the_demo_stores_what_this_machine_does_and_its_commands_work() {
    let curl = Command::new("curl").arg("--version").stdout(Stdio::null()).status();
    assert!(curl.is_ok_and(|status| status.success()), "this test needs curl; install it");
    let folder = tempfile::tempdir().unwrap();
    let mut server =
        Running::start(folder.path(), &["demo", "--listen-base", "0", "--agents", "3"]);
    server.line("poa-server ready");
    server.line("3 simulated ones");
    let commands: Vec<_> = ["/user", "TOKEN=", "/data"]
        .map(|words| {
            loop {
                let line = server.line(words);
                if line.contains("curl") {
                    break line;
                }
            }
        })
        .into();
    let calls: Vec<_> =
        ["/request/", "composition", "/signal/"].map(|words| server.line(words)).into();
    server.line("first row in system_stats");
    assert!(server.line("demo-agent").contains("cpu_load = "));

    let output = Command::new("sh")
        .arg("-c")
        .arg(commands.join("\n"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.ends_with("{\"result\":\"success\"}"),
        "{said} {:?}",
        String::from_utf8(output.stderr)
    );

    let output = Command::new("sh").arg("-c").arg(calls.join(" && echo\n")).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let said: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said[0]["messages"][0]["data"], serde_json::json!(["a", "b", "a"]));
    assert_eq!(said[1]["messages"][0]["data"], serde_json::json!({"a": 2, "b": 1}));
    assert_eq!((&said[2]["status"], said.len()), (&serde_json::json!(0), 3));

    let database = folder.path().join("poa-data/metrics.db");
    while simulated(&database) < 3 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    server.tell(Signal::INT);
    assert_eq!(server.exit_code(), 0);
    assert_eq!(rows_of("me", &database), 1);
    assert_eq!(rows_of("demo-words", &database), 1);
}

/// How many simulated agents have introduced themselves.
fn simulated(database: &PathBuf) -> u32 {
    let database = rusqlite::Connection::open(database).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let count = "SELECT count(DISTINCT agent_id) FROM metrics \
         WHERE agent_id LIKE 'demo-fleet-%' AND type = 'information'";
    database.query_row(count, [], |row| row.get(0)).unwrap()
}

fn rows_of(agent: &str, database: &PathBuf) -> u32 {
    let database = rusqlite::Connection::open(database).unwrap();
    let count = "SELECT count(*) FROM system_stats WHERE agent_id = ?1";
    database.query_row(count, [agent], |row| row.get(0)).unwrap()
}

/// Puts letters for the receiver `local` where the server of this directory finds them.
fn write_dead_letters(folder: &Path, numbers: std::ops::Range<u8>) {
    write_letters_for("local", "system_metrics", folder, numbers);
}

fn write_letters_for(receiver: &str, data_type: &str, folder: &Path, numbers: std::ops::Range<u8>) {
    let data_dir = folder.join("poa-data");
    std::fs::create_dir_all(&data_dir).unwrap();
    let store = DeadLetterStore::open(data_dir.join("dead_letters.db"), 1 << 20).unwrap();
    let types = DataTypes::new([data_type]).unwrap();
    let letters = numbers.map(|n| {
        let body = serde_json::json!({"type": "statistics", "body": {"cpu_load": n}});
        let agent = AgentId::new("dead").unwrap();
        let data_type = types.get(data_type).unwrap().clone();
        let draft = Draft::new(agent, data_type, Payload::json(&body).unwrap());
        let message = Message::stamp(draft, MessageId::from_bytes([n; 16]), Timestamp::now());
        DeadLetter::new(receiver, message, "it was a bad day")
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.keep(letters.collect())).unwrap();
}

#[test]
fn a_replay_that_cannot_be_says_what_is_missing() {
    let folder = folder(FREE);
    write_letters_for("gone", "system_metrics", folder.path(), 1..3);
    write_letters_for("local", "old_metrics", folder.path(), 3..4);
    let (code, said, _) = call(folder.path(), &["dlq", "replay", "--all"]);
    assert_eq!(code, 0);
    assert_eq!(
        said,
        "3 will be delivered again\n\
         1 of all that wait: `old_metrics` is not among the metrics in the configuration; delivered once that has changed\n\
         2 of all that wait: there is no receivers.gone in the configuration; delivered once that has changed\n"
    );
}

#[test]
fn dead_letters_are_shown_removed_and_replayed_while_the_server_runs_and_while_it_does_not() {
    let folder = folder(FREE);
    write_dead_letters(folder.path(), 1..5);
    let dlq = |args: &[&str]| call(folder.path(), &[&["dlq"], args].concat());

    let (code, list, _) = dlq(&["list", "--receiver", "local"]);
    assert_eq!((code, list.lines().count()), (0, 4), "{list}");
    assert!(list.contains("local  dead  system_metrics") && list.contains("it was a bad day"));
    let (_, shown, _) = dlq(&["show", "2"]);
    assert!(shown.contains(r#""cpu_load": 2"#) && shown.contains("it was a bad day"), "{shown}");
    let (code, raw, _) = dlq(&["show", "--raw", "2"]);
    assert_eq!((code, &*raw), (0, r#"{"body":{"cpu_load":2},"type":"statistics"}"#));
    assert_eq!(dlq(&["remove", "1"]).1, "1 removed\n");
    let (code, _, error) = dlq(&["show", "1"]);
    assert_eq!(code, 1);
    assert!(
        error.contains("there is no dead letter 1; `poa-server dlq list` lists them"),
        "{error}"
    );
    assert_eq!(dlq(&["replay"]).0, 2);

    // Asked for before the start, and while it runs.
    assert_eq!(dlq(&["replay", "2"]).1, "1 will be delivered again\n");
    let mut running = Running::start(folder.path(), &[]);
    running.line("poa-server ready");
    assert_eq!(dlq(&["replay", "--all"]).0, 0);
    while !dlq(&["ls"]).1.is_empty() {
        std::thread::yield_now();
    }
    running.tell(Signal::TERM);
    assert_eq!(running.exit_code(), 0);
    let database = rusqlite::Connection::open(folder.path().join("poa-data/metrics.db")).unwrap();
    let sum: f64 =
        database.query_row("SELECT sum(cpu_load) FROM system_stats", [], |row| row.get(0)).unwrap();
    assert_eq!(sum, 2.0 + 3.0 + 4.0);
}
