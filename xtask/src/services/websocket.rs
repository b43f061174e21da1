//! WebSocket as others speak it: `websockets` for Python, `ws` for Node.js, and the Autobahn test suite.

use std::path::PathBuf;
use std::process::Command;

use super::debian::{self, succeed};
use super::{Service, python};
use crate::run::Failure;

/// A Python that has `websockets` and `msgpack`.
pub(super) const PYTHON: &str = "POA_TEST_WS_PYTHON";
/// A `node_modules` that has `ws` and `@msgpack/msgpack`.
pub(super) const NODE: &str = "POA_TEST_WS_NODE_MODULES";
/// The program `wstest`.
pub(super) const AUTOBAHN: &str = "POA_TEST_AUTOBAHN";

const PYTHON_PACKAGES: [&str; 2] = ["websockets==15.0.1", "msgpack==1.1.2"];
const NODE_PACKAGES: [&str; 2] = ["ws@8.23.0", "@msgpack/msgpack@3.1.3"];
/// The last one that works as it is. The suite is written in Python 2.
const AUTOBAHN_PACKAGE: &str = "autobahntestsuite==0.8.2";

/// A virtual environment with the packages.
pub(super) fn python() -> Result<Service, Failure> {
    let cure = format!(
        "install Python 3.9 or newer with venv and let pip reach its index, or set {PYTHON} to one that has {PYTHON_PACKAGES:?}"
    );
    let made = python::install(&tools("python"), |dir| {
        python::environment(dir)?;
        succeed(python::pip(dir).args(PYTHON_PACKAGES))
    });
    let dir = made.map_err(|why| Failure::unavailable("websockets for Python", why, cure))?;
    Ok(Service::new().tell(PYTHON, dir.join("bin/python")))
}

/// A directory with the packages.
pub(super) fn node() -> Result<Service, Failure> {
    let cure = format!(
        "install Node.js 18 or newer with npm and let it reach its registry, or set {NODE} to a directory that has {NODE_PACKAGES:?}"
    );
    let made = python::install(&tools("node"), |dir| {
        debian::need("npm", "npm")?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"]);
        succeed(npm.arg("--prefix").arg(dir).args(NODE_PACKAGES))
    });
    let dir = made.map_err(|why| Failure::unavailable("ws for Node.js", why, cure))?;
    Ok(Service::new().tell(NODE, dir.join("node_modules")))
}

/// A virtual environment of Python 2 with the suite; nothing where there is no Python 2, which no current Debian or Ubuntu has.
pub(super) fn autobahn() -> Result<Service, Failure> {
    let Some(python) = python2() else {
        eprintln!(
            "xtask: the Autobahn test suite is left out, because it needs Python 2.7 (`pyenv install 2.7.18`) or {AUTOBAHN}; the rules of RFC 6455 are tested one by one all the same"
        );
        return Ok(Service::default());
    };
    let cure = format!(
        "let pip reach its index, or set {AUTOBAHN} to the program `wstest` of {AUTOBAHN_PACKAGE}"
    );
    let made = python::install(&tools("autobahn"), |dir| {
        // Python 2 has no venv of its own; what is installed for the user would not be found again elsewhere.
        let virtualenv = dir.join("virtualenv");
        let pip = ["-m", "pip", "install", "--quiet", "virtualenv==20.15.1", "--target"];
        succeed(Command::new(&python).args(pip).arg(&virtualenv))?;
        let mut make = Command::new(&python);
        succeed(make.env("PYTHONPATH", &virtualenv).args(["-m", "virtualenv"]).arg(dir))?;
        succeed(python::pip(dir).arg(AUTOBAHN_PACKAGE))
    });
    let dir = made.map_err(|why| Failure::unavailable("the Autobahn test suite", why, cure))?;
    Ok(Service::new().tell(AUTOBAHN, dir.join("bin/wstest")))
}

/// On the path, or among those of pyenv.
fn python2() -> Option<PathBuf> {
    let works = |program: &PathBuf| succeed(Command::new(program).arg("--version")).is_ok();
    let home = std::env::home_dir()?;
    let versions = std::fs::read_dir(home.join(".pyenv/versions")).into_iter().flatten().flatten();
    let of_pyenv = versions.map(|version| version.path().join("bin/python2.7"));
    std::iter::once(PathBuf::from("python2.7")).chain(of_pyenv).find(works)
}

fn tools(name: &str) -> PathBuf {
    python::tools("websocket").join(name)
}
