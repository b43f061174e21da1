//! A table of months whose `retention` is set: old rows go while agents send and people ask.
//!
//! Some thousand rows; with `POA_TEST_ROWS`, as `cargo xtask soak retention` sets it, so many, and then times count as well.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod people;

use std::path::Path;
use std::time::{Duration, Instant};

use poa_tests::{Agents, Home, Server, database, history, sqlite, until};

use people::People;

const SHORT: u64 = 4_000;
/// The time that a query of people may take, in a long run.
const QUERY: Duration = Duration::from_millis(100);
/// How much of its ingest a server must keep while it removes rows, in a long run.
const INGEST: f64 = 0.9;
/// How long ingest is measured at most, with and without the removal.
const MEASURED: Duration = Duration::from_secs(30);

fn size(file: &Path) -> u64 {
    let wal = file.with_extension("db-wal");
    let of = |file: &Path| std::fs::metadata(file).map_or(0, |found| found.len());
    of(file) + of(&wal)
}

/// Messages per second.
fn rate(acknowledged: usize, begin: Instant) -> f64 {
    acknowledged as f64 / begin.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_go_and_nothing_else_notices() {
    let long = std::env::var("POA_TEST_ROWS").ok().map(|rows| rows.parse().unwrap());
    let rows = long.unwrap_or(SHORT);
    let home = Home::new();
    Server::start(&home).await.stop().await;
    let file = home.data("metrics.db");
    let (filled, begin) = (file.clone(), Instant::now());
    tokio::task::spawn_blocking(move || history::fill(&filled, rows)).await.unwrap();
    println!("{rows} rows of 60 days made in {:.0?}, {} MB", begin.elapsed(), size(&file) >> 20);

    let before = size(&file);
    let config = std::fs::read_to_string(home.config()).unwrap();
    let old = sqlite("local", "metrics.db", "");
    let new = sqlite("local", "metrics.db", "retention = \"30d\"");
    assert!(config.contains(&old));
    std::fs::write(home.config(), config.replace(&old, &new)).unwrap();
    let server = Server::start(&home).await;
    let token = server.login().await;
    let (agents, people, begin) =
        (Agents::start(&server, 4, &token), People::ask(&file), Instant::now());
    removed(&file, long.is_some()).await;
    let (took, (query, slowest)) = (begin.elapsed(), people.stop().await);
    let sent = agents.stop().await;
    let during = rate(sent, begin);
    server.drained("local").await;
    let (agents, begin) = (Agents::start(&server, 4, &token), Instant::now());
    let measured = if long.is_some() { took.min(MEASURED) } else { Duration::from_millis(100) };
    tokio::time::sleep(measured).await;
    let alone_sent = agents.stop().await;
    let alone = rate(alone_sent, begin);
    server.drained("local").await;
    server.stop().await;

    let sent = i64::try_from(sent + alone_sent).unwrap();
    let left = history::count_all(&database(&file)) - sent;
    println!(
        "half of them removed in {took:.0?}; ingest {during:.0}/s meanwhile, {alone:.0}/s afterwards; 99 in 100 queries below {query:.1?}, the slowest {slowest:.1?}; {} -> {} MB",
        before >> 20,
        size(&file) >> 20,
    );
    let half = i64::try_from(rows / 2).unwrap();
    // The test itself takes some of the 30 days.
    assert!((half - half / 100..=half + 1).contains(&left), "{left} of {rows} are left");
    // New rows take the room of old ones; only what is more than that makes the file larger.
    let more = u64::try_from(sent - half).unwrap_or(0) * (before / rows);
    let most = before + more + (before >> 3) + (4 << 20);
    assert!(size(&file) < most, "{before} -> {}, {sent} new rows, at most {most}", size(&file));
    if long.is_some() {
        assert!(query < QUERY, "99 in 100 queries took up to {query:?}");
        assert!(
            during > INGEST * alone,
            "{during:.0}/s while rows were removed, then {alone:.0}/s"
        );
    }
}

/// Waits until no old rows are left; a long run takes as long as it takes.
async fn removed(file: &Path, long: bool) {
    let database = database(file);
    let old = || history::has_older(&database, 30);
    while long && old() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    until("old rows are removed", async || (!old()).then_some(())).await;
}
