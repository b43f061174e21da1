//! Queries that people make while a server writes to the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::store::Reader;

/// Queries with times in braces: how long ago. Those over all agents read a minute, which at a thousand messages a second are sixty thousand
/// rows; that of an agent reads an hour.
const QUESTIONS: [(&str, &str); 6] = [
    (
        "the latest 100 of an agent",
        "SELECT date, body FROM metrics WHERE agent_id = 'agent-1' ORDER BY date DESC LIMIT 100",
    ),
    (
        "the last hour of an agent",
        "SELECT date, cpu_load FROM system_stats WHERE agent_id = 'agent-2' AND date > {1 hour} ORDER BY date",
    ),
    (
        "the last minute of all agents",
        "SELECT agent_id, avg(cpu_load), max(memory_usage) FROM system_stats WHERE date > {1 minute} GROUP BY agent_id",
    ),
    (
        "how many messages of each agent in the last minute",
        "SELECT agent_id, count(*) FROM metrics WHERE date > {1 minute} GROUP BY agent_id",
    ),
    (
        "the latest of each agent",
        "SELECT agent_id, (SELECT cpu_load FROM system_stats WHERE system_stats.agent_id = agent_activity.agent_id
            ORDER BY date DESC LIMIT 1) FROM agent_activity",
    ),
    (
        "a day of an agent, some weeks ago",
        "SELECT date, current_block FROM eth_stats WHERE agent_id = 'agent-3' AND date BETWEEN {20 days} AND {19 days} ORDER BY date",
    ),
];
/// The time between two queries.
const PAUSE: Duration = Duration::from_millis(20);

/// Ask until they are stopped.
pub(crate) struct People {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Vec<Asked>>,
}

/// One of the queries.
pub(crate) struct Asked {
    pub(crate) name: &'static str,
    query: String,
    /// In ascending order at the end.
    times: Vec<Duration>,
    /// The most rows of an answer.
    pub(crate) rows: usize,
}

impl People {
    pub(crate) fn ask<R: Reader>(reader: R) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        Self { asking: tokio::spawn(ask(reader, stop.clone())), stop }
    }

    pub(crate) async fn stop(self) -> Vec<Asked> {
        self.stop.store(true, Relaxed);
        self.asking.await.unwrap()
    }
}

impl Asked {
    pub(crate) fn median(&self) -> Duration {
        self.times[self.times.len() / 2]
    }

    pub(crate) fn worst(&self) -> Duration {
        self.times[self.times.len() - 1]
    }

    pub(crate) fn print(&self) {
        let (name, count, rows) = (self.name, self.times.len(), self.rows);
        println!(
            "  {name}: median {:.1?}, worst {:.1?} of {count}, up to {rows} rows",
            self.median(),
            self.worst()
        );
    }
}

async fn ask<R: Reader>(mut reader: R, stop: Arc<AtomicBool>) -> Vec<Asked> {
    let asked = |(name, query): (_, &str)| {
        let query = with_times(query, R::ago);
        Asked { name, query, times: Vec::new(), rows: 0 }
    };
    let mut all = QUESTIONS.map(asked);
    loop {
        for asked in &mut all {
            let begin = Instant::now();
            asked.rows = asked.rows.max(reader.rows(&asked.query).await);
            asked.times.push(begin.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        if stop.load(Relaxed) {
            break;
        }
    }
    assert!(all.iter().any(|asked| asked.rows > 0), "no query finds rows");
    for asked in &mut all {
        asked.times.sort();
        let whole = reader.reads_whole_table(&asked.query).await;
        assert_eq!(whole, None, "{}", asked.query);
    }
    all.into()
}

/// Replaces each `{time}` by what a database calls the moment that long ago.
fn with_times(query: &str, ago: fn(&str) -> String) -> String {
    let replaced = query.split('{').map(|part| match part.split_once('}') {
        Some((time, rest)) => ago(time) + rest,
        None => part.to_owned(),
    });
    replaced.collect()
}
