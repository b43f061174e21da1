//! A load of agents, each with a name and a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use super::STATISTICS;
use crate::Failure;
use crate::load::{Answer, read_answer};

/// The results of the agents.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) acknowledged: u64,
    /// Requests answered with a status other than 200, which were repeated.
    pub(crate) refused: u64,
    pub(crate) seconds: f64,
    /// Times of answers, sorted.
    micros: Vec<u32>,
}

impl Seen {
    /// This quantile of the times of answers, in milliseconds.
    pub(super) fn millis(&self, share: f64) -> f64 {
        let last = self.micros.len().saturating_sub(1);
        let at = (last as f64 * share) as usize;
        self.micros.get(at).map_or(f64::NAN, |micros| f64::from(*micros) / 1000.0)
    }
}

/// Sends statistics for this long: each agent waits for its answer and, if there is a pause, keeps this interval
/// between messages.
pub(crate) fn run(
    address: &str,
    token: &str,
    agents: usize,
    pause: Option<Duration>,
    time: Duration,
) -> Result<Seen, Failure> {
    // One thread, so that the clients leave processor time to the server, which shares two cores with them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let begin = Instant::now();
        let mut tasks = Vec::new();
        for n in 0..agents {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            tasks.push(tokio::spawn(agent(stream, request(n, token), pause, stop.clone())));
        }
        tokio::time::sleep(time).await;
        stop.store(true, Relaxed);
        let mut all = Seen::default();
        for task in tasks {
            let mut one = task.await??;
            all.acknowledged += one.acknowledged;
            all.refused += one.refused;
            all.micros.append(&mut one.micros);
        }
        all.micros.sort_unstable();
        all.seconds = begin.elapsed().as_secs_f64();
        Ok(all)
    })
}

fn request(agent: usize, token: &str) -> Vec<u8> {
    let body = format!(r#"{{"id":"agent-{agent}","type":"ethereum_metrics","data":{STATISTICS}}}"#);
    let head = format!(
        "POST /data HTTP/1.1\r\nHost: poa\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

async fn agent(
    mut stream: TcpStream,
    request: Vec<u8>,
    pause: Option<Duration>,
    stop: Arc<AtomicBool>,
) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    let mut clock = tokio::time::interval(pause.unwrap_or(Duration::from_secs(1)));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = vec![0; 4096];
    while !stop.load(Relaxed) {
        if pause.is_some() {
            clock.tick().await;
        }
        let begin = Instant::now();
        stream.write_all(&request).await?;
        if let Answer::Success = read_answer(&mut stream, &mut buffer).await? {
            seen.acknowledged += 1;
        } else {
            seen.refused += 1;
        }
        seen.micros.push(u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(seen)
}
