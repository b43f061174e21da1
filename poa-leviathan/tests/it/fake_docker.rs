//! A Docker daemon that starts nothing, on a Unix socket: create, start, inspect, list, remove, events. It can hang, die and come back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

#[path = "docker_shapes.rs"]
mod shapes;

/// The headers of every answer.
const HEADERS: &str = "Api-Version: 1.48\r\nContent-Type: application/json\r\nDocker-Experimental: false\r\nOstype: linux\r\n\
    Server: Docker/28.0.1 (linux)";
/// A longer answer comes in chunks, as the daemon's HTTP library does it.
const WHOLE: usize = 2048;

/// Starts what a container runs; returns its process id.
type Start = Box<dyn Fn() -> u32 + Send + Sync>;

pub(crate) struct FakeDocker {
    shared: Arc<Shared>,
    directory: TempDir,
    serving: Option<AbortOnDropHandle<()>>,
}

struct Shared {
    containers: Mutex<BTreeMap<String, Value>>,
    events: broadcast::Sender<String>,
    /// How many streams of events are open.
    followers: watch::Sender<usize>,
    hangs: watch::Sender<bool>,
    /// Images that cannot be started, by name; the number says after how many.
    refuses: Mutex<Option<usize>>,
    start: Start,
}

impl FakeDocker {
    pub(crate) fn new(start: impl Fn() -> u32 + Send + Sync + 'static) -> Self {
        let shared = Shared {
            containers: Mutex::default(),
            events: broadcast::Sender::new(64),
            followers: watch::Sender::new(0),
            hangs: watch::Sender::new(false),
            refuses: Mutex::default(),
            start: Box::new(start),
        };
        let directory = tempfile::tempdir().unwrap();
        let mut docker = Self { shared: Arc::new(shared), directory, serving: None };
        docker.come_back();
        docker
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// Ends all connections; nothing listens any more.
    pub(crate) async fn die(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
        std::fs::remove_file(self.socket()).unwrap();
    }

    pub(crate) fn come_back(&mut self) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let shared = self.shared.clone();
        self.serving = Some(AbortOnDropHandle::new(tokio::spawn(serve(listener, shared))));
    }

    /// Requests are taken and not answered, until it is told not to.
    pub(crate) fn hang(&self, hangs: bool) {
        self.shared.hangs.send_replace(hangs);
    }

    /// Refuses to start any container but this many.
    pub(crate) fn refuse_after(&self, starts: usize) {
        *self.shared.refuses.lock() = Some(starts);
    }

    /// Waits until a client follows the events.
    pub(crate) async fn followed(&self) {
        self.shared.followers.subscribe().wait_for(|count| *count > 0).await.unwrap();
    }

    /// As `docker run`: a container that is there and runs, by its id.
    pub(crate) fn run(&self, id: &str, env: &[&str], labels: Value) {
        let spec = json!({"Env": env, "Labels": labels, "HostConfig": {"NetworkMode": "none"}});
        self.shared.create(id, id, &spec);
        self.shared.start(id);
    }

    /// As `docker kill`.
    pub(crate) fn kill(&self, id: &str) {
        self.shared.set_state(id, shapes::stopped("exited", 137), "die");
    }

    pub(crate) fn start(&self, id: &str) {
        self.shared.start(id);
    }

    /// The properties that are asked for, by the id of the container.
    pub(crate) fn containers(&self) -> BTreeMap<String, Value> {
        self.shared.containers.lock().clone()
    }
}

async fn serve(listener: UnixListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(converse(stream, shared.clone()));
    }
}

/// One request; `None` if the client left.
async fn request(stream: &mut UnixStream) -> Option<(String, String, Value)> {
    let mut text = Vec::new();
    let head = loop {
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
    };
    let lines = String::from_utf8(text[..head].to_vec()).unwrap().to_lowercase();
    let length = lines.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    while text.len() < head + 4 + length {
        stream.read_buf(&mut text).await.ok()?;
    }
    let first = String::from_utf8(text[..head].to_vec()).unwrap();
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    Some((method, path, serde_json::from_slice(&text[head + 4..]).unwrap_or_default()))
}

async fn converse(mut stream: UnixStream, shared: Arc<Shared>) {
    while let Some((method, path, body)) = request(&mut stream).await {
        shared.hangs.subscribe().wait_for(|hangs| !hangs).await.unwrap();
        if path.starts_with("/events") {
            return follow(stream, shared).await;
        }
        let (status, answer) = shared.answer(&method, &path, &body);
        let _ = stream.write_all(response(status, &answer).as_bytes()).await;
    }
}

