//! The power goes while a real server is at work: what it does to its files is recorded, and at random places in the record a disk is
//! made that has what was synced, and of the rest what chance left. A server that starts on that disk has everything that was
//! acknowledged by then, once.
//!
//! `POA_POWER_CUTS` sets how many cuts there are in each round.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod disk;
mod record;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use poa_tests::{Client, Home, Request, Server, database, numbers, program, rows, sqlite};
use tempfile::TempDir;
use tokio::task::JoinSet;

use disk::{Disk, Left};
use record::{Record, Step};

const ROUNDS: usize = 3;
const CUTS: usize = 16;
const AGENTS: usize = 4;
/// The receivers that store what they get.
const STORES: [&str; 2] = ["local", "slow"];

/// The type of messages that one receiver refuses, and how often one is of it.
const REFUSED: &str = "networking_metrics";
const REFUSES: usize = 10;

/// A receiver that can never store anything.
const PICKY: &str = r#"
import json, sys
def say(**frame): print(json.dumps(frame), flush=True)
sys.stdin.readline()
say(type="ready", protocol=1)
for line in sys.stdin:
    frame = json.loads(line)
    if frame["type"] == "stop": break
    say(type="refuse", id=frame["id"], items=list(range(len(frame["messages"]))), reason="picky")
"#;

/// A server's home whose data may come from anywhere.
struct Place {
    dir: TempDir,
    home: Home,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::with_prefix("poa-power-").unwrap();
        // One receiver is slow, so that there is always something it has not got; one refuses all it gets.
        let slow = sqlite("slow", "slow.db", "batch = { size = 20, linger = \"1ms\" }");
        let picky = format!(
            "[receivers.picky]\nkind = \"exec\"\ncommand = [\"python3\", \"-c\", {PICKY:?}]\nsubscribe = [{REFUSED:?}]\n"
        );
        let sections = sqlite("local", "local.db", "") + &slow + &picky;
        let home = Home::with_data_in(&dir.path().join("data"), &sections);
        Self { dir, home }
    }

    /// With what this disk has left.
    fn after_a_cut(disk: &Disk, left: Left) -> Self {
        let place = Self::new();
        disk.leave(left, &place.home.data(""));
        place
    }

    fn record(&self) -> Record {
        Record::new(self.dir.path(), &self.dir.path().join("data"))
    }

    async fn start(&self) -> Server {
        Server::start(&self.home).await
    }

    async fn start_recorded(&self, record: &Record) -> Server {
        Server::run(&self.home, record.command(&program()).into()).await
    }

    /// The numbers of the agent's messages, in the order in which a receiver stored them.
    fn stored(&self, receiver: &str, agent: usize) -> Vec<usize> {
        numbers(&database(&self.home.data(&format!("{receiver}.db"))), &name(agent))
    }

    /// The numbers of the agent's messages among the dead letters of a receiver, in order.
    fn set_aside(&self, receiver: &str, agent: usize) -> Vec<usize> {
        let dead_letters = database(&self.home.data("dead_letters.db"));
        let query = format!(
            "SELECT CAST(payload AS TEXT) -> 'body' ->> 'n' FROM dead_letters
             WHERE receiver = '{receiver}' AND agent_id = '{}' ORDER BY 1",
            name(agent)
        );
        rows(&dead_letters, &query, |row| usize::try_from(row.get::<_, i64>(0).unwrap()).unwrap())
    }
}

fn name(agent: usize) -> String {
    format!("agent-{agent}")
}

fn message(token: &str, agent: usize, n: usize) -> Vec<u8> {
    let data_type = if refused(n) { REFUSED } else { "system_metrics" };
    let body = format!(
        r#"{{"id":"{}","type":"{data_type}","data":{{"type":"cut","body":{{"n":{n}}}}}}}"#,
        name(agent)
    );
    let request = Request::post("/data", token);
    request.header("idempotency-key", &format!("message {n}")).json(&body).bytes()
}

fn refused(n: usize) -> bool {
    n % REFUSES == REFUSES - 1
}

