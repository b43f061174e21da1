//! From a REST client through the log to the rows, in the bundled server: whether the receiver keeps up.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::STATISTICS;
use crate::process::scratch;
use crate::report::table;
use crate::server_process::program;
use crate::{Failure, load};

const TIME: Duration = Duration::from_secs(20);
const CONNECTIONS: usize = 64;
/// How often the backlog is looked at.
const PAUSE: Duration = Duration::from_millis(500);
/// `bench:benchmark` as basic credentials say it.
const CREDENTIALS: &str = "YmVuY2g6YmVuY2htYXJr";

pub(super) fn run(url: &str) -> Result<(), Failure> {
    let dir = scratch()?;
    let server = Server::start(dir.path(), url)?;
    let body = format!(r#"{{"id":"agent","type":"ethereum_metrics","data":{STATISTICS}}}"#);
    let request = format!(
        "POST /data HTTP/1.1\r\nHost: poa\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        server.token()?,
        body.len()
    );
    let admin = server.address("admin")?;
    let (stop, stopped) = mpsc::channel();
    let watch = std::thread::spawn(move || backlogs(&admin, &stopped));
    let seen = load::run(&server.address("rest")?, request.as_bytes(), CONNECTIONS, TIME)?;
    let end = Instant::now();
    stop.send(())?;
    let backlogs = watch.join().map_err(|_| "watching the backlog panicked")??;
    while backlog(&server.address("admin")?)? > 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    report(&seen, &backlogs, end.elapsed());
    Ok(())
}

fn report(seen: &load::Seen, backlogs: &[u64], drained: Duration) {
    let quarter = backlogs.len() / 4;
    let largest = |part: &[u64]| part.iter().max().copied().unwrap_or(0).to_string();
    println!(
        "POST /data over {CONNECTIONS} connections for {} s, through the log (`ack = stored`) into PostgreSQL on the same machine\n",
        TIME.as_secs()
    );
    let figure = |name: &str, value: String| vec![name.to_owned(), value];
    table(
        &["figure", "value"],
        &[
            figure(
                "requests/s, each answered once it is on the disk",
                format!("{:.0}", seen.requests as f64 / seen.seconds),
            ),
            figure(
                "largest backlog in the second quarter of the time, in messages",
                largest(&backlogs[quarter..2 * quarter]),
            ),
            figure("in the last quarter", largest(&backlogs[backlogs.len() - quarter..])),
            figure(
                "until all were rows, after the last answer",
                format!("{} ms", drained.as_millis()),
            ),
        ],
    );
}

/// What waits for the receiver, again and again.
fn backlogs(admin: &str, stopped: &mpsc::Receiver<()>) -> Result<Vec<u64>, Failure> {
    let mut seen = Vec::new();
    while stopped.recv_timeout(PAUSE).is_err() {
        seen.push(backlog(admin)?);
    }
    Ok(seen)
}

fn backlog(admin: &str) -> Result<u64, Failure> {
    let status: Value = serde_json::from_str(&ask(admin, "GET /status", "", "")?)?;
    let plugins = status["plugins"].as_array().ok_or("the status has no plugins")?;
    let store = plugins
        .iter()
        .find(|plugin| plugin["name"] == "store")
        .ok_or("the status has no receiver")?;
    store["delivery"]["backlog_messages"].as_u64().ok_or_else(|| "the status has no backlog".into())
}

/// Sends a request over a connection of its own; the body of the answer.
fn ask(address: &str, what: &str, headers: &str, body: &str) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "{what} HTTP/1.1\r\nHost: poa\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if head.starts_with("HTTP/1.1 200") { Ok(body.to_owned()) } else { Err(head.into()) }
}

/// The bundled server. Killed on drop.
struct Server {
    child: Child,
    ready: String,
}

impl Server {
    fn start(dir: &Path, url: &str) -> Result<Self, Failure> {
        let config = format!(
            "data_dir = \"data\"\nmetrics = [\"ethereum_metrics\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
            [auth]\nadmins = [{{ name = \"bench\", password = \"benchmark\" }}]\n\
            [handlers.rest]\nkind = \"rest\"\nlisten = \"127.0.0.1:0\"\n[handlers.auth]\nkind = \"auth\"\nlisten = \"127.0.0.1:0\"\n\
            [receivers.store]\nkind = \"postgres\"\nurl = \"{url}\"\nsubscribe = [\"ethereum_metrics\"]\n"
        );
        std::fs::write(dir.join("poa.toml"), config)?;
        let mut child = Command::new(program()?)
            .args(["--config", "poa.toml"])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the server has no stdout")?;
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready)?;
        Ok(Self { child, ready })
    }

    /// Address and port of the plugin of this name.
    fn address(&self, name: &str) -> Result<String, Failure> {
        let found = self
            .ready
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let url = found.ok_or_else(|| format!("no {name} in `{}`", self.ready))?;
        Ok(url.rsplit('/').next().unwrap_or(url).to_owned())
    }

    /// A token of a user who is made for it.
    fn token(&self) -> Result<String, Failure> {
        let auth = self.address("auth")?;
        let headers =
            format!("Authorization: Basic {CREDENTIALS}\r\nContent-Type: application/json\r\n");
        let user = r#"{"user-name":"bench","password":"benchmark"}"#;
        ask(&auth, "POST /user", &headers, user)?;
        let answer: Value = serde_json::from_str(&ask(&auth, "POST /session", &headers, "{}")?)?;
        Ok(answer["token"].as_str().ok_or("no token")?.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
