//! `cargo xtask soak`: tests in their long form, one at a time, so that their times mean something.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use crate::run::{Failure, cargo, cargo_with};
use crate::services::{self, Service};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The subject
    which: Subject,
    /// How often each fault or change is repeated; the default is 20 for `cluster`, and 60 for `reload`, one each second
    #[arg(long)]
    rounds: Option<u32>,
    /// How many rows `retention` makes in each database, half of which are too old
    #[arg(long, default_value_t = 5_000_000)]
    rows: u64,
    /// Runs everything in release mode
    #[arg(long)]
    release: bool,
}

/// A subject of long tests.
#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    /// Whole nodes and engines on NATS servers: kills, restarts, suspensions
    Cluster,
    /// Reloads with changes of every kind under 64 connections
    Reload,
    /// Millions of rows in SQLite and PostgreSQL that become too old, while agents send and people ask
    Retention,
}

/// Test targets, with the variable that makes them long.
struct Soak {
    tests: &'static [(&'static str, &'static str)],
    needs: &'static [&'static str],
    variable: &'static str,
    value: OsString,
}

impl Soak {
    fn of(arguments: &Arguments) -> Self {
        let rounds = |default: u32| OsString::from(arguments.rounds.unwrap_or(default).to_string());
        match arguments.which {
            Subject::Cluster => Self {
                tests: &[("poa-engine-nats", "faults"), ("poa-tests", "cluster")],
                needs: &["nats"],
                variable: "POA_TEST_ROUNDS",
                value: rounds(20),
            },
            Subject::Reload => Self {
                tests: &[("poa-tests", "reload")],
                needs: &[],
                variable: "POA_TEST_ROUNDS",
                value: rounds(60),
            },
            Subject::Retention => Self {
                tests: &[("poa-tests", "retention")],
                needs: &["postgres"],
                variable: "POA_TEST_ROWS",
                value: arguments.rows.to_string().into(),
            },
        }
    }
}

/// Runs the tests of one subject.
///
/// # Errors
/// When a server that they need is not available, or a test fails.
pub(crate) fn soak(arguments: &Arguments) -> Result<(), Failure> {
    let soak = Soak::of(arguments);
    let needs: Vec<_> = soak.needs.iter().map(|&need| need.to_owned()).collect();
    // Without a name, all would be started.
    let services = if needs.is_empty() { Vec::new() } else { services::start_named(&needs)? };
    let told = services.iter().flat_map(Service::environment);
    let mut environment: Vec<_> = told.map(|(name, value)| (name, value.as_os_str())).collect();
    environment.push((soak.variable, &soak.value));
    let profile: &[&str] = if arguments.release { &["--release"] } else { &[] };
    cargo(["build", "--package", "poa-server", "--bins"].iter().chain(profile))?;
    for (package, test) in soak.tests {
        let tests = ["test", "--package", package, "--test", test];
        let one_by_one = ["--", "--test-threads", "1", "--nocapture"];
        cargo_with(&environment, tests.iter().chain(profile).chain(&one_by_one))?;
    }
    Ok(())
}
