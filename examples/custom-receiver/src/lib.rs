//! A receiver for poa hosts that appends messages to a file, one line of JSON each.
//!
//! A receiver consists of a configuration, [`Plugin`] to build it, and [`Receiver`] to store batches. A program
//! adds it to a registry, and then `kind = "json_lines"` works in its configuration file:
//!
//! ```
//! let registry = poa_core::Registry::new().receiver::<custom_receiver::JsonLines>("json_lines");
//! assert!(registry.receivers().contains_key("json_lines"));
//! ```
//!
//! The host delivers a batch until it is confirmed, also again after a crash, so a receiver must recognise messages that it
//! has stored already. The host does the retries, delays and dead letters: a receiver only classifies its errors.

mod store;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use poa_core::{BuildContext, BuildError, DeliveryError, Message, Plugin, Receiver, async_trait};
use schemars::JsonSchema;
use serde::Deserialize;

use store::{Line, Store};

/// The configuration section. These comments become the documentation of the keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file, relative to `data_dir`; created if missing.
    pub path: PathBuf,
}

/// Appends messages to a file.
#[derive(Debug)]
pub struct JsonLines(Arc<Mutex<Store>>);

#[async_trait]
impl Plugin for JsonLines {
    type Config = Config;

    /// Your own: connect, create tables. An error names the thing, the cause and the cure; for a condition that may pass, use
    /// [`BuildError::unavailable`].
    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let path = cx.data_dir().join(config.path);
        let failed =
            format!("cannot use {}; check that it is a file of this receiver", path.display());
        // File operations block, so they run on the threads for blocking work.
        let opened = tokio::task::spawn_blocking(move || Store::open(&path)).await;
        let store = opened.map_err(io::Error::other).flatten();
        Ok(Self(Arc::new(Mutex::new(
            store.map_err(|e| BuildError::failed(failed).with_source(e))?,
        ))))
    }
}

#[async_trait]
impl Receiver for JsonLines {
    /// Your own: store the batch in one transaction, each message by its id, and return when it is durable.
    ///
    /// Cancel safe: a call that is dropped before it writes never writes, and the next instance waits for one that does.
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let mut lines = Vec::with_capacity(batch.len());
        for (index, message) in batch.iter().enumerate() {
            // A retry cannot cure a malformed message: it is dead-lettered, and the others are delivered again.
            lines
                .push(Line::of(message).map_err(|e| DeliveryError::permanent_for(vec![index], e))?);
        }
        let (store, waiting) = (self.0.clone(), Arc::new(()));
        let wanted = Arc::downgrade(&waiting);
        let written = tokio::task::spawn_blocking(move || {
            store.lock().unwrap_or_else(PoisonError::into_inner).append(&lines, &wanted)
        });
        // A full disk or an unreachable network drive may recover.
        written.await.map_err(io::Error::other).flatten().map_err(DeliveryError::transient)
    }
}
