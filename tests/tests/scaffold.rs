//! Projects created by `poa-server new` build, pass their tests and run, starting from an empty folder.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use poa_tests::{Client, Home, Request, Server, count, database, program, until};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// The crates that the registry would have, were they published.
const OURS: [&str; 5] = ["poa-core", "poa-engine-local", "poa-log", "poa-plugin", "poa-testkit"];

/// An empty folder in which cargo takes our crates from this checkout, and builds where the workspace does.
///
/// Always in the same place, so that what was built for the last run is of use to the next.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scaffold").join(name);
        let _ = fs::remove_dir_all(&dir);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let patch = |name: &&str| format!("{name} = {{ path = {:?} }}\n", root.join(name));
        let patches: String = OURS.iter().map(patch).collect();
        let config = format!("[patch.crates-io]\n{patches}[build]\ntarget-dir = {:?}\n", target());
        fs::create_dir_all(dir.join(".cargo")).unwrap();
        fs::write(dir.join(".cargo/config.toml"), config).unwrap();
        Self(dir)
    }

    /// Runs `poa-server new` with these arguments.
    fn scaffold(&self, words: &[&str]) -> PathBuf {
        let (ok, output) = self.run(Command::new(program()).arg("new").args(words));
        assert!(ok, "{output}");
        let dir = self.0.join(words[1]);
        let manifest = dir.join("Cargo.toml");
        if let Ok(text) = fs::read_to_string(&manifest) {
            // This folder lies within the checkout, whose workspace it is no part of.
            fs::write(&manifest, text + "\n[workspace]\n").unwrap();
        }
        dir
    }

    fn run(&self, command: &mut Command) -> (bool, String) {
        run(command.current_dir(&self.0))
    }
}

/// The target directory of all builds.
fn target() -> PathBuf {
    program().ancestors().nth(2).unwrap().to_owned()
}

/// Whether it succeeded, and what it said.
fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Runs cargo in a crate that was written, with the versions that the workspace has.
fn cargo(crate_dir: &Path, arguments: &[&str]) -> String {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    fs::copy(lock, crate_dir.join("Cargo.lock")).unwrap();
    let mut command = Command::new(env!("CARGO"));
    // What the test itself was started with is not for another workspace.
    let inherited =
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG"));
    inherited.for_each(|(name, _)| {
        command.env_remove(name);
    });
    let (ok, output) = run(command.args(arguments).arg("--offline").current_dir(crate_dir));
    assert!(ok, "cargo {arguments:?}: {output}");
    output
}

