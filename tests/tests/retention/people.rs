//! Queries that people make while a server writes to the database.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use poa_tests::database;
use tokio::task::JoinHandle;

/// The latest of an agent, the last hour of all, and a day some weeks ago.
const QUERIES: [&str; 4] = [
    "SELECT date, body FROM metrics WHERE agent_id = 'agent-7' ORDER BY date DESC LIMIT 100",
    "SELECT agent_id, avg(cpu_load), max(memory_usage) FROM system_stats WHERE date > strftime('%Y-%m-%dT%H:%M:%f', 'now', '-1 hour') GROUP BY agent_id",
    "SELECT date, current_block FROM eth_stats WHERE agent_id = 'agent-3' AND date > strftime('%Y-%m-%dT%H:%M:%f', 'now', '-1 day') ORDER BY date",
    "SELECT max(cpu_load) FROM system_stats WHERE agent_id = 'agent-9' AND date BETWEEN strftime('%Y-%m-%dT%H:%M:%f', 'now', '-20 days') AND strftime('%Y-%m-%dT%H:%M:%f', 'now', '-19 days')",
];
/// The time between two rounds of queries.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until it is stopped.
pub(crate) struct People {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Vec<Duration>>,
}

impl People {
    pub(crate) fn ask(file: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (file, stopped) = (file.to_owned(), stop.clone());
        Self { stop, asking: tokio::task::spawn_blocking(move || ask(&file, &stopped)) }
    }

    /// The time that 99 in 100 queries took at most, and the longest.
    pub(crate) async fn stop(self) -> (Duration, Duration) {
        self.stop.store(true, Relaxed);
        let mut times = self.asking.await.unwrap();
        times.sort();
        (times[times.len() * 99 / 100], times[times.len() - 1])
    }
}

fn ask(file: &Path, stop: &AtomicBool) -> Vec<Duration> {
    let database = database(file);
    let (mut times, mut most) = (Vec::new(), 0);
    loop {
        for query in QUERIES {
            let begin = Instant::now();
            let found = poa_tests::rows(&database, query, |row| row.get_ref(0).map(drop).unwrap());
            most = most.max(found.len());
            times.push(begin.elapsed());
        }
        if stop.load(Relaxed) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    assert!(most > 1, "no query finds rows");
    for query in QUERIES {
        let plan = format!("EXPLAIN QUERY PLAN {query}");
        let plan = poa_tests::rows(&database, &plan, |row| row.get::<_, String>(3).unwrap());
        assert!(plan[0].starts_with("SEARCH"), "{query}: {plan:?}");
    }
    times
}
