//! A receiver for poa hosts: appends messages to a file, one line of JSON each.
//!
//! A receiver is three things: a configuration, [`ReceiverPlugin`] to be built from it, [`Receiver`] to take batches. A
//! program adds it to a registry, and then `kind = "json_lines"` works in its configuration file:
//!
//! ```
//! let registry = poa_core::Registry::new().receiver::<custom_receiver::JsonLines>("json_lines");
//! assert!(registry.receivers().contains_key("json_lines"));
//! ```
//!
//! The host delivers a batch again until it is confirmed, also after a crash. So a receiver must know what it has stored
//! already. Retries, waits and dead letters are the host's work: a receiver only says what kind of error it met.

mod store;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use poa_core::{
    BuildContext, BuildError, DeliveryError, Message, Receiver, ReceiverPlugin, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;

use store::{Line, Store};

/// What an operator writes. These comments become the documentation of the keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file, relative to `data_dir`; made if missing.
    pub path: PathBuf,
}

/// Appends messages to a file.
#[derive(Debug)]
pub struct JsonLines(Arc<Mutex<Store>>);

#[async_trait]
impl ReceiverPlugin for JsonLines {
    type Config = Config;

    /// Your own: connect, make tables. An error names the thing, the cause and the cure; what may be there later is
    /// [`BuildError::unavailable`].
    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let path = cx.data_dir().join(config.path);
        let failed = format!("cannot use {}; is it a file of this receiver?", path.display());
        // Files block, so they are used on threads that may.
        let opened = tokio::task::spawn_blocking(move || Store::open(&path)).await;
        let store = opened.map_err(io::Error::other).flatten();
        Ok(Self(Arc::new(Mutex::new(store.map_err(|e| BuildError::failed(failed).because(e))?))))
    }
}

#[async_trait]
impl Receiver for JsonLines {
    /// Your own: store the batch in one transaction, each message by its id, and return when it is safe.
    ///
    /// Cancel safe: a call that is dropped before it writes never will, and whoever is built next waits for one that does.
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let mut lines = Vec::with_capacity(batch.len());
        for (index, message) in batch.iter().enumerate() {
            // What cannot be read today cannot be read tomorrow: that one message is set aside, the others come again.
            lines
                .push(Line::of(message).map_err(|e| DeliveryError::permanent_for(vec![index], e))?);
        }
        let (store, waiting) = (self.0.clone(), Arc::new(()));
        let wanted = Arc::downgrade(&waiting);
        let written = tokio::task::spawn_blocking(move || {
            store.lock().unwrap_or_else(PoisonError::into_inner).append(&lines, &wanted)
        });
        // A full disk or a lost network drive may be there again later.
        written.await.map_err(io::Error::other).flatten().map_err(DeliveryError::transient)
    }
}
