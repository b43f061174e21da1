//! Building an instance.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::call_table::{CallTable, Caller};
use super::instance::{InUse, receive};
use super::loaded_kind::LoadedKind;
use super::thread_pool::MOST_LEFT;
use crate::abi::{self, Bytes};
use poa_core::{BuildContext, BuildError};

/// Data lent to the plugin for a build.
struct Lent {
    _name: String,
    _config: String,
    _data_dir: PathBuf,
    _names: Vec<String>,
    _data_types: Vec<Bytes>,
    view: abi::Build,
}

// SAFETY: it never changes, and the pointers lead to data that it owns.
unsafe impl Send for Lent {}
// SAFETY: as for `Send`.
unsafe impl Sync for Lent {}

impl Lent {
    fn new(config: String, cx: &BuildContext) -> Self {
        let (name, data_dir) = (cx.name().to_owned(), cx.data_dir().to_owned());
        let names: Vec<_> = cx.data_types().iter().map(|known| known.name().to_owned()).collect();
        let data_types: Vec<_> = names.iter().map(|name| Bytes::of(name.as_bytes())).collect();
        let view = abi::Build {
            size: size_of::<abi::Build>(),
            name: Bytes::of(name.as_bytes()),
            config: Bytes::of(config.as_bytes()),
            data_dir: Bytes::of(data_dir.as_os_str().as_bytes()),
            data_types: data_types.as_ptr(),
            data_types_len: data_types.len(),
            has_authenticator: u32::from(cx.has_authenticator()),
        };
        Self {
            _name: name,
            _config: config,
            _data_dir: data_dir,
            _names: names,
            _data_types: data_types,
            view,
        }
    }
}

/// Has a plugin build an instance.
///
/// Cancel safe: an instance that is built too late is dropped. Until then, it counts as left behind by the library.
pub(crate) async fn build(
    loaded: Arc<LoadedKind>,
    config: String,
    cx: &BuildContext,
) -> Result<InUse, BuildError> {
    refuse_when_stuck(loaded.table())?;
    let make = loaded.functions().build.expect("a kind without `build` is not loaded");
    let table = loaded.table();
    cx.telemetry().include(&table.key(), || table.metrics());
    let (lent, host) = (Arc::new(Lent::new(config, cx)), table.seat(cx.name()));
    let (call, answered) = table.open(host, Caller::Kind(loaded.clone(), host), lent.clone());
    let mut building = Building { table, call: Some(call.id) };
    loaded.run("build", call, move || {
        // SAFETY: a function of a library that is never unloaded; the lent data is kept until the call is completed.
        unsafe { make(&raw const lent.view, call) }
    });
    let answered = receive(answered).await;
    building.call = None;
    answered.answer.of_build()?;
    let made =
        answered.instance.ok_or_else(|| BuildError::failed("the plugin returned no instance"))?;
    Ok(InUse::new(made))
}

/// Each call that never returns occupies a thread and memory until the process ends, so their number is limited.
fn refuse_when_stuck(table: &CallTable) -> Result<(), BuildError> {
    let (left, library) = (table.pool().left(), table.library());
    if left < MOST_LEFT {
        return Ok(());
    }
    Err(BuildError::unavailable(format!(
        "{left} calls of plugin `{library}` never returned, so it is not called again until some do; fix the plugin, then restart the server"
    )))
}

/// Reports to the call table that a build is no longer awaited.
struct Building {
    table: &'static CallTable,
    call: Option<u64>,
}

impl Drop for Building {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.table.give_up(call);
        }
    }
}
