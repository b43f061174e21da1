//! `poa-server gilmour`, by a gateway and straight over brokers.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_poa-server");

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs until a test interrupts it.
struct Running {
    child: Child,
    out: Lines,
    errors: Lines,
}

/// The output of a program, line by line.
struct Lines(mpsc::Receiver<String>);

impl Lines {
    fn of(from: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self(lines)
    }

    /// Waits until every program that writes here has ended.
    fn until_closed(&self) {
        let end = loop {
            if let Err(end) = self.0.recv_timeout(PATIENCE) {
                break end;
            }
        };
        assert_eq!(end, mpsc::RecvTimeoutError::Disconnected, "a program it started keeps running");
    }

    /// The next line, which must come in time.
    fn next(&self) -> String {
        self.0.recv_timeout(PATIENCE).unwrap()
    }
}

impl Running {
    fn start(args: &[&str]) -> Self {
        Self::of(Command::new(PROGRAM).args(args))
    }

    fn of(command: &mut Command) -> Self {
        command.env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = Lines::of(child.stdout.take().unwrap());
        let errors = Lines::of(child.stderr.take().unwrap());
        Self { child, out, errors }
    }

    /// Waits for a line of stderr that holds these words; the line.
    fn until_says(&self, words: &str) -> String {
        loop {
            let line = self.errors.next();
            if line.contains(words) {
                return line;
            }
        }
    }

    fn line(&self) -> String {
        self.out.next()
    }

