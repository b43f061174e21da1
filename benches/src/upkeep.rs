//! The bundled server at work while it is kept: its ingest alone and during each kind of upkeep, one after the other.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use clap::{Args, ValueEnum};
use poa_tests::{database, history};
use tempfile::TempDir;

use crate::Failure;
use crate::bundled::{Bundled, program};
use crate::load::{self, Seen};
use crate::process::scratch;
use crate::report::{median, table};

const CONNECTIONS: usize = 64;
/// The time between two reloads.
const RELOADS: Duration = Duration::from_secs(1);
/// How long the removal of rows may take after a measurement.
const REMOVAL: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Args)]
pub(crate) struct Upkeep {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Pairs of measurements of each kind; at most five with retention, of which each removes ten days more
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Rows in the database at the beginning
    #[arg(long, default_value_t = 2_000_000)]
    rows: u64,
    /// Only this kind
    #[arg(long, value_enum)]
    only: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Retention,
    Reload,
    Tap,
    Top,
}

impl Kind {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Retention, "retention removes rows"),
        (Self::Reload, "a reload each second replaces a receiver"),
        (Self::Tap, "`poa-server tap`"),
        (Self::Top, "`poa-server top`"),
    ];
}

impl Upkeep {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.rounds > 5 && self.only.is_none_or(|only| only == Kind::Retention) {
            return Err("give at most five --rounds with retention".into());
        }
        let site = Site::new(self)?;
        println!(
            "POST /data over {CONNECTIONS} connections, `ack = stored`, SQLite; medians of {} pairs of {} s, alone and with\n",
            self.rounds, self.seconds
        );
        let mut rows = Vec::new();
        let chosen = |kind| self.only.is_none_or(|only| only == kind);
        for (kind, name) in Kind::ALL.into_iter().filter(|(kind, _)| chosen(*kind)) {
            let (mut alone, mut with) = (Measured::default(), Measured::default());
            for round in 1..=self.rounds {
                // The order changes, since the database grows and a machine tires.
                if round % 2 == 0 {
                    with.add(&site.load_with(kind, round)?);
                    alone.add(&site.load()?);
                } else {
                    alone.add(&site.load()?);
                    with.add(&site.load_with(kind, round)?);
                }
            }
            rows.push(compare(name, alone, with));
        }
        table(&["with", "requests/s alone", "with", "ratio", "p99 alone", "with"], &rows);
        Ok(())
    }
}

/// The figures of several measurements.
#[derive(Default)]
struct Measured {
    rates: Vec<f64>,
    p99: Vec<f64>,
}

impl Measured {
    fn add(&mut self, seen: &Seen) {
        self.rates.push(seen.requests as f64 / seen.seconds);
        self.p99.push(seen.p99 as f64 / 1e3);
    }
}

fn compare(name: &str, alone: Measured, with: Measured) -> Vec<String> {
    let rates = [median(alone.rates), median(with.rates)];
    let [alone, with] = [median(alone.p99), median(with.p99)];
    vec![
        name.to_owned(),
        format!("{:.0}", rates[0]),
        format!("{:.0}", rates[1]),
        format!("{:.2}", rates[1] / rates[0]),
        format!("{alone:.1} ms"),
        format!("{with:.1} ms"),
    ]
}

/// A server in a directory of its own, with months of rows.
struct Site {
    server: Bundled,
    dir: TempDir,
    address: String,
    request: Vec<u8>,
    time: Duration,
}

impl Site {
    fn new(options: Upkeep) -> Result<Self, Failure> {
        let dir = scratch()?;
        std::fs::write(dir.path().join("poa.toml"), config(None, 100))?;
        Bundled::start(dir.path())?.stop()?;
        history::fill(&dir.path().join("data/metrics.db"), options.rows);
        let server = Bundled::start(dir.path())?;
        let address = server.url("rest")?.trim_start_matches("http://").to_owned();
        let time = Duration::from_secs(options.seconds);
        let body = r#"{"id":"agent-1","type":"system_metrics","data":{"type":"statistics","body":{"cpu_load":50.5,"disk_usage":25.25,"memory_usage":12.125}}}"#;
        let request = format!(
            "POST /data HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Self { server, dir, address, request: request.into(), time })
    }

    fn load(&self) -> Result<Seen, Failure> {
        load::run(&self.address, &self.request, CONNECTIONS, self.time)
    }

    fn load_with(&self, kind: Kind, round: u32) -> Result<Seen, Failure> {
        match kind {
            Kind::Retention => self.with_retention(round),
            Kind::Reload => self.with_reloads(),
            Kind::Tap => self.with_client("tap"),
            Kind::Top => self.with_client("top"),
        }
    }

    /// Each round removes the rows of ten days more.
    fn with_retention(&self, round: u32) -> Result<Seen, Failure> {
        let days = 60 - 10 * round;
        self.configure(Some(days), 100)?;
        let seen = self.load()?;
        let rows = database(&self.dir.path().join("data/metrics.db"));
        if !history::has_older(&rows, days) {
            return Err(
                "all rows were removed before the measurement ended; give more --rows".into()
            );
        }
        let begin = std::time::Instant::now();
        while history::has_older(&rows, days) {
            if begin.elapsed() > REMOVAL {
                return Err(format!("rows older than {days} days are not removed").into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        self.configure(None, 100)?;
        Ok(seen)
    }

    fn with_reloads(&self) -> Result<Seen, Failure> {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reloads = scope.spawn(|| {
                for batch in (101..200).cycle() {
                    if ended.load(Relaxed) {
                        return self.configure(None, 100);
                    }
                    self.configure(None, batch)?;
                    std::thread::sleep(RELOADS);
                }
                Ok(())
            });
            let seen = self.load();
            ended.store(true, Relaxed);
            reloads.join().map_err(|_| "reloading panicked")??;
            seen
        })
    }

    fn with_client(&self, command: &str) -> Result<Seen, Failure> {
        let client = Command::new(program()?)
            .args([command, "--config", "poa.toml"])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut client = Client(client);
        let seen = self.load()?;
        match client.0.try_wait()? {
            None => Ok(seen),
            Some(status) => Err(format!("`poa-server {command}` ended: {status}").into()),
        }
    }

    /// Changes the receiver, and tells the server.
    fn configure(&self, retention: Option<u32>, batch: u32) -> Result<(), Failure> {
        let file: PathBuf = self.dir.path().join("poa.toml");
        // The server may read it at any moment, so it is never half written.
        let beside = file.with_extension("new");
        std::fs::write(&beside, config(retention, batch))?;
        std::fs::rename(beside, file)?;
        self.server.reload()
    }
}

/// A client of the server. Killed on drop.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn config(retention: Option<u32>, batch: u32) -> String {
    let retention = retention.map_or(String::new(), |days| format!("retention = \"{days}d\"\n"));
    format!(
        "data_dir = \"data\"\nmetrics = [\"system_metrics\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [handlers.rest]\nkind = \"rest\"\nlisten = \"127.0.0.1:0\"\nanonymous = true\n\
         [receivers.local]\nkind = \"sqlite\"\npath = \"metrics.db\"\nsubscribe = [\"system_metrics\"]\n\
         batch = {{ size = {batch} }}\n{retention}"
    )
}
