//! The host's context of a build.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::OnceLock;

use poa_core::telemetry::Telemetry;
use poa_core::{BuildContext, BuildError, DataTypes};
use serde_json::Value;

use super::log;
use crate::abi::{Build, Host};
use crate::sized;

/// The metrics of the plugins of this library.
pub(super) fn telemetry() -> &'static Telemetry {
    static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
    TELEMETRY.get_or_init(Telemetry::default)
}

/// The context of a build.
pub(super) struct Known {
    pub(super) config: Value,
    pub(super) cx: BuildContext,
    pub(super) host: HostRef,
}

/// The host, which can be called until the process ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostRef {
    pub(super) pointer: *const Host,
    pub(super) functions: Host,
}

// SAFETY: a host can be used from any thread.
unsafe impl Send for HostRef {}
// SAFETY: as for `Send`.
unsafe impl Sync for HostRef {}

/// Reads the host's context, and starts to log there.
///
/// # Safety
/// `build` and `host` come from the host, which lends `build` until this returns.
pub(super) unsafe fn read(build: *const Build, host: *const Host) -> Result<Known, BuildError> {
    let not_understood = || BuildError::failed("the host's context is not valid");
    // SAFETY: the caller guarantees it.
    let (build, functions) = unsafe { (sized::read(build), sized::read(host)) };
    let (build, functions) = build.ok().zip(functions.ok()).ok_or_else(not_understood)?;
    let host = HostRef { pointer: host, functions };
    log::start(host);
    // SAFETY: as above.
    let config = unsafe { build.config.get() };
    let config = serde_json::from_slice(config).map_err(|e| not_understood().with_source(e))?;
    // SAFETY: as above.
    let (types, name, data_dir) = unsafe {
        let types = sized::items(build.data_types, build.data_types_len, size_of_val(&build.name));
        let types: Vec<_> = types.map(|name| name.text()).collect();
        (types, build.name.text(), build.data_dir.get())
    };
    let types = DataTypes::new(types).map_err(|e| not_understood().with_source(e))?;
    let cx = BuildContext::detached(&name, OsStr::from_bytes(data_dir))
        .with_data_types(types)
        .with_telemetry(telemetry().clone())
        .with_authenticator(build.has_authenticator != 0);
    Ok(Known { config, cx, host })
}
