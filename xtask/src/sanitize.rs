//! The boundary to shared libraries under sanitizers, which find undefined behaviour that tests do not show.
//!
//! The receiver in C runs with a small host in C under the sanitizers of the C compiler: addresses, leaks, undefined behaviour, data
//! races. Host and SDK run the tests of the boundary under AddressSanitizer and LeakSanitizer, which `RUSTC_BOOTSTRAP` enables in the
//! stable toolchain. Miri needs a nightly toolchain, and ThreadSanitizer a standard library built for it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::run::{Failure, cargo_with, output};

const DIR: &str = "target/sanitize";

/// With an explicit target, sanitizers apply to the tests, and not to build scripts.
fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

pub(crate) fn sanitize() -> Result<(), Failure> {
    std::fs::create_dir_all(DIR).map_err(|error| {
        Failure::unavailable(
            DIR,
            error.to_string(),
            "check that the disk is not full and the directory is writable",
        )
    })?;
    c("address,undefined")?;
    c("thread")?;
    rust()
}

/// Compiles the receiver in C with its host, and runs both.
fn c(sanitizer: &str) -> Result<(), Failure> {
    let program = Path::new(DIR).join(format!("drive-{sanitizer}"));
    let mut compiler = Command::new("cc");
    compiler
        .args(["-std=c99", "-g", "-O1", "-pthread", "-fno-sanitize-recover=all"])
        .arg(format!("-fsanitize={sanitizer}"))
        .args(["-I", "poa-plugin/include", "-o"])
        .arg(&program)
        .args(["examples/plugins/c/drive.c", "examples/plugins/c/ndjson.c"]);
    output(&mut compiler)?;
    let _ = std::fs::remove_file(Path::new(DIR).join("drive.ndjson"));
    // ThreadSanitizer needs a fixed address layout.
    output(Command::new("setarch").arg("--addr-no-randomize").arg(&program).arg(DIR))?;
    eprintln!("xtask: {sanitizer}: clean");
    Ok(())
}

/// A loaded library keeps its call table until the process ends, so it has no owner at the end: see ADR 0014.
const MEANT_TO_STAY: &str = "leak:poa_plugin::host::library::Library>::of\n";

/// Each test is a process of its own, as a plugin's library has one state for all.
fn rust() -> Result<(), Failure> {
    let leaks = std::env::current_dir().unwrap_or_default().join(DIR).join("leaks");
    std::fs::write(&leaks, MEANT_TO_STAY).map_err(|error| {
        Failure::unavailable(
            DIR,
            error.to_string(),
            "check that the disk is not full and the directory is writable",
        )
    })?;
    let leaks = format!("suppressions={}:print_suppressions=0", leaks.display());
    let environment = [
        ("RUSTC_BOOTSTRAP", "1"),
        ("RUSTFLAGS", "-Zsanitizer=address"),
        // A test kills its child on purpose.
        ("ASAN_OPTIONS", "detect_leaks=1:handle_abort=0"),
        ("LSAN_OPTIONS", &leaks),
    ];
    let environment = environment.map(|(name, value)| (name, OsStr::new(value)));
    let target = target();
    let tests = ["nextest", "run", "--no-fail-fast", "--package", "poa-plugin"];
    cargo_with(&environment, tests.iter().chain(&["--target", &target, "--target-dir", DIR]))
}
