//! Container networks to try: the server runs in namespaces of its own, so that it needs no privilege and changes nothing of this host.
//!
//! Two processes: this one listens where the user is, and passes connections on to the one inside, which a pipe ends with it.

mod inside;
mod lab;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;

use poa_host::told_to_stop;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio::process::{Child, Command};

use crate::cli::NetworkDemo;
use crate::failure::Failure;
use crate::logs::Logs;
use crate::serve::signals;

/// The socket between the two processes.
const SOCKET: &str = "networks.sock";
/// The cure that an error names.
const CURE: &str = "the demo needs `unshare`, `mount`, `ip` and `ping`, and either root or unprivileged user namespaces \
    (sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0)";

/// Runs until a signal ends it. Returns the exit code.
pub(crate) async fn demo(options: &NetworkDemo, logs: &Logs) -> Result<u8, Failure> {
    match (&options.inside, &options.at) {
        (Some(socket), Some(at)) => inside::serve(socket, at, logs).await,
        _ => outside(options.port).await,
    }
}

async fn outside(port: u16) -> Result<u8, Failure> {
    let mut signals = signals()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        let what = format!("cannot listen on 127.0.0.1:{port}; try another with --port");
        Failure::new(what, error)
    })?;
    let address = listener.local_addr().map_err(|error| Failure::new("no address", error))?;
    let directory =
        tempfile::tempdir().map_err(|error| Failure::new("cannot make a directory", error))?;
    let socket = directory.path().join(SOCKET);
    let mut child = enter(&socket, &address.to_string())?;
    // The process inside ends with this pipe. Taken out, since a wait for a child closes what it has.
    let pipe = child.stdin.take();
    let passing = tokio::spawn(pass_on(listener, socket));
    let ended = tokio::select! {
        ended = child.wait() => ended,
        _ = told_to_stop(&mut signals) => {
            drop(pipe);
            child.wait().await
        }
    };
    passing.abort();
    let ended = ended.map_err(|error| Failure::new("cannot wait for the demo", error))?;
    match ended.code() {
        Some(0) => Ok(0),
        _ => Err(Failure::because(format_args!("the demo ended with {ended}")).and(CURE)),
    }
}

/// Starts this program in a user, network and mount namespace of its own.
fn enter(socket: &Path, at: &str) -> Result<Child, Failure> {
    let program =
        std::env::current_exe().map_err(|error| Failure::new("cannot find this program", error))?;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--"]);
    command.arg(program).args(["demo", "leviathan", "--at", at, "--inside"]).arg(socket);
    command.stdin(Stdio::piped()).kill_on_drop(true);
    command.spawn().map_err(|error| Failure::new("cannot run `unshare`", error).and(CURE))
}

/// Passes each connection on to the process inside.
async fn pass_on(listener: TcpListener, socket: std::path::PathBuf) {
    while let Ok((mut outer, _)) = listener.accept().await {
        let socket = socket.clone();
        tokio::spawn(async move {
            if let Ok(mut inner) = UnixStream::connect(socket).await {
                let _ = copy_bidirectional(&mut outer, &mut inner).await;
            }
        });
    }
}
