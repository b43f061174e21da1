//! Fuzzing with the stable compiler.
//!
//! libFuzzer needs to see which branches were taken, for which rustc has a stable option; sanitizers, which need a nightly compiler, would find
//! little in code without `unsafe`. So neither a nightly compiler nor cargo-fuzz is needed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Failure, cargo_with};

/// All of them.
const TARGETS: [&str; 10] = [
    "json_calls",
    "msgpack_calls",
    "http_head",
    "websocket_frames",
    "tokens",
    "leviathan_documents",
    "leviathan_monitor",
    "log_segments",
    "configuration",
    "plugin_descriptor",
];

/// The flags that make rustc report branches and comparisons to libFuzzer.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Builds the targets and runs each for so many seconds.
pub(crate) fn fuzz(seconds: u32, only: Option<&str>) -> Result<(), Failure> {
    let host = host()?;
    // With a target, build scripts and macros are built without these flags.
    let build = ["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", &host];
    let bins = TARGETS.into_iter().filter(|target| only.is_none_or(|only| only == *target));
    let chosen: Vec<_> = bins.clone().flat_map(|target| ["--bin", target]).collect();
    if chosen.is_empty() {
        let known = TARGETS.join(", ");
        return Err(Failure::unavailable(
            "a fuzz target",
            "no target has this name",
            format!("choose one of {known}"),
        ));
    }
    cargo_with(&[("RUSTFLAGS", OsStr::new(FLAGS))], build.iter().chain(&chosen))?;
    let built = Path::new("fuzz/target").join(&host).join("release");
    bins.into_iter().try_for_each(|target| run(&built.join(target), target, seconds))
}

/// Runs a target; what it finds new goes to its corpus, and inputs that fail to `fuzz/artifacts`.
fn run(program: &Path, target: &str, seconds: u32) -> Result<(), Failure> {
    let corpus = made(Path::new("fuzz/corpus").join(target))?;
    let artifacts = made(Path::new("fuzz/artifacts").join(target))?;
    let mut command = Command::new(program);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-timeout=20", "-rss_limit_mb=2048", "-max_len=16384", "-print_final_stats=1"])
        .arg(&corpus);
    let name = || program.display().to_string();
    let status = command.status().map_err(|error| Failure::NotStarted(name(), error))?;
    if status.success() { Ok(()) } else { Err(Failure::Ended(name(), status.code())) }
}

fn made(directory: PathBuf) -> Result<PathBuf, Failure> {
    let name = || format!("create {}", directory.display());
    std::fs::create_dir_all(&directory).map_err(|error| Failure::NotStarted(name(), error))?;
    Ok(directory)
}

/// The platform that the compiler runs on.
fn host() -> Result<String, Failure> {
    let command = || "rustc -vV".to_owned();
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.map_err(|error| Failure::NotStarted(command(), error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned);
    host.ok_or_else(|| Failure::Unreadable(command(), text.into_owned()))
}
