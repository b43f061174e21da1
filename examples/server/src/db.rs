//! Maintenance of databases: `poa-server db`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use poa_core::{
    BuildContext, BuildError, DeliveryError, Message, Plugin, Receiver, async_trait, config,
};
use poa_receiver_postgres::Config;

use crate::cli::{Db, Place};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::say;
use crate::registry::registry_with_postgres;

/// Runs a command on databases. Returns the exit code.
pub(crate) async fn db(command: Db, cx: Context<'_>) -> Result<u8, Failure> {
    match command {
        Db::Compact { files, place } => compact(files, &place, cx),
        Db::Partition { receiver } => partition(&receiver, cx).await,
    }
}

/// Compacts these files, or all databases in the data directory.
fn compact(files: Vec<PathBuf>, place: &Place, cx: Context<'_>) -> Result<u8, Failure> {
    let files = if files.is_empty() { databases(cx.data(place)?.data_dir())? } else { files };
    if files.is_empty() {
        return Err(Failure::because("there is no database in the data directory; name the files"));
    }
    let mut code = 0;
    for file in files {
        match poa_sqlite::compact(&file) {
            Ok(sizes) => {
                say(format_args!("{}: {} -> {} bytes", file.display(), sizes.before, sizes.after));
            }
            Err(error) => {
                let _ = Failure::new("db compact", error).report(cx.logs);
                code = 1;
            }
        }
    }
    Ok(code)
}

/// The first bytes of every SQLite database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The SQLite databases in a directory, by name.
fn databases(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::new(format_args!("cannot read {}", dir.display()), error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() && is_database(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_database(path: &Path) -> bool {
    use std::io::Read as _;
    let mut begin = [0; MAGIC.len()];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut begin));
    read.is_ok() && begin == MAGIC
}

/// Divides the tables of a PostgreSQL receiver by time.
async fn partition(name: &str, cx: Context<'_>) -> Result<u8, Failure> {
    let config = cx.source().load(&registry_with_postgres::<Settings>())?;
    let missing = || Failure::because(format_args!("the configuration has no [receivers.{name}]"));
    let factory = config.receiver(name).ok_or_else(missing)?;
    let slot = Slot::default();
    let cx = BuildContext::detached(name, config.data_dir()).with_resource(slot.clone());
    // The plugin that is built only hands its configuration over; one of another kind fails, or is dropped unused.
    let other = || Failure::because(format_args!("receivers.{name} is not of kind \"postgres\""));
    let settings = match factory(&cx).await {
        Err(BuildError::Failed(message, _)) if message == HANDED_OVER => {
            slot.take().ok_or_else(other)?
        }
        _ => return Err(other()),
    };
    poa_receiver_postgres::divide(&settings, |line| say(format_args!("{line}")))
        .await
        .map_err(|error| Failure::new("db partition", error))?;
    say(format_args!(
        "new parts are made by day; for months, write `partition = \"month\"` into [receivers.{name}]"
    ));
    Ok(0)
}

/// Holds the configuration that the factory hands over.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<Config>>>);

impl Slot {
    fn take(&self) -> Option<Config> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

const HANDED_OVER: &str = "this is the configuration alone";

/// In place of the PostgreSQL receiver: reads its configuration as that does, and stores nothing.
struct Settings;

#[async_trait]
impl Plugin for Settings {
    type Config = Config;

    fn validate(config: &Config) -> Vec<config::Problem> {
        poa_receiver_postgres::Postgres::validate(config)
    }

    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        if let Some(slot) = cx.resource::<Slot>() {
            *slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(config);
        }
        Err(BuildError::failed(HANDED_OVER))
    }
}

#[async_trait]
impl Receiver for Settings {
    async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
        Err(DeliveryError::transient(HANDED_OVER))
    }
}
