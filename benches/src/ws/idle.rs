//! The memory of idle connections.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt as _;

use super::load::{self, frame, open};
use crate::Failure;
use crate::process::{Server, resident_of};
use crate::report::table;

const CONNECTIONS: usize = 2 * HALF;

/// Beyond this number, the server's fixed memory is allocated.
const HALF: usize = 5_000;

/// Data calls of each connection.
const CALLS: usize = 40;

/// Open files besides the connections.
const OTHERS: u64 = 200;

pub(super) fn run() -> Result<(), Failure> {
    raise_file_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<(), Failure> {
    let server = Server::start("poa-ws")?;
    // One connection uses all code paths once.
    load::exchange(&mut open(&server.address, &server.token).await?, CALLS, 0).await?;
    let mut resident = vec![settled(&server).await?];
    let mut open_ones = Vec::new();
    for number in 0..CONNECTIONS {
        let mut stream = open(&server.address, &server.token).await?;
        let ping = format!(r#"{{"call":"ping","id":"agent-{number:05}"}}"#);
        stream.write_all(&frame(0x81, ping.as_bytes())).await?;
        // Enough calls to use all of its buffers.
        load::exchange(&mut stream, CALLS, 1).await?;
        open_ones.push(stream);
        if open_ones.len() % HALF == 0 {
            resident.push(settled(&server).await?);
        }
    }
    // One that the server closed meanwhile would cost nothing.
    for stream in &mut open_ones {
        load::exchange(stream, 1, 0).await?;
    }
    println!("{CONNECTIONS} agents connected, each of which has made {CALLS} data calls\n");
    let row = |what: String, from: usize, to: usize| {
        let each = (resident[to] as f64 - resident[from] as f64) / ((to - from) * HALF) as f64;
        vec![what, format!("{:.1} KiB", each / 1024.0)]
    };
    table(
        &["resident memory of a fresh server, per agent", "value"],
        &[
            row(format!("from {HALF} connections to {CONNECTIONS}"), 1, 2),
            row(format!("from none to {CONNECTIONS}"), 0, 2),
        ],
    );
    Ok(())
}

async fn settled(server: &Server) -> Result<u64, Failure> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    resident_of(server.id())
}

/// Lets this process open as many files as the benchmark needs.
///
/// # Errors
/// When the system does not allow it.
pub(super) fn raise_file_limit() -> Result<(), Failure> {
    let needed = CONNECTIONS as u64 + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < needed) {
        let most = maximum.unwrap_or(0);
        return Err(format!(
            "{needed} files have to be open at the same time, but the hard limit is {most}; raise it with `ulimit -Hn {needed}`"
        )
        .into());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum })?)
}