fn response(status: u16, answer: &Value) -> String {
    let text = format!("{answer}\n");
    let body = match text.len() {
        _ if answer.is_null() => "\r\n".to_owned(),
        length if length > WHOLE => {
            let (a, b) = text.split_at(WHOLE);
            let chunks = format!("{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n", a.len(), b.len());
            format!("Transfer-Encoding: chunked\r\n\r\n{chunks}")
        }
        length => format!("Content-Length: {length}\r\n\r\n{text}"),
    };
    format!("HTTP/1.1 {status} x\r\n{HEADERS}\r\n{body}")
}

async fn follow(mut stream: UnixStream, shared: Arc<Shared>) {
    let mut events = shared.events.subscribe();
    let _count = Follower::count(&shared);
    let head = format!("HTTP/1.1 200 OK\r\n{HEADERS}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    while let Ok(event) = events.recv().await {
        // In two chunks: events need not come whole.
        let (a, b) = event.split_at(event.len() / 2);
        let chunks = format!("{:x}\r\n{a}\r\n{:x}\r\n{b}\n\r\n", a.len(), b.len() + 1);
        if stream.write_all(chunks.as_bytes()).await.is_err() {
            return;
        }
    }
}

struct Follower<'s>(&'s Shared);

impl<'s> Follower<'s> {
    fn count(shared: &'s Shared) -> Self {
        shared.followers.send_modify(|count| *count += 1);
        Self(shared)
    }
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        self.0.followers.send_modify(|count| *count -= 1);
    }
}

impl Shared {
    fn answer(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method, &*parts) {
            ("POST", ["containers", "create"]) => {
                let name = query.strip_prefix("name=").unwrap();
                let id = format!("{:0>12}{}", self.containers.lock().len() + 1, "f".repeat(52));
                self.create(&id, name, body);
                (201, shapes::created(&id))
            }
            ("POST", ["containers", id, "start"]) => self.start_asked(id),
            ("GET", ["containers", "json"]) => {
                let containers = self.containers.lock();
                let running = containers.values().filter(|known| known["State"]["Running"] == true);
                (200, running.map(shapes::listed).collect())
            }
            ("GET", ["containers", id, "json"]) => match self.find(id) {
                Some(id) => (200, self.containers.lock()[&id].clone()),
                None => (404, shapes::refused(&format!("No such container: {id}"))),
            },
            ("DELETE", ["containers", id]) => match self.find(id) {
                Some(id) => {
                    let removed = self.containers.lock().remove(&id).unwrap();
                    self.tell("destroy", &removed);
                    (204, Value::Null)
                }
                None => (404, shapes::refused(&format!("No such container: {id}"))),
            },
            other => panic!("not expected: {other:?}"),
        }
    }

    fn start_asked(&self, id: &str) -> (u16, Value) {
        let mut refuses = self.refuses.lock();
        match refuses.as_mut() {
            Some(0) => return (500, shapes::refused("no space left on device")),
            Some(left) => *left -= 1,
            None => {}
        }
        drop(refuses);
        self.start(id);
        (204, Value::Null)
    }

    /// By id, the begin of an id, or name.
    fn find(&self, name: &str) -> Option<String> {
        let containers = self.containers.lock();
        let mut found = containers.iter();
        let is_it =
            |id: &str, known: &Value| id.starts_with(name) || known["Name"] == format!("/{name}");
        found.find(|(id, known)| is_it(id, known)).map(|(id, _)| id.clone())
    }

    fn create(&self, id: &str, name: &str, spec: &Value) {
        let container = shapes::inspected(id, name, spec);
        self.containers.lock().insert(id.to_owned(), container);
    }

    fn start(&self, id: &str) {
        let id = self.find(id).unwrap();
        let pid = (self.start)();
        self.set_state(&id, shapes::running(pid), "start");
    }

    fn set_state(&self, id: &str, state: Value, action: &str) {
        let mut containers = self.containers.lock();
        let container = containers.get_mut(id).unwrap();
        container["State"] = state;
        self.tell(action, container);
    }

    fn tell(&self, action: &str, container: &Value) {
        // Without a follower, an event is lost, as Docker's are.
        let _ = self.events.send(shapes::event(action, container).to_string());
    }
}
