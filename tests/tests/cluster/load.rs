//! Agents that send while nodes and servers fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use poa_tests::{Client, Request, soon, until};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::node::Cluster;

/// How many agents send.
const AGENTS: usize = 6;
/// An answer that takes longer counts as lost.
const ANSWER: Duration = Duration::from_secs(15);
/// The time between two messages of an agent. The load is to be steady, not heavy.
const PACE: Duration = Duration::from_millis(5);
/// The time before a message is sent again, through another front end.
const AGAIN: Duration = Duration::from_millis(50);

/// The addresses of the front ends, and whether agents are to stop.
#[derive(Clone, Debug, Default)]
struct Place {
    addresses: Vec<String>,
    last: bool,
}

/// Agents that send one message after the other, each until it is acknowledged, through whichever front end answers.
pub(crate) struct Load {
    place: watch::Sender<Place>,
    agents: JoinSet<Sent>,
    counts: Counts,
}

/// How many messages of each agent are acknowledged.
type Counts = Arc<[AtomicUsize; AGENTS]>;

/// The messages of an agent.
pub(crate) struct Sent {
    agent: usize,
    acknowledged: usize,
    again: usize,
    longest: Duration,
}

impl Load {
    /// Starts to send through these front ends.
    pub(crate) fn start(token: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
        let (place, places) = watch::channel(Place { addresses, last: false });
        let counts = Counts::default();
        let agent = |agent| Agent {
            agent,
            token: token.to_owned(),
            places: places.clone(),
            counts: counts.clone(),
        };
        Self { agents: (0..AGENTS).map(|number| agent(number).run()).collect(), place, counts }
    }

    /// The front ends are elsewhere.
    pub(crate) fn move_to(&self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
        self.place.send_modify(|place| place.addresses = addresses);
    }

    /// Waits until messages of every agent are acknowledged again.
    pub(crate) async fn moves(&self) {
        let counts = || self.counts.iter().map(|count| count.load(Relaxed));
        let begin: Vec<_> = counts().collect();
        let moved = || counts().zip(&begin).all(|(now, begin)| now >= begin + 5);
        until("messages of every agent are acknowledged", async || moved().then_some(())).await;
    }

    /// Stops, and checks that every message that was acknowledged is stored once, in the order of its agent.
    pub(crate) async fn check(self, what: &str, cluster: &Cluster) {
        self.moves().await;
        self.place.send_modify(|place| place.last = true);
        let sent = soon("the agents stop", self.agents.join_all()).await;
        let total: usize = sent.iter().map(|sent| sent.acknowledged).sum();
        until("every message is stored", async || (cluster.count() >= total).then_some(())).await;
        for Sent { agent, acknowledged, .. } in &sent {
            let stored = cluster.stored(&format!("agent-{agent}"));
            let complete = stored.iter().copied().eq(0..*acknowledged);
            assert!(complete, "agent {agent}: {acknowledged} acknowledged, {stored:?}");
        }
        let again: usize = sent.iter().map(|sent| sent.again).sum();
        let longest = sent.iter().map(|sent| sent.longest).max().unwrap_or_default();
        println!("{what}: {total} acknowledged, {again} sent again, longest wait {longest:?}");
    }
}

struct Agent {
    agent: usize,
    token: String,
    places: watch::Receiver<Place>,
    counts: Counts,
}

impl Agent {
    async fn run(self) -> Sent {
        let mut sent =
            Sent { agent: self.agent, acknowledged: 0, again: 0, longest: Duration::ZERO };
        let (mut client, mut turn) = (None, self.agent);
        while !self.places.borrow().last {
            let (begin, request) = (Instant::now(), self.request(sent.acknowledged));
            while !self.try_once(&mut client, turn, &request).await {
                (client, turn) = (None, turn + 1);
                sent.again += 1;
                tokio::time::sleep(AGAIN).await;
            }
            sent.longest = sent.longest.max(begin.elapsed());
            sent.acknowledged += 1;
            self.counts[self.agent].store(sent.acknowledged, Relaxed);
            tokio::time::sleep(PACE).await;
        }
        sent
    }

    fn request(&self, n: usize) -> Vec<u8> {
        message(&self.token, &format!("agent-{}", self.agent), n)
            .header("idempotency-key", &format!("message {n}"))
            .bytes()
    }

    /// Sends the message once; whether it was acknowledged. No answer but 200 and 503 may come.
    async fn try_once(&self, client: &mut Option<Client>, turn: usize, request: &[u8]) -> bool {
        if client.is_none() {
            let address = {
                let place = self.places.borrow();
                place.addresses[turn % place.addresses.len()].clone()
            };
            *client = Client::connect(&address).await.ok();
        }
        let Some(open) = client else { return false };
        match tokio::time::timeout(ANSWER, open.exchange(request)).await {
            Ok(Ok(answer)) => {
                assert!([200, 503].contains(&answer.status), "{answer:?}");
                answer.status == 200
            }
            _ => false,
        }
    }
}

/// The message with this number of an agent.
pub(crate) fn message(token: &str, agent: &str, n: usize) -> Request {
    let body = format!(
        r#"{{"id":"{agent}","type":"system_metrics","data":{{"type":"t","body":{{"n":{n}}}}}}}"#
    );
    Request::post("/data", token).json(&body)
}
