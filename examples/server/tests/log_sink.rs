//! The server when its log cannot be written.
//!
//! Reported of comparable systems: containerd/containerd#580 and coreos/go-systemd#233 (the journal restarted, and every later
//! write failed), tokio-rs/tracing#3271 and slint-ui/slint#11396 (a failed write of a log line is a panic).

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const CONFIG: &str = "metrics = [\"system_metrics\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[handlers.rest]\nkind = \"rest\"\nlisten = \"127.0.0.1:0\"\n\
     [receivers.local]\nkind = \"sqlite\"\npath = \"metrics.db\"\nsubscribe = [\"system_metrics\"]\n";

/// A server whose stderr is at the mercy of the test.
struct Served {
    folder: TempDir,
    child: Child,
    admin: String,
    rest: String,
}

impl Served {
    fn start(stderr: impl Into<Stdio>, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("poa.toml"), CONFIG).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_poa-server"));
        command.current_dir(&folder).env_remove("RUST_LOG").args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        // Only the child holds its end of the log from here on.
        drop(command);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let at = |name: &str| {
            let (_, rest) = line.split_once(&format!(" {name}=http://")).unwrap();
            rest.split_whitespace().next().unwrap().to_owned()
        };
        Self { folder, admin: at("admin"), rest: at("rest"), child }
    }

    fn tell(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Reloads a file with a problem, which logs two lines.
    fn reload_broken(&self) {
        std::fs::write(self.folder.path().join("poa.toml"), "metrics = 3").unwrap();
        self.tell(Signal::HUP);
        while !get(&self.admin, "/status").contains("the last reload failed") {}
    }

    /// Reloads a file with problems, each of which is a long line, until more wait than may.
    fn flood(&self) {
        let key = "k".repeat(1000);
        let wrong: String = (0..300).map(|n| format!("{key}{n} = 1\n")).collect();
        let section = "[receivers.x]\nkind = \"exec\"\ncommand = [\"true\"]\nsubscribe = [\"system_metrics\"]\n[receivers.x.env]\n";
        let text = format!("{CONFIG}{section}{wrong}");
        std::fs::write(self.folder.path().join("poa.toml"), text).unwrap();
        while self.lines("queue_full") == 0 {
            let refused = self.refused();
            self.tell(Signal::HUP);
            while self.refused() == refused {}
        }
    }

    fn refused(&self) -> String {
        let metrics = get(&self.admin, "/metrics");
        let (_, rest) = metrics.split_once("poa_reloads_total{result=\"refused\"} ").unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    }

    /// Lines of the log with this outcome.
    fn lines(&self, outcome: &str) -> u64 {
        let metrics = get(&self.admin, "/metrics");
        let name = format!("poa_log_lines_total{{outcome=\"{outcome}\"}} ");
        metrics.split_once(&name).unwrap().1.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn takes_messages(&self) -> bool {
        let body = "{\"id\":\"a\",\"secret\":\"s\",\"type\":\"system_metrics\",\"data\":{}}";
        let head = format!(
            "POST /data HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        // Without a token the answer is 401: it lives.
        ask(&self.rest, &head).starts_with("HTTP/1.1 401")
    }

    fn stop(mut self) -> Option<i32> {
        self.tell(Signal::TERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"))
}

fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A pipe, whose reader comes first.
fn pipe() -> (File, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (read.into(), write)
}

#[test]
fn a_reader_that_closes_its_pipe_costs_log_lines_only() {
    let (reader, stderr) = pipe();
    let server = Served::start(stderr, &[]);
    drop(reader);
    server.reload_broken();
    while server.lines("write_failed") == 0 {}
    assert!(server.takes_messages());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_full_disk_does_not_stop_a_start() {
    let full = Path::new("/dev/full");
    assert!(full.exists(), "this test needs /dev/full, which Linux has");
    let server =
        Served::start(File::options().write(true).open(full).unwrap(), &["--log", "debug"]);
    server.reload_broken();
    while server.lines("write_failed") == 0 {}
    assert_eq!(server.lines("written"), 0);
    assert!(server.takes_messages());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_reader_that_stops_reading_blocks_nothing() {
    let (reader, stderr) = pipe();
    let server = Served::start(stderr, &[]);
    server.flood();
    assert!(server.takes_messages());
    server.reload_broken();
    assert_eq!(server.stop(), Some(0));
    drop(reader);
}

#[test]
fn a_reader_that_goes_on_reads_how_many_lines_were_lost() {
    let (reader, stderr) = pipe();
    let server = Served::start(stderr, &[]);
    server.flood();
    let mut lines = BufReader::new(reader).lines();
    let said = lines.find_map(|line| line.ok().filter(|line| line.contains("lost log lines")));
    assert!(said.unwrap().contains("lines="));
    // The rest has to be read, too: the stop waits a second for it.
    let rest = std::thread::spawn(move || lines.count());
    assert_eq!(server.stop(), Some(0));
    rest.join().unwrap();
}

#[test]
fn a_terminal_that_is_closed_costs_log_lines_only() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NOCTTY;
    let stderr = rustix::fs::open(&*name, flags, rustix::fs::Mode::empty()).unwrap();
    let server = Served::start(stderr, &[]);
    drop(terminal);
    server.reload_broken();
    while server.lines("write_failed") == 0 {}
    assert!(server.takes_messages());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_command_that_fails_with_its_stderr_closed_still_says_so_by_its_exit_code() {
    let (reader, stderr) = pipe();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_poa-server"));
    command.args(["check", "--config", "/nonexistent.toml"]).stderr(stderr);
    assert_eq!(command.status().unwrap().code(), Some(2));
}

#[test]
fn with_json_every_line_is_json() {
    let (reader, stderr) = pipe();
    let server = Served::start(stderr, &["--log-format", "json"]);
    server.reload_broken();
    assert_eq!(server.stop(), Some(0));
    let mut lines: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
    for (args, code) in [
        (&["check", "--config", "/nonexistent.toml"][..], 2),
        (&["chekc"], 2),
        (&["user", "--data-dir", "/nonexistent", "list"], 1),
    ] {
        let (reader, stderr) = pipe();
        let mut command = Command::new(env!("CARGO_BIN_EXE_poa-server"));
        command.args(["--log-format", "json"]).args(args).stderr(stderr);
        assert_eq!(command.status().unwrap().code(), Some(code), "{args:?}");
        drop(command);
        lines.extend(BufReader::new(reader).lines().map(Result::unwrap));
    }
    assert!(lines.len() > 5, "{lines:#?}");
    for line in &lines {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["fields"]["message"].is_string() && value["timestamp"].is_string(), "{line}");
    }
}
