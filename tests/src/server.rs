//! A `poa-server` process.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::{ADMIN, Answer, Client, Home, Request, basic, soon, until};

/// A server that runs, all its listeners bound. Killed on drop.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addresses: HashMap<String, String>,
    log: PathBuf,
    /// Kept open: the server may print more.
    _stdout: Lines<BufReader<ChildStdout>>,
}

/// The program under test, built beside this test.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/<profile>/deps/<test>
    let profile = test.ancestors().nth(2).unwrap();
    let program = profile.join("poa-server");
    assert!(
        program.exists(),
        "{} is missing: run `cargo build -p poa-server` or `cargo xtask test`",
        program.display()
    );
    program
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub async fn start(home: &Home) -> Self {
        Self::run(home, Command::new(program())).await
    }

    /// Starts a server by this command, which runs the program with the arguments that are added to it.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn run(home: &Home, mut command: Command) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(home.log_file()).unwrap();
        command
            .args(["--config", "poa.toml", "--log-format", "json"])
            .current_dir(home.path())
            .env_remove("RUST_LOG");
        command.stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        while let Some(line) = soon("the server gets ready", stdout.next_line()).await.unwrap() {
            if let Some(ready) = line.strip_prefix("poa-server ready") {
                let addresses = addresses(ready);
                return Self { child, addresses, log: home.log_file(), _stdout: stdout };
            }
        }
        panic!("the server did not start: {}", home.log())
    }

    /// Address and port of the plugin of this name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn address(&self, name: &str) -> &str {
        self.addresses.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.addresses))
    }

    /// Address and port of the REST handler.
    #[must_use]
    pub fn rest(&self) -> &str {
        self.address("rest")
    }

    /// A connection to the REST handler.
    pub async fn client(&self) -> Client {
        Client::connect(self.rest()).await.unwrap()
    }

    /// Sends one request over a connection of its own to the plugin of this name.
    pub async fn ask(&self, name: &str, request: &Request) -> Answer {
        let mut client = Client::connect(self.address(name)).await.unwrap();
        soon("an answer", client.exchange(&request.bytes())).await.unwrap()
    }

    /// The answer of `/status`.
    pub async fn status(&self) -> Value {
        self.ask("admin", &Request::new("GET", "/status")).await.json()
    }

    /// The part of `/status` for the plugin of this name.
    pub async fn plugin(&self, name: &str) -> Value {
        let status = self.status().await;
        assert!(status["plugins"].is_array(), "not a status: {status}");
        let mut plugins = status["plugins"].as_array().unwrap().iter();
        plugins.find(|plugin| plugin["name"] == name).unwrap().clone()
    }

    /// Creates a user, which may send for this agent only, if one is given.
    pub async fn add_user(&self, name: &str, password: &str, agent: Option<&str>) {
        let mut user = serde_json::json!({"user-name": name, "password": password});
        if let Some(agent) = agent {
            user["agent-id"] = agent.into();
        }
        let request = Request::new("POST", "/user").header("authorization", &basic(ADMIN));
        let answer = self.ask("auth", &request.json(&user.to_string())).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// A token for this user, from `/session`.
    pub async fn session(&self, name: &str, password: &str) -> String {
        let request = Request::new("POST", "/session");
        let request = request.header("authorization", &basic((name, password))).json("{}");
        let answer = self.ask("auth", &request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// Makes a user and logs in.
    pub async fn login(&self) -> String {
        self.add_user("agent-user", "agent-password", None).await;
        self.session("agent-user", "agent-password").await
    }

    /// Resident memory, in bytes.
    #[must_use]
    pub fn resident(&self) -> u64 {
        resident(self.child.id().unwrap())
    }

    /// Waits until the receiver has delivered everything.
    pub async fn drained(&self, receiver: &str) {
        until("the backlog is delivered", async || {
            let plugin = self.plugin(receiver).await;
            (plugin["delivery"]["backlog_messages"] == 0).then_some(())
        })
        .await;
    }

    /// Tells the server to stop, and waits until it has.
    ///
    /// # Panics
    /// When it does not exit with code 0.
    pub async fn stop(self) {
        self.tell_to_stop();
        self.stopped().await;
    }

    /// Tells the server to stop; the code that it exits with.
    pub async fn exit_code(mut self) -> Option<i32> {
        self.tell_to_stop();
        soon("the server stops", self.child.wait()).await.unwrap().code()
    }

    /// Tells the server to stop, and does not wait.
    pub fn tell_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Tells the server to read its configuration again, and does not wait.
    pub fn tell_to_reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Whether the process has ended.
    ///
    /// # Panics
    /// When the system cannot tell.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until the server, which was told to stop, has.
    ///
    /// # Panics
    /// When it does not exit with code 0.
    pub async fn stopped(mut self) {
        let status = soon("the server stops", self.child.wait()).await.unwrap();
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        assert_eq!(status.code(), Some(0), "{log}");
    }

    /// Limits the size of files that the server writes, as `ulimit -Sf` does, or removes the limit.
    pub fn limit_file_sizes(&self, bytes: Option<u64>) {
        let limit = Rlimit { current: bytes, ..getrlimit(Resource::Fsize) };
        prlimit(Some(self.pid()), Resource::Fsize, limit).unwrap();
    }

    /// Kills the server at once, as `kill -9`.
    pub async fn kill(mut self) {
        soon("the server is gone", self.child.kill()).await.unwrap();
    }

    /// Stops the process where it is: its connections stay, and nothing comes over them any more.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes a frozen process.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap()
    }
}

/// `name=http://address` each, by name.
fn addresses(ready: &str) -> HashMap<String, String> {
    let pair = |word: &str| {
        let (name, url) = word.split_once('=')?;
        Some((name.to_owned(), url.split_once("://")?.1.to_owned()))
    };
    ready.split_whitespace().filter_map(pair).collect()
}

/// Resident memory of a process, in bytes.
#[must_use]
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    let status = status.unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
