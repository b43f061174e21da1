//! The Python examples under a real server: acknowledged messages are stored once, whichever process is killed.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::path::Path;
use std::time::Duration;

use poa_exec::{Config, ExecReceiver};
use poa_testkit::{receiver_contract, receiver_factory};
use poa_tests::{Client, Home, METRICS, Request, Server, count, database, rows, soon, until};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// A Python example.
fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/exec").join(name);
    path.canonicalize().unwrap().display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_in_python_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("messages.db");
    let config =
        Config::new(["python3", &example("store.py")]).option("path", path.display().to_string());
    let stored = async || {
        let query = "SELECT id FROM messages ORDER BY rowid";
        rows(&database(&path), query, |row| row.get(0).unwrap())
    };
    receiver_contract(receiver_factory::<ExecReceiver>(config), stored).await;
}

/// A server with both examples. Each leaves its number in a file.
fn home() -> Home {
    let command = |name: &str| {
        let script = format!("echo $$ > {name}.pid; exec python3 {}", example(name));
        format!("kind = \"exec\"\ncommand = [\"sh\", \"-c\", {script:?}]")
    };
    Home::with(&format!(
        "[handlers.lines]\n{}\noptions = {{ port = 0 }}\n\
         [receivers.store]\n{}\noptions = {{ path = \"messages.db\" }}\n\
         subscribe = {METRICS:?}\nbatch = {{ linger = \"2ms\" }}\n\
         retry = {{ initial = \"10ms\", max = \"100ms\" }}\n",
        command("lines.py"),
        command("store.py")
    ))
}