#[test]
fn a_receiver_to_be_compiled_in() {
    let folder = Folder::new("receiver");
    let dir = folder.scaffold(&["receiver", "my-store"]);
    let tested = cargo(&dir, &["test"]);
    assert!(tested.contains("honours_the_receiver_contract ... ok"), "{tested}");
    let delivered = cargo(&dir, &["run", "--quiet", "--example", "deliver"]);
    assert_eq!(delivered.matches(r#""data":{"cpu_load":"#).count(), 3, "{delivered}");
}

#[test]
fn a_handler_to_be_compiled_in() {
    let folder = Folder::new("handler");
    let dir = folder.scaffold(&["handler", "my-lines"]);
    let tested = cargo(&dir, &["test"]);
    assert!(tested.contains("honours_the_handler_contract ... ok"), "{tested}");
    // The tests have built the examples.
    let example = target().join("debug/examples/listen");
    let mut listen = Command::new(example);
    let mut listen = Listening(
        listen.arg("127.0.0.1:0").current_dir(&dir).stdout(Stdio::piped()).spawn().unwrap(),
    );
    let mut lines = io::BufReader::new(listen.0.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    let greeting = line();
    let place = greeting.strip_prefix("listening on tcp://").unwrap();
    let mut client = std::net::TcpStream::connect(place.split(';').next().unwrap()).unwrap();
    client.write_all(b"pump-7 system_metrics {\"cpu_load\": 1.5}\n").unwrap();
    assert_eq!(line(), "pump-7 system_metrics {\"cpu_load\": 1.5}");
}

/// A program that is killed when the test ends.
struct Listening(Child);

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with the configuration that was written, on free ports and in a place of its own.
async fn serve(dir: &Path, files: &[&str], library: Option<(&str, &Path)>) -> (Home, Server) {
    let home = Home::new();
    for file in files {
        fs::copy(dir.join(file), home.path().join(file)).unwrap();
    }
    let written = fs::read_to_string(dir.join("poa.toml")).unwrap();
    let mut text = ["127.0.0.1:4002", "127.0.0.1:4010"]
        .iter()
        .fold(written, |text, at| text.replace(at, "127.0.0.1:0"))
        .replace("port = 4010", "port = 0");
    if let Some((written, built)) = library {
        text = text.replace(&format!("{written:?}"), &format!("{built:?}"));
    }
    fs::write(home.config(), text + "\n[admin]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let server = Server::start(&home).await;
    (home, server)
}

/// Sends the message that the configuration tells to try.
async fn post(server: &Server) {
    let body = r#"{"id": "pump-7", "type": "system_metrics", "data": {"cpu_load": 1.5}}"#;
    let mut client = Client::connect(server.rest()).await.unwrap();
    let answer = client.exchange(&Request::new("POST", "/data").json(body).bytes()).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Sends the line that the configuration tells to try.
async fn send_line(address: &str) {
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    stream.write_all(b"pump-7 system_metrics {\"cpu_load\": 1.5}\n").await.unwrap();
    let mut answer = String::new();
    stream.read_line(&mut answer).await.unwrap();
    assert_eq!(answer, "ok\n");
}

/// Runs the contract suite that was written beside a plugin.
fn keeps_the_contract(home: &Home, plugin: &str) {
    let mut contract = Command::new("sh");
    contract.arg("contract.sh").env("POA_SERVER", program()).current_dir(home.path());
    assert_eq!(run(&mut contract), (true, format!("{plugin} keeps the contract\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_breaks_the_contract_is_told_how() {
    let folder = Folder::new("broken");
    let dir = folder.scaffold(&["receiver", "forgetful", "--exec"]);
    let (home, server) = serve(&dir, &["forgetful_receiver.py", "contract.sh"], None).await;
    server.stop().await;
    let script = home.path().join("forgetful_receiver.py");
    let text = fs::read_to_string(&script).unwrap();
    let (before, after) = text.split_once("            database.executemany").unwrap();
    let (_, after) = after.split_once('\n').unwrap();
    fs::write(&script, format!("{before}            pass\n{after}")).unwrap();
    let mut contract = Command::new("sh");
    contract.arg("contract.sh").env("POA_SERVER", program()).current_dir(home.path());
    let (ok, said) = run(&mut contract);
    assert!(!ok && said.starts_with("poa-server: forgetful breaks the contract: "), "{said}");
    assert!(said.contains("is stored 0 times"), "{said}");
}

/// Waits until a file holds the one message.
async fn holds(path: &Path) {
    until("the message is stored", async || {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.contains("pump-7").then_some(())
    })
    .await;
}

/// Waits until the receiver has stored the one message.
async fn stored(server: &Server, receiver: &str, path: &Path, table: &str) {
    server.drained(receiver).await;
    let query = format!("SELECT count(*) FROM {table} WHERE agent_id = 'pump-7'");
    assert_eq!(count(&database(path), &query), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_in_a_shared_library() {
    let folder = Folder::new("receiver-dylib");
    let dir = folder.scaffold(&["receiver", "my-library", "--dylib"]);
    let tested = cargo(&dir, &["test"]);
    assert!(tested.contains("honours_the_receiver_contract ... ok"), "{tested}");
    cargo(&dir, &["build"]);
    let built = target().join("debug/libmy_library.so");
    let (home, server) = serve(&dir, &[], Some(("target/debug/libmy_library.so", &built))).await;
    post(&server).await;
    holds(&home.path().join("poa-data/messages.jsonl")).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_in_a_shared_library() {
    let folder = Folder::new("handler-dylib");
    let dir = folder.scaffold(&["handler", "my-tcp", "--dylib"]);
    let tested = cargo(&dir, &["test"]);
    assert!(tested.contains("honours_the_handler_contract ... ok"), "{tested}");
    cargo(&dir, &["build"]);
    let built = target().join("debug/libmy_tcp.so");
    let (home, server) = serve(&dir, &[], Some(("target/debug/libmy_tcp.so", &built))).await;
    send_line(server.address("mine")).await;
    stored(&server, "local", &home.path().join("poa-data/metrics.db"), "metrics").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_in_c() {
    let folder = Folder::new("receiver-c");
    let dir = folder.scaffold(&["receiver", "my-c", "--c"]);
    let (ok, output) = run(Command::new("make").current_dir(&dir));
    assert!(ok && !output.contains("warning"), "{output}");
    let (home, server) = serve(&dir, &["libmy_c.so", "contract.sh"], None).await;
    post(&server).await;
    holds(&home.path().join("poa-data/messages.jsonl")).await;
    server.stop().await;
    keeps_the_contract(&home, "store");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_as_a_child_process() {
    let folder = Folder::new("receiver-exec");
    let dir = folder.scaffold(&["receiver", "my-script", "--exec"]);
    let (home, server) = serve(&dir, &["my_script_receiver.py", "contract.sh"], None).await;
    post(&server).await;
    stored(&server, "my_script", &home.path().join("poa-data/messages.db"), "messages").await;
    server.stop().await;
    keeps_the_contract(&home, "my_script");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_as_a_child_process() {
    let folder = Folder::new("handler-exec");
    let dir = folder.scaffold(&["handler", "my-script", "--exec"]);
    let (home, server) = serve(&dir, &["my_script_handler.py", "contract.sh"], None).await;
    send_line(server.address("my_script")).await;
    stored(&server, "local", &home.path().join("poa-data/metrics.db"), "metrics").await;
    server.stop().await;
    keeps_the_contract(&home, "my_script");
}

#[test]
fn what_cannot_be_is_refused_with_the_cure() {
    let folder = Folder::new("refused");
    let refused = |words: &[&str]| {
        let (ok, output) = folder.run(Command::new(program()).arg("new").args(words));
        assert!(!ok, "{words:?}");
        output
    };
    assert_eq!(
        refused(&["receiver", "2fast"]),
        "poa-server: `2fast` is not a valid crate name; start with a letter, continue with a-z, 0-9, - and _\n"
    );
    assert_eq!(
        refused(&["receiver", "store"]),
        "poa-server: `store` would make a type `Store`, which the code has already; choose another name\n"
    );
    assert_eq!(
        refused(&["receiver", "match"]),
        "poa-server: `match` is taken; choose another name, such as `my-match`\n"
    );
    assert_eq!(
        refused(&["receiver", "sqlite", "--c"]),
        "poa-server: `sqlite` is a kind that poa-server has already; choose another name\n"
    );
    assert_eq!(
        refused(&["handler", "mine", "--c"]),
        "poa-server: there is no template for a handler in C; use --dylib or --exec\n"
    );
    folder.scaffold(&["handler", "twice", "--exec"]);
    assert_eq!(
        refused(&["receiver", "twice"]),
        "poa-server: twice is there already, and not empty; choose another place with --path DIR\n"
    );
    assert!(refused(&["receiver", "mine", "--exec", "--c"]).contains("cannot be used with"));
}