/// The messages that an agent sent until its connection broke.
struct Sent {
    agent: usize,
    /// The first number.
    first: usize,
    /// The length of the record after each answer.
    acknowledged: Vec<usize>,
}

impl Sent {
    /// Sends one message after the other.
    async fn until_it_breaks(
        address: String,
        token: String,
        agent: usize,
        first: usize,
        record: Arc<Record>,
    ) -> Self {
        let mut client = Client::connect(&address).await.unwrap();
        let mut sent = Self { agent, first, acknowledged: Vec::new() };
        loop {
            let n = first + sent.acknowledged.len();
            match client.exchange(&message(&token, agent, n)).await {
                Ok(answer) if answer.status == 200 => sent.acknowledged.push(record.len()),
                _ => return sent,
            }
        }
    }

    /// The first number that was not acknowledged when the record was so long.
    fn next(&self, length: usize) -> usize {
        self.first + self.acknowledged.partition_point(|acknowledged| *acknowledged <= length)
    }
}

/// Cuts in a row, by the step after which the power goes: half of them anywhere, the others soon after names were synced, which is
/// rare, and is when cursors have moved and segments were made or given back.
fn cuts(steps: &[(usize, Step)]) -> Vec<usize> {
    let count = std::env::var("POA_POWER_CUTS").map_or(CUTS, |count| count.parse().unwrap());
    let names = |(_, step): &(usize, Step)| matches!(step, Step::SyncedDirectory { .. });
    let rare: Vec<_> = (0..steps.len()).filter(|n| names(&steps[*n])).collect();
    let cut = |n| match fastrand::choice(&rare) {
        Some(names) if n % 2 == 1 => (names + fastrand::usize(..30)).min(steps.len() - 1),
        _ => fastrand::usize(..steps.len()),
    };
    let mut cuts: Vec<_> = (0..count).map(cut).collect();
    cuts.sort_unstable();
    cuts
}

fn what_is_left() -> Left {
    if fastrand::u8(..4) == 0 { Left::Synced } else { Left::Chance }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_stored_twice() {
    let mut place = Place::new();
    let server = place.start().await;
    let token = server.login().await;
    server.stop().await;
    let (mut all, mut acknowledged) = (0, 0);
    let mut first = vec![0; AGENTS];
    for round in 0..ROUNDS {
        let mut disk = Disk::of(&place.home.data(""));
        let (record, sent) = under_load(&place, &token, &first, round % 2 == 1).await;
        let steps = record.steps();
        let mut done = 0;
        for cut in cuts(&steps) {
            steps[done..=cut].iter().for_each(|(_, step)| disk.apply(step));
            done = cut + 1;
            let left = what_is_left();
            println!(
                "round {round}: the power goes after step {done} of {}: {left:?}",
                steps.len()
            );
            recover(&Place::after_a_cut(&disk, left), &token, &sent, steps[cut].0).await;
            all += 1;
        }
        acknowledged += sent.iter().map(|sent| sent.acknowledged.len()).sum::<usize>();
        // The next round begins where the power has just gone, so that recovery is cut off, too.
        place = Place::after_a_cut(&disk, what_is_left());
        first = sent.iter().map(|sent| sent.next(steps[done - 1].0)).collect();
    }
    println!("{all} power cuts while {acknowledged} messages were acknowledged");
    assert!(acknowledged > 100, "the server was hardly under load: {acknowledged}");
}

/// Has the agents send, from these numbers on, until the server is killed, perhaps in the middle of an orderly stop.
async fn under_load(
    place: &Place,
    token: &str,
    first: &[usize],
    stops: bool,
) -> (Arc<Record>, Vec<Sent>) {
    let record = Arc::new(place.record());
    let server = place.start_recorded(&record).await;
    let agents = first.iter().enumerate().map(|(agent, first)| {
        let (address, token) = (server.rest().to_owned(), token.to_owned());
        Sent::until_it_breaks(address, token, agent, *first, record.clone())
    });
    let agents: JoinSet<_> = agents.collect();
    tokio::time::sleep(Duration::from_millis(fastrand::u64(100..=1300))).await;
    if stops {
        server.tell_to_stop();
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=50))).await;
    }
    server.kill().await;
    let mut sent = agents.join_all().await;
    sent.sort_unstable_by_key(|sent| sent.agent);
    (record, sent)
}

