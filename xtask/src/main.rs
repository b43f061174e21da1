//! `cargo xtask lint` and `cargo xtask test` are what the CI runs, `cargo xtask bench` runs every benchmark.
//!
//! Servers and tools that tests need are found or installed here; one that is not available fails the run with an explanation.

mod api;
mod arrows;
mod checks;
mod fuzz;
mod libraries;
mod run;
mod sanitize;
mod services;
mod soak;
mod words;

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use run::{Failure, cargo, cargo_with, has};
use services::Service;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Runs the tests and benchmarks of poa")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs all tests: units, contracts, real processes, documentation.
    Test {
        /// Only tests whose name contains this.
        filter: Option<String>,
        /// Only the tests of this package; may be given several times.
        #[arg(short, long)]
        package: Vec<String>,
    },
    /// Starts the servers that tests need, prints the variables that name them, and keeps them until it is stopped.
    Services {
        /// Only those whose name contains one of these, such as `nats`; all of them if absent.
        which: Vec<String>,
    },
    /// Runs benchmarks in release mode, prints Markdown tables as in docs/benchmarks.md, and draws docs/benchmarks.svg.
    Bench {
        /// `log`, `bus`, `stopped`, `dynamo`, `postgres`, `postgres-outage`, `plugins`, `rest`, `ws`, `fleet`, `agents`, `gilmour`, `leviathan`, `cluster`, `server` or `upkeep`; all of them if absent.
        which: Option<String>,
    },
    /// Runs the long form of tests: faults, reloads or rows, many times.
    Soak(soak::Arguments),
    /// Checks words, arrows between crates, examples, format, lints, documentation, packages, and licences if cargo-deny is installed.
    Lint,
    /// Prints the phrases that docs/glossary.md does not allow, in files whose path starts with PREFIX.
    Words {
        /// For example `poa-core/` or `docs/`; every file if absent.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Builds each library by itself, with each of its features alone.
    Features,
    /// Writes docs/api, the listings of the public interfaces.
    Api {
        /// Print the changes since this commit or tag, too.
        since: Option<String>,
    },
    /// Compares the public interface of each library with that of a commit or tag. Needs cargo-semver-checks.
    Semver {
        /// The commit or tag.
        since: String,
    },
    /// Runs the tests of the shared library interface under sanitizers. Needs Linux, `cc` and cargo-nextest.
    Sanitize,
    /// Runs the fuzz targets, each for a while. Their findings are kept in fuzz/corpus, where the next run continues.
    Fuzz {
        /// Seconds for each target.
        #[arg(default_value_t = 60)]
        seconds: u32,
        /// Only this target.
        #[arg(long)]
        target: Option<String>,
    },
    /// Regenerates the generated documentation.
    Docs,
    /// Packs every library as it would be published, and builds each from the archives alone. Publishes nothing.
    Package,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Test { filter, package } => test(filter.as_deref(), &package),
        Task::Services { which } => services(&which),
        Task::Bench { which } => bench(which.as_deref()),
        Task::Soak(arguments) => soak::soak(&arguments),
        Task::Lint => checks::lint(),
        Task::Words { prefix } => words::show(checks::root(), &prefix),
        Task::Features => checks::features(),
        Task::Api { since } => api::write_and_compare(checks::root(), since.as_deref()),
        Task::Semver { since } => checks::semver(&since),
        Task::Sanitize => sanitize::sanitize(),
        Task::Fuzz { seconds, target } => fuzz::fuzz(seconds, target.as_deref()),
        Task::Docs => docs(),
        Task::Package => checks::package(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn test(filter: Option<&str>, packages: &[String]) -> Result<(), Failure> {
    let services = services::start_all()?;
    let environment: Vec<_> = services.iter().flat_map(Service::environment).collect();
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
    let run = |args: &[&str], scope: &[&str]| {
        cargo_with(&environment, args.iter().chain(scope).chain(filter.as_slice()))
    };
    let mut scope: Vec<_> = packages.iter().flat_map(|package| ["--package", package]).collect();
    if scope.is_empty() {
        scope.push("--workspace");
        scope.extend(services::test_features(&services));
    }
    // Tests of whole processes run the binaries; build them first, with the same profile.
    cargo(["build", "--workspace", "--bins", "--examples"])?;
    if has("nextest") {
        run(&["nextest", "run", "--no-fail-fast"], &scope)?;
    } else {
        eprintln!("xtask: cargo-nextest is not installed; using cargo test, which is slower");
        run(&["test", "--all-targets", "--no-fail-fast"], &scope)?;
    }
    run(&["test", "--doc"], &scope)
}

fn services(which: &[String]) -> Result<(), Failure> {
    let services = services::start_named(which)?;
    for (name, value) in services.iter().flat_map(Service::environment) {
        println!("export {name}='{}'", value.to_string_lossy());
    }
    eprintln!("xtask: everything runs until the end of standard input");
    // End of input and read errors both mean that no caller needs the servers any longer.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    Ok(())
}

fn bench(which: Option<&str>) -> Result<(), Failure> {
    let packages = ["--package", "poa-bench", "--package", "poa-server"];
    let release = ["--release", "--features", "poa-bench/stores"];
    cargo(["build", "--bins"].iter().chain(&packages).chain(&release))?;
    let services = services::start_for_bench(which)?;
    let environment: Vec<_> = services.iter().flat_map(Service::environment).collect();
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
    let run = [
        "run",
        "--quiet",
        "--release",
        "--package",
        "poa-bench",
        "--features",
        "stores",
        "--",
        "--chart",
        "docs/benchmarks.svg",
    ];
    cargo_with(&environment, run.iter().chain(which.as_slice()))
}

fn docs() -> Result<(), Failure> {
    // The test that compares the page with the configuration also writes it.
    let write = ["test", "--quiet", "--package", "poa-server", "reference"];
    cargo_with(&[("POA_WRITE_DOCS", OsStr::new("1"))], write)?;
    let write = ["test", "--quiet", "--package", "xtask", "page_of_dependencies"];
    cargo_with(&[("POA_WRITE_DOCS", OsStr::new("1"))], write)?;
    let write = ["test", "--quiet", "--package", "poa-plugin", "--test", "header"];
    cargo_with(&[("POA_WRITE_HEADER", OsStr::new("1"))], write)?;
    api::write(checks::root())
}
