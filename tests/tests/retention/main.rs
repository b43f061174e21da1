//! Tables of two months whose `retention` is set: old rows go while agents send and people ask.
//!
//! Some thousand rows; with `POA_TEST_ROWS`, as `cargo xtask soak retention` sets it, so many, and then times count as well.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod load;
mod people;
mod store;

use std::time::{Duration, Instant};

use poa_tests::{Home, Server, until};

use load::{Answers, Load, Rate};
use people::{Asked, People};
use store::{Postgres, Reader as _, Sqlite, Store, count_all, has_older};

/// The sizes of a run.
#[derive(Clone, Copy)]
struct Scale {
    rows: u64,
    rate: Rate,
    /// How long the load is measured without the removal, and again after it.
    measured: Duration,
    is_long: bool,
}

/// 200 agents that send a message every 200 ms: more than most fleets, as it would fill the tables to the five million rows of a long run in
/// an hour and a half, and much less than a server accepts, so that no answer and no query waits behind the load itself.
const FLEET: Rate = Rate { agents: 200, messages: 1000 };
const SHORT: Scale = Scale {
    rows: 4_000,
    rate: Rate { agents: 4, messages: 200 },
    measured: Duration::from_millis(100),
    is_long: false,
};
/// The time that a query of people may take, in a long run.
const QUERY: Duration = Duration::from_millis(100);
/// How much of the rate the server must keep up with while it removes rows, in a long run.
const INGEST: f64 = 0.98;
/// How much later than without the removal 99 in 100 answers may come, in a long run.
const LATER: Duration = Duration::from_millis(20);

/// Thirty days, and an hour more: meanwhile, further rows become too old, and wait for their turn.
const OLD: &str = "721 hours";

impl Scale {
    fn get() -> Self {
        let Ok(rows) = std::env::var("POA_TEST_ROWS") else { return SHORT };
        let (rows, measured) = (rows.parse().unwrap(), Duration::from_secs(30));
        Self { rows, rate: FLEET, measured, is_long: true }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_go_from_sqlite_and_nothing_else_notices() {
    Run::begin(Sqlite, Scale::get()).await.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_go_from_postgres_and_nothing_else_notices() {
    Run::begin(Postgres::start(), Scale::get()).await.check().await;
}

/// A database with old rows.
struct Run<S> {
    store: S,
    scale: Scale,
    home: Home,
}

/// The observations of one load.
struct Seen {
    answers: Answers,
    asked: Vec<Asked>,
    took: Duration,
}

impl<S: Store> Run<S> {
    /// Makes the rows, and the indexes.
    async fn begin(store: S, scale: Scale) -> Self {
        let home = Home::with(&store.section(""));
        let server = Server::start(&home).await;
        server.login().await;
        server.stop().await;
        let begin = Instant::now();
        store.fill(&home, scale.rows).await;
        let run = Self { store, scale, home };
        let (rows, mb) = (scale.rows, run.megabytes().await);
        println!("{}: {rows} rows of 60 days made in {:.0?}, {mb} MB", S::NAME, begin.elapsed());
        run
    }

    async fn check(self) {
        let server = Server::start(&self.home).await;
        self.until(async |reader| reader.has_indexes().await).await;
        let measured = async || tokio::time::sleep(self.scale.measured).await;
        let alone = self.measure(&server, "without retention", measured).await;
        server.stop().await;

        let before = self.store.size(&self.home).await;
        let (old, new) = (self.store.section(""), self.store.section("retention = \"30d\""));
        let config = std::fs::read_to_string(self.home.config()).unwrap();
        std::fs::write(self.home.config(), config.replace(&old, &new)).unwrap();
        let server = Server::start(&self.home).await;
        let removed = async || self.until(async |reader| !has_older(reader, OLD).await).await;
        let during = self.measure(&server, "while half of the rows are removed", removed).await;
        let after = self.measure(&server, "with retention, afterwards", measured).await;
        server.stop().await;
        self.check_rows(before, [&alone, &during, &after]).await;
        if self.scale.is_long {
            self.check_times(&alone, &during);
            self.check_times(&alone, &after);
        }
    }

    /// Runs the load, and lets people ask, until something happens; then until all is stored.
    async fn measure(&self, server: &Server, when: &str, happens: impl AsyncFnOnce()) -> Seen {
        let token = server.session("agent-user", "agent-password").await;
        let people = People::ask(self.store.reader(&self.home).await);
        let begin = Instant::now();
        let load = Load::start(server, self.scale.rate, &token);
        happens().await;
        let took = begin.elapsed();
        let (answers, asked) = (load.stop().await, people.stop().await);
        server.drained("store").await;
        let seen = Seen { answers, asked, took };
        self.report(when, &seen).await;
        seen
    }

    /// Polls, in a long run as long as it takes.
    async fn until(&self, mut holds: impl AsyncFnMut(&mut S::Reader) -> bool) {
        let mut reader = self.store.reader(&self.home).await;
        while self.scale.is_long && !holds(&mut reader).await {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        until("the database changes", async || holds(&mut reader).await.then_some(())).await;
    }

    async fn megabytes(&self) -> u64 {
        self.store.size(&self.home).await >> 20
    }

    async fn report(&self, when: &str, seen: &Seen) {
        let (answers, mb) = (&seen.answers, self.megabytes().await);
        println!(
            "{} {when}, {:.0?}: {:.1} messages/s, 99 in 100 answers within {:.1?}, the worst {:.1?}; {mb} MB",
            S::NAME,
            seen.took,
            answers.per_second,
            answers.p99(),
            answers.worst(),
        );
        seen.asked.iter().for_each(Asked::print);
    }

    /// Half of the rows of the beginning are left, and the new ones took their room.
    async fn check_rows(&self, before: u64, seen: [&Seen; 3]) {
        let sent = seen.map(|seen| i64::try_from(seen.answers.count()).unwrap());
        let mut reader = self.store.reader(&self.home).await;
        let left = count_all(&mut reader).await - sent.iter().sum::<i64>();
        let (rows, half) = (self.scale.rows, i64::try_from(self.scale.rows / 2).unwrap());
        // The test itself takes some of the 30 days, and the last rows to become too old wait for their turn.
        assert!(
            (half - half / 100..=half + half / 100).contains(&left),
            "{left} of {rows} are left"
        );
        let (size, most) = (self.store.size(&self.home).await, before + (before >> 3) + (4 << 20));
        assert!(size < most, "{before} bytes became {size}, with {sent:?} new rows");
    }

    fn check_times(&self, alone: &Seen, with: &Seen) {
        for asked in [alone, with].into_iter().flat_map(|seen| &seen.asked) {
            let (name, worst) = (asked.name, asked.worst());
            assert!(asked.rows > 0, "{}: {name} found no rows", S::NAME);
            assert!(worst < QUERY, "{}: {name} took up to {worst:.1?}", S::NAME);
        }
        let rate = f64::from(self.scale.rate.messages);
        let (kept, p99) = (with.answers.per_second / rate, with.answers.p99());
        assert!(kept > INGEST, "{}: {kept:.3} of the rate", S::NAME);
        let most = alone.answers.p99() + LATER;
        assert!(p99 < most, "{}: 99 in 100 answers within {p99:.1?}, not {most:.1?}", S::NAME);
    }
}