/// Starts a server on what was left, and sends again what was not acknowledged when the record was so long, as agents do.
async fn recover(place: &Place, token: &str, sent: &[Sent], length: usize) {
    let server = place.start().await;
    let mut client = server.client().await;
    for sent in sent {
        let next = message(token, sent.agent, sent.next(length));
        let answer = client.exchange(&next).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    for receiver in ["local", "slow", "picky"] {
        server.drained(receiver).await;
    }
    server.stop().await;
    for sent in sent {
        check(place, sent.agent, sent.next(length));
    }
}

/// More messages than these were taken of the agent, and each of them is where it belongs, once.
fn check(place: &Place, agent: usize, acknowledged: usize) {
    let mut count = 0;
    for receiver in STORES {
        let mut all = place.stored(receiver, agent);
        assert!(all.is_sorted_by(|one, next| one < next), "{receiver} stored {all:?}");
        // Messages in flight at two consecutive cuts, alone the second time, are suspected of ending the process.
        let suspects = place.set_aside(receiver, agent);
        assert!(suspects.len() < ROUNDS, "{receiver} set aside {suspects:?}");
        all.extend(suspects);
        all.sort_unstable();
        all.dedup();
        let gap = all.iter().enumerate().find(|(n, has)| n != *has);
        assert_eq!(
            gap, None,
            "{receiver}, agent {agent}: {acknowledged} acknowledged; the place of a gap, what it has there"
        );
        assert!(all.len() > acknowledged, "{receiver}: {} of {acknowledged}", all.len());
        count = all.len();
    }
    let refused: Vec<_> = (0..count).filter(|n| refused(*n)).collect();
    assert_eq!(place.set_aside("picky", agent), refused, "dead letters");
}

/// A server that had nothing, the disk as it was, and the record of what it does.
async fn first_start() -> (Place, Disk, Record, Server) {
    let place = Place::new();
    fs::create_dir(place.home.data("")).unwrap();
    let disk = Disk::of(&place.home.data(""));
    let record = place.record();
    let server = place.start_recorded(&record).await;
    (place, disk, record, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_may_be_cut_off_anywhere() {
    let (_place, mut disk, record, server) = first_start().await;
    server.add_user("agent-user", "agent-password", None).await;
    let added = record.len();
    server.stop().await;
    let steps = record.steps();
    let mut done = 0;
    for cut in cuts(&steps) {
        steps[done..=cut].iter().for_each(|(_, step)| disk.apply(step));
        done = cut + 1;
        let place = Place::after_a_cut(&disk, what_is_left());
        let server = place.start().await;
        if steps[cut].0 >= added {
            server.session("agent-user", "agent-password").await;
        }
        server.stop().await;
    }
}

/// Without this, the other tests could find less than there is to find.
#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_complete() {
    let (place, mut disk, record, server) = first_start().await;
    let token = server.login().await;
    let mut client = server.client().await;
    for n in 0..50 {
        assert_eq!(client.exchange(&message(&token, 0, n)).await.unwrap().status, 200);
    }
    server.stop().await;
    record.steps().iter().for_each(|(_, step)| disk.apply(step));
    let copy = Place::after_a_cut(&disk, Left::All);
    let (all, copied) = (files(&place.home.data("")), files(&copy.home.data("")));
    assert_eq!(all.keys().collect::<Vec<_>>(), copied.keys().collect::<Vec<_>>());
    for (name, bytes) in &all {
        assert!(*bytes == copied[name], "{name} is not as the record tells");
    }
    assert!(all.keys().any(|name| name.starts_with("log/")), "{:?}", all.keys());
}

/// The content of all files below a directory, by their paths.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                all.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    all
}
