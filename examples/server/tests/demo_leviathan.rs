//! `poa-server demo leviathan`: networks to try, without privilege, and nothing is left of them.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn demo() -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poa-server"));
    command.args(["demo", "leviathan", "--port", "0"]).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// The lines up to this one, included.
fn until(lines: &mut impl Iterator<Item = String>, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in lines {
        found.push(line);
        if found.last().unwrap().contains(end) {
            return found;
        }
    }
    panic!("no {end:?} in {found:#?}")
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The processes below another.
fn children(pid: u32) -> Vec<String> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn networks_are_made_shown_and_gone() {
    let mut demo = demo();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
    let text = until(&mut lines, "Ctrl-C ends it").join("\n");
    for part in ["web1 to web2", "db1 to web3, which is in both", "curl -sS http://127.0.0.1:"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.matches(": reached").count(), 3, "{text}");
    assert_eq!(text.matches(": not reached").count(), 1, "{text}");
    let address = text.split("See them at  http://").nth(1).unwrap();
    let address = address.split('/').next().unwrap();
    let answer = get(address, "/cens");
    assert!(answer.contains("200 OK") && answer.contains(r#""cenID":"back""#), "{answer}");
    assert_eq!(answer.matches(r#""status":"ready""#).count(), 2, "{answer}");
    let page = get(address, "/leviathan/");
    assert!(page.contains("200 OK") && page.contains("<title>poa · networks</title>"), "{page}");

    // What is inside is inside: this host has none of it.
    assert!(!std::path::Path::new("/sys/class/net/front").exists());
    let inner = children(demo.id());
    assert!(!inner.is_empty(), "the process inside");
    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    assert!(demo.wait().unwrap().success());
    for pid in inner {
        let state = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!state.contains("--inside"), "{pid} is left: {state}");
    }
    assert!(TcpStream::connect(address).is_err(), "nothing listens any more");
}

#[test]
fn it_is_gone_when_the_process_outside_is_killed() {
    let mut demo = demo();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
    until(&mut lines, "Ctrl-C ends it");
    demo.kill().unwrap();
    demo.wait().unwrap();
    // Its output ends when the process inside, which shares it, has ended.
    assert_eq!(lines.filter(|line| line.contains("panicked")).count(), 0);
}
