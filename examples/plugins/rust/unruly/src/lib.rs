//! For tests and benchmarks of hosts: a receiver that misbehaves as it is told, and loses nothing by it, and one that does
//! nothing.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use poa_plugin::poa_core::{
    BuildContext, BuildError, DeliveryError, Message, Plugin, Receiver, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The configuration section. Each `…_at` counts batches of all instances; 0 is never.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The file for ids and data, relative to `data_dir`.
    pub path: PathBuf,
    /// Panics at each so many batches.
    pub panic_at: u64,
    /// Never returns from every n-th batch.
    pub wait_at: u64,
    /// Blocks its thread for a while at each so many batches.
    pub block_at: u64,
    /// Panics when it is dropped.
    pub panic_on_drop: bool,
    /// Behaves for so many seconds after each of these.
    pub calm: u64,
}

impl Default for Config {
    fn default() -> Self {
        let path = "unruly.txt".into();
        Self { path, panic_at: 0, wait_at: 0, block_at: 0, panic_on_drop: false, calm: 0 }
    }
}

/// All instances count together, as each restart makes a new one.
static BATCHES: AtomicU64 = AtomicU64::new(0);
/// When one of them misbehaved last.
static LAST: Mutex<Option<Instant>> = Mutex::new(None);

struct Unruly {
    file: File,
    config: Config,
}

#[async_trait]
impl Plugin for Unruly {
    type Config = Config;

    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let path = cx.data_dir().join(&config.path);
        let opened = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { file: opened.map_err(|e| BuildError::failed("no file").with_source(e))?, config })
    }
}

impl Config {
    /// Whether the calm is over; then it begins again.
    fn is_over(&self) -> bool {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let over = last.is_none_or(|last| last.elapsed() >= Duration::from_secs(self.calm));
        if over {
            *last = Some(Instant::now());
        }
        over
    }
}

#[async_trait]
impl Receiver for Unruly {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let count = BATCHES.fetch_add(1, Relaxed) + 1;
        let due = |every: u64| every > 0 && count.is_multiple_of(every) && self.config.is_over();
        assert!(!due(self.config.panic_at), "told to panic at batch {count}");
        if due(self.config.wait_at) {
            std::future::pending::<()>().await;
        }
        if due(self.config.block_at) {
            std::thread::sleep(Duration::from_secs(3));
        }
        // A line that a crash has cut ends here.
        let mut text = vec![b'\n'];
        for message in batch {
            let data = message.payload().to_json().map_err(DeliveryError::permanent)?;
            writeln!(text, "{} {} {data}", message.id(), message.agent_id())
                .map_err(DeliveryError::transient)?;
        }
        self.file.write_all(&text).map_err(DeliveryError::transient)
    }
}

impl Drop for Unruly {
    fn drop(&mut self) {
        assert!(!self.config.panic_on_drop, "told to panic when it is dropped");
    }
}

/// Takes everything and does nothing.
struct Null;

/// It has no keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoKeys {}

#[async_trait]
impl Plugin for Null {
    type Config = NoKeys;

    async fn build(_: NoKeys, _: &BuildContext) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

#[async_trait]
impl Receiver for Null {
    async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
        Ok(())
    }
}

poa_plugin::export! {
    threads: 4,
    receivers: { "unruly" => Unruly, "null" => Null },
}
