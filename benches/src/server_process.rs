//! The bundled server as shipped: its time to ready, and its memory.

use std::path::Path;
use std::time::{Duration, Instant};

use poa_log::{Directory, Group, Log, Options};

use crate::Failure;
use crate::bundled::Bundled;
use crate::process::{resident_of, scratch};
use crate::report::{median, table};

const ROUNDS: usize = 7;

const CONFIG: &str = r#"
data_dir = "data"
metrics = ["ethereum_metrics", "networking_metrics", "system_metrics"]
[admin]
listen = "127.0.0.1:0"
[handlers.rest]
kind = "rest"
listen = "127.0.0.1:0"
[handlers.auth]
kind = "auth"
listen = "127.0.0.1:0"
tls = "self-signed"
[receivers.local]
kind = "sqlite"
subscribe = ["ethereum_metrics", "networking_metrics", "system_metrics"]
"#;

pub(crate) fn run() -> Result<(), Failure> {
    let dir = scratch()?;
    std::fs::write(dir.path().join("poa.toml"), CONFIG)?;
    let (first, _) = ready(dir.path())?;
    let (mut again, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (time, resident) = ready(dir.path())?;
        again.push(time);
        memory.push(resident);
    }
    fill_log(&dir.path().join("data/log"))?;
    let (after_crash, _) = ready(dir.path())?;
    println!(
        "The bundled server with its built-in receivers and handlers, medians of {ROUNDS} starts\n"
    );
    let figure = |name: &str, value: String| vec![name.to_owned(), value];
    table(
        &["figure", "value"],
        &[
            figure(
                "first start to ready, creating keys, certificate and databases",
                format!("{first:.0} ms"),
            ),
            figure("start to ready", format!("{:.0} ms", median(again))),
            figure("resident memory, idle", format!("{:.1} MiB", median(memory))),
            figure(
                "start to ready with 1 GiB in the log, not closed properly",
                format!("{after_crash:.0} ms"),
            ),
        ],
    );
    Ok(())
}

/// Starts the server; returns the milliseconds until it is ready, and its MiB then. It is killed, not stopped.
fn ready(dir: &Path) -> Result<(f64, f64), Failure> {
    let begin = Instant::now();
    let server = Bundled::start(dir)?;
    Ok((begin.elapsed().as_secs_f64() * 1e3, settled(&server)?))
}

/// Idle: the memory used by the start is released.
fn settled(server: &Bundled) -> Result<f64, Failure> {
    std::thread::sleep(Duration::from_millis(300));
    Ok(resident_of(server.id())? as f64 / f64::from(1 << 20))
}

/// Adds records that no receiver subscribes to until the log holds a gibibyte.
fn fill_log(path: &Path) -> Result<(), Failure> {
    let (mut log, _) = Log::open(Directory::open(path)?, Options::default())?;
    let mut group = Group::new();
    for _ in 0..4096 {
        // A data type that is not declared: counted, and delivered to no receiver.
        group.push(|bytes| {
            bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            bytes.extend_from_slice(&[7; 16]);
            bytes.extend_from_slice(&[4]);
            bytes.extend_from_slice(b"none");
            bytes.extend_from_slice(&[1, 0, b'a']);
            bytes.resize(bytes.len() + 220, b' ');
        });
    }
    while log.end().get() < 1 << 30 {
        log.append(&group)?;
    }
    Ok(())
}