/// The process of a child, if it has begun.
fn pid(home: &Home, name: &str) -> Option<Pid> {
    let text = std::fs::read_to_string(home.path().join(format!("{name}.pid"))).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

/// Kills a child, if it still is one: it may have ended when it was killed a moment ago, and its id may have been reused.
fn kill(home: &Home, child: Pid) {
    let place = std::fs::read_link(format!("/proc/{}/cwd", child.as_raw_nonzero()));
    let own = home.path().canonicalize().unwrap();
    if place.is_ok_and(|place| place != own) {
        return;
    }
    let _ = kill_process(child, Signal::KILL);
}

/// Whether a process runs. An orphan that is not reaped still exists, but does not run.
fn runs(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    match stat {
        Ok(stat) => !stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")),
        Err(_) => test_kill_process(process).is_ok(),
    }
}

/// The numbers of an agent's messages, in the order in which they were stored.
fn stored(home: &Home, agent: &str) -> Vec<usize> {
    let query =
        format!("SELECT data ->> 'n' FROM messages WHERE agent_id = '{agent}' ORDER BY rowid");
    let database = database(&home.data("messages.db"));
    rows(&database, &query, |row| usize::try_from(row.get::<_, i64>(0).unwrap()).unwrap())
}

/// Sends one message after the other over REST, each until it is acknowledged; how many.
async fn send(token: String, mut place: watch::Receiver<Option<String>>) -> usize {
    let (mut client, mut acknowledged): (Option<Client>, usize) = (None, 0);
    while place.has_changed().is_ok() {
        let address = place.wait_for(Option::is_some).await.map(|address| address.clone());
        let Ok(Some(address)) = address else { break };
        if client.is_none() {
            client = Client::connect(&address).await.ok();
        }
        let body =
            format!(r#"{{"id":"rest","type":"system_metrics","data":{{"n":{acknowledged}}}}}"#);
        let request = Request::post("/data", &token);
        let request = request.header("idempotency-key", &acknowledged.to_string()).json(&body);
        let Some(open) = &mut client else { continue };
        match open.exchange(&request.bytes()).await {
            Ok(answer) if answer.status == 200 => acknowledged += 1,
            Ok(answer) => panic!("{answer:?}"),
            Err(_) => client = None,
        }
    }
    acknowledged
}

/// In a container the server is process 1, and the processes that children leave behind become its own.
#[tokio::test(flavor = "multi_thread")]
async fn processes_that_children_leave_behind_are_collected() {
    let orphan = "(sh -c 'echo $$ > orphan.new; mv orphan.new orphan.pid; sleep 0.1' &)";
    let script = format!("{orphan}; exec python3 {}", example("store.py"));
    let home = Home::with(&format!(
        "[receivers.store]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", {script:?}]\n\
         options = {{ path = \"messages.db\" }}\nsubscribe = {METRICS:?}\n"
    ));
    let mut command = tokio::process::Command::new(poa_tests::program());
    command.arg("--init");
    let server = Server::run(&home, command).await;
    let orphan = until("a process is left behind", async || pid(&home, "orphan")).await;
    let entry = format!("/proc/{}", orphan.as_raw_nonzero());
    until("it is collected", async || (!Path::new(&entry).exists()).then_some(())).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_killed_with_or_without_its_host_loses_nothing_and_doubles_nothing() {
    let home = home();
    let mut server = Server::start(&home).await;
    let token = server.login().await;
    let (place, places) = watch::channel(None);
    let sending = tokio::spawn(send(token, places));
    for round in 0..20 {
        place.send_replace(Some(server.rest().to_owned()));
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..=250))).await;
        let child = until("the child runs", async || pid(&home, "store.py")).await;
        if round % 4 != 3 {
            kill(&home, child);
            continue;
        }
        place.send_replace(None);
        server.kill().await;
        // Its standard input has ended, and so does it.
        until("the child ends", async || (!runs(child)).then_some(())).await;
        server = Server::start(&home).await;
    }
    place.send_replace(Some(server.rest().to_owned()));
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(place);
    let acknowledged = soon("the last answer", sending).await.unwrap();
    server.drained("store").await;
    server.stop().await;
    let stored = stored(&home, "rest");
    println!("{acknowledged} acknowledged, {} stored", stored.len());
    assert!(acknowledged > 100, "{acknowledged}");
    assert!(stored.iter().copied().eq(0..acknowledged), "{acknowledged} acknowledged, {stored:?}");
}

/// A connection to the handler, which may be on its way back.
async fn connect(server: &Server) -> BufReader<TcpStream> {
    let stream = until("the handler listens", async || {
        let plugin = server.plugin("lines").await;
        let endpoint = plugin["endpoints"][0].as_str()?.trim_start_matches("tcp://").to_owned();
        TcpStream::connect(endpoint).await.ok()
    });
    BufReader::new(stream.await)
}

/// Sends lines until the connection breaks; the number of the first that was not acknowledged.
async fn lines(mut stream: BufReader<TcpStream>, begin: usize) -> usize {
    let mut n = begin;
    loop {
        let line = format!("lines system_metrics {{\"n\": {n}}}\n");
        let mut answer = String::new();
        let sent = stream.write_all(line.as_bytes()).await;
        if sent.is_err() || stream.read_line(&mut answer).await.is_err() || answer != "ok\n" {
            return n;
        }
        n += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_is_killed_has_acknowledged_nothing_that_is_lost() {
    let home = home();
    let server = Server::start(&home).await;
    let mut acknowledged = 0;
    for _ in 0..8 {
        let stream = connect(&server).await;
        let child = pid(&home, "lines.py").unwrap();
        let kill = async {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(50..=200))).await;
            kill(&home, child);
        };
        let (sent, ()) =
            soon("the end", async { tokio::join!(lines(stream, acknowledged), kill) }).await;
        acknowledged = sent;
    }
    server.drained("store").await;
    server.stop().await;
    let mut stored = stored(&home, "lines");
    // What was taken and not answered is sent again: it is another message then, in the same place.
    stored.dedup();
    println!("{acknowledged} acknowledged, {} stored", stored.len());
    assert!(acknowledged > 0);
    assert!(
        stored.iter().copied().take(acknowledged).eq(0..acknowledged),
        "{acknowledged} acknowledged, {stored:?}"
    );
    let twice = count(
        &database(&home.data("messages.db")),
        "SELECT count(*) - count(DISTINCT id) FROM messages",
    );
    assert_eq!(twice, 0);
}
