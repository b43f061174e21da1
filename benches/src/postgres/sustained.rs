//! From REST clients through the log to the rows, in the bundled server: shows whether the receiver keeps up.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::server::{Server, backlog};
use super::{agents, seconds};
use crate::Failure;
use crate::process::scratch;
use crate::report::table;

const AGENTS: usize = 64;
/// The interval of checks of the backlog.
const PAUSE: Duration = Duration::from_millis(250);
/// The growth of the backlog, as a share of the incoming messages, that counts as noise.
const NO_GROWTH: f64 = 0.001;

pub(super) fn run(url: &str) -> Result<(), Failure> {
    let dir = scratch()?;
    let server = Server::start(dir.path(), url, "")?;
    let (admin, time) = (server.address("admin")?, seconds(60));
    let (stop, stopped) = mpsc::channel();
    let watched = admin.clone();
    let watch = std::thread::spawn(move || backlogs(&watched, &stopped));
    let seen = agents::run(&server.address("rest")?, &server.token()?, AGENTS, None, time)?;
    let end = Instant::now();
    stop.send(())?;
    let backlogs = watch.join().map_err(|_| "watching the backlog panicked")??;
    while backlog(&admin, "store")? > 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    report(&seen, &backlogs, end.elapsed());
    Ok(())
}

fn report(seen: &agents::Seen, backlogs: &[(f64, f64)], drained: Duration) {
    println!(
        "POST /data by {AGENTS} agents for {:.0} s, through the log (`ack = stored`) into PostgreSQL on the same machine\n",
        seen.seconds
    );
    let rate = seen.acknowledged as f64 / seen.seconds;
    // The warm-up does not count towards the trend.
    let settled = &backlogs[backlogs.len() / 4..];
    let growth = slope(settled);
    let verdict = if growth <= rate * NO_GROWTH { "none" } else { "it grows" };
    let largest = settled.iter().fold(0.0, |largest: f64, (_, backlog)| largest.max(*backlog));
    let figure = |name: &str, value: String| vec![name.to_owned(), value];
    table(
        &["figure", "value"],
        &[
            figure("requests/s, acknowledged once durable", format!("{rate:.0}")),
            figure("refused", seen.refused.to_string()),
            figure(
                "growth of the backlog in the last three quarters, by least squares",
                format!("{growth:+.1} messages/s: {verdict}"),
            ),
            figure("largest backlog in that time", format!("{largest:.0} messages")),
            figure(
                "until all were rows, after the last answer",
                format!("{} ms", drained.as_millis()),
            ),
        ],
    );
}

/// Samples of the receiver's backlog: seconds, messages.
fn backlogs(admin: &str, stopped: &mpsc::Receiver<()>) -> Result<Vec<(f64, f64)>, Failure> {
    let begin = Instant::now();
    let mut seen = Vec::new();
    while stopped.recv_timeout(PAUSE).is_err() {
        seen.push((begin.elapsed().as_secs_f64(), backlog(admin, "store")? as f64));
    }
    Ok(seen)
}

/// The slope of the line that fits these points best.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (mut together, mut alone) = (0.0, 0.0);
    for point in points {
        together += (point.0 - x) * (point.1 - y);
        alone += (point.0 - x).powi(2);
    }
    together / alone
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_has_its_slope() {
        let line = [0.0, 1.0, 2.0, 5.0].map(|x| (x, 3.0 - 2.0 * x));
        assert!((super::slope(&line) + 2.0).abs() < 1e-9);
    }
}