    fn interrupt(mut self, signal: Signal) -> i32 {
        let id = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(id, signal).unwrap();
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.errors.until_closed();
                return status.code().unwrap();
            }
            assert!(begin.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gilmour(way: &[&str], args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(PROGRAM);
    command.arg("gilmour").args(args).args(way).env_remove("RUST_LOG");
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Requests, signals and listeners over this way; `counts` where it tells how many a signal reached.
fn everything(way: &[&str], counts: bool) {
    let listen = |args: &[&str]| {
        let running = Running::start(&[&["gilmour", "listen"], args, way].concat());
        running.until_says("listening to");
        running
    };
    let log = listen(&["log.*"]);
    let echo = listen(&["echo", "--service"]);
    let upper = listen(&["upper", "--service", "--exec", "tr a-z A-Z"]);
    let failing = listen(&["failing", "--service", "--exec", "exit 3"]);

    assert_eq!(gilmour(way, &["request", "echo", r#"{"a":1.50}"#]).1, r#"{"a":1.50}"#);
    assert_eq!(echo.line(), r#"echo {"a":1.50}"#);
    assert_eq!(
        gilmour(way, &["request", "upper", "hello"]),
        (0, "\"HELLO\"".into(), String::new())
    );
    let (code, out, errors) = gilmour(way, &["request", "failing"]);
    assert!(code == 1 && errors.contains("answered with code 500"), "{out} {errors}");
    let (code, out, errors) = gilmour(way, &["request", "missing"]);
    assert!(code == 1 && out.contains("no active subscriber"), "{out}");
    assert!(errors.ends_with("`missing` answered with code 404"), "{errors}");

    let (code, out, errors) = gilmour(way, &["signal", "log.start", "text"]);
    assert_eq!((code, out.as_str()), (0, if counts { "receivers 1" } else { "sent" }), "{errors}");
    assert_eq!(log.line(), r#"log.start "text""#);
    let (code, _, errors) = gilmour(way, &["signal", "log.start", "text", "--json"]);
    assert!(code == 1 && errors.contains("the data is not JSON"), "{errors}");
    let (code, _, errors) = gilmour(way, &["request", "a.*"]);
    assert!(code == 1 && errors.contains('*'), "{errors}");

    assert_eq!(echo.interrupt(Signal::INT), 0);
    assert_eq!(gilmour(way, &["request", "echo"]).0, 1);
    assert_eq!(log.interrupt(Signal::TERM), 0);
    drop((upper, failing));
}

/// A server with a gateway, and more of this in its configuration; the URL of the gateway.
fn server(folder: &Path, more: &str) -> (Running, String) {
    let file = folder.join("poa.toml");
    let (port, admin) = (poa_test_nats::free_port(), poa_test_nats::free_port());
    let config = format!(
        "data_dir = {:?}\nmetrics = [\"system_metrics\"]\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\
         [handlers.gilmour]\nkind = \"gilmour\"\nlisten = \"127.0.0.1:{port}\"\n{more}",
        folder.join("data")
    );
    std::fs::write(&file, config).unwrap();
    let server = Running::start(&["--config", file.to_str().unwrap()]);
    let begin = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begin.elapsed() < PATIENCE, "the gateway does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    (server, format!("http://127.0.0.1:{port}"))
}

/// The node in shell of examples/gilmour: a service, and a receiver of the server.
#[test]
fn the_node_in_shell_serves_and_stores() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = "signals = [{ topic = \"metrics\", data_type = \"system_metrics\" }]\n\
         [receivers.lines]\nkind = \"gilmour\"\ntopic = \"store.{data_type}\"\nsubscribe = [\"system_metrics\"]\n";
    let (server, url) = server(folder.path(), receiver);
    let way = ["--gateway", &*url];
    let file = folder.path().join("messages.jsonl");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../gilmour/node.sh");
    let node = Running::of(
        Command::new("sh").args([script, &url, file.to_str().unwrap()]).env("POA_SERVER", PROGRAM),
    );
    // Two programs share its stderr; a line of one is never inside a line of the other.
    let mut said = [node.until_says("listening to"), node.until_says("listening to")];
    said.sort();
    assert!(said[0].ends_with("of `store.system_metrics`; Ctrl-C ends it"), "{said:?}");
    assert!(said[1].ends_with("of `upper`; Ctrl-C ends it"), "{said:?}");
    assert_eq!(gilmour(&way, &["request", "upper", "shell"]).1, "\"SHELL\"");
    for data in [r#"{"cpu_load":1.5}"#, r#"{"other":1}"#, r#"{"cpu_load":2.5}"#] {
        assert_eq!(gilmour(&way, &["signal", "metrics", data]).0, 0);
    }
    let begin = Instant::now();
    let stored = loop {
        let stored = std::fs::read_to_string(&file).unwrap_or_default();
        if stored.lines().count() >= 2 {
            break stored;
        }
        assert!(begin.elapsed() < PATIENCE, "{stored}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(
        stored.contains("1.5") && stored.contains("2.5") && !stored.contains("other"),
        "{stored}"
    );
    node.interrupt(Signal::TERM);
    assert_eq!(server.interrupt(Signal::TERM), 0);
}

#[test]
fn by_a_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let (server, url) = server(
        folder.path(),
        "token = \"a long token\"\n[receivers.local]\nkind = \"sqlite\"\npath = \"metrics.db\"\nsubscribe = [\"system_metrics\"]\n",
    );
    let token = folder.path().join("token");
    std::fs::write(&token, "a long token\n").unwrap();
    let way = ["--gateway", &url, "--token-file", token.to_str().unwrap()];
    everything(&way, true);
    let (code, _, errors) = gilmour(&["--gateway", &url], &["request", "echo"]);
    assert!(code == 1 && errors.contains("refuses with 401"), "{errors}");
    assert_eq!(server.interrupt(Signal::TERM), 0);
    let (code, _, errors) = gilmour(&way, &["request", "echo"]);
    assert!(code == 1 && errors.contains("did not answer"), "{errors}");
}

#[test]
fn over_redis() {
    let server = poa_test_redis::Server::new();
    everything(&["--redis", &server.url()], true);
}

#[test]
fn over_nats() {
    let server = poa_test_nats::Servers::start(poa_test_nats::Setup::single()).unwrap();
    everything(&["--nats", &server.url(0)], false);
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    for (flag, url) in
        [("--redis", "redis://:secret@127.0.0.1:1"), ("--nats", "nats://a:secret@127.0.0.1:1")]
    {
        let (code, _, errors) = gilmour(&[flag, url], &["request", "echo"]);
        assert!(code == 1 && errors.contains("cannot be reached"), "{errors}");
        assert!(!errors.contains("secret"), "{errors}");
    }
    let (code, _, errors) = gilmour(&["--nats", "x://y"], &["signal", "echo"]);
    assert!(code == 1 && errors.contains("is not a URL of a NATS server"), "{errors}");
}
