//! The functions for the host, generated from a plugin type.

use std::panic::{AssertUnwindSafe, catch_unwind};

use poa_core::config::Problem;
use poa_core::{CustomHandler, Plugin, Receiver, Registry};
use serde_json::{Value, json};

use super::{context, handler, receiver, task};
use crate::abi::{self, Build, Bytes, Call, Descriptor, Kind, Sink};

/// The descriptor of a library with these kinds.
#[must_use]
pub const fn descriptor(
    name: &'static str,
    version: &'static str,
    kinds: &'static [&'static Kind],
) -> Descriptor {
    Descriptor {
        size: size_of::<Descriptor>(),
        abi_major: abi::POA_ABI_MAJOR,
        abi_minor: 0,
        name: Bytes::of(name.as_bytes()),
        version: Bytes::of(version.as_bytes()),
        kinds: kinds.as_ptr().cast(),
        kinds_len: kinds.len(),
        metrics: Some(metrics),
    }
}

/// The kind of a receiver.
#[must_use]
pub const fn receiver_kind<P: Plugin + Receiver, const THREADS: usize>(name: &'static str) -> Kind {
    Kind {
        role: abi::POA_RECEIVER,
        schema: Some(receiver_schema::<P>),
        validate: Some(validate_receiver::<P>),
        build: Some(build_receiver::<P, THREADS>),
        drop: Some(receiver::free),
        cancel: Some(receiver::cancel),
        endpoints: Some(receiver::endpoints),
        metrics_received: Some(receiver::metrics_received),
        handle_active: Some(receiver::handle_active),
        handle_inactive: Some(receiver::handle_inactive),
        handle_message: Some(receiver::handle_message),
        terminate: Some(receiver::terminate),
        start: Some(receiver::start),
        shutdown: Some(receiver::shutdown),
        ..nothing(name)
    }
}

/// The kind of a handler.
#[must_use]
pub const fn handler_kind<P: Plugin + CustomHandler, const THREADS: usize>(
    name: &'static str,
) -> Kind {
    Kind {
        role: abi::POA_HANDLER,
        schema: Some(handler_schema::<P>),
        validate: Some(validate_handler::<P>),
        build: Some(build_handler::<P, THREADS>),
        drop: Some(handler::free),
        cancel: Some(handler::cancel),
        endpoints: Some(handler::endpoints),
        run: Some(handler::run),
        shutdown: Some(handler::shutdown),
        revoked: Some(handler::revoked),
        ..nothing(name)
    }
}

const fn nothing(name: &'static str) -> Kind {
    Kind {
        size: size_of::<Kind>(),
        role: 0,
        flags: 0,
        name: Bytes::of(name.as_bytes()),
        schema: None,
        validate: None,
        build: None,
        drop: None,
        cancel: None,
        endpoints: None,
        metrics_received: None,
        handle_active: None,
        handle_inactive: None,
        handle_message: None,
        terminate: None,
        run: None,
        shutdown: None,
        revoked: None,
        start: None,
    }
}

/// Keeps a panic of the author's code on this side of the boundary.
pub(super) fn guard<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| task::panic_message(&*panic))
}

/// # Safety
/// `out` is valid until this returns.
pub(super) unsafe fn write(out: Sink, text: impl FnOnce() -> String) {
    let text = guard(text).unwrap_or_default();
    // SAFETY: the caller guarantees it.
    unsafe { out.write(&text) }
}

unsafe extern "C-unwind" fn metrics(out: Sink) {
    // SAFETY: the host's sink outlives the call.
    unsafe { write(out, || context::telemetry().encode()) }
}

/// The name of the type's kind in the registry used here.
const KIND: &str = "it";

fn receiver_of<P: Plugin + Receiver>() -> std::sync::Arc<poa_core::ReceiverKind> {
    Registry::new().receiver::<P>(KIND).receivers()[KIND].clone()
}

fn handler_of<P: Plugin + CustomHandler>() -> std::sync::Arc<poa_core::HandlerKind> {
    Registry::new().handler::<P>(KIND).handlers()[KIND].clone()
}

unsafe extern "C-unwind" fn receiver_schema<P: Plugin + Receiver>(out: Sink) {
    // SAFETY: the host's sink, for as long as this runs.
    unsafe { write(out, || receiver_of::<P>().schema().to_string()) }
}

unsafe extern "C-unwind" fn handler_schema<P: Plugin + CustomHandler>(out: Sink) {
    // SAFETY: the host's sink, for as long as this runs.
    unsafe { write(out, || handler_of::<P>().schema().to_string()) }
}

unsafe extern "C-unwind" fn validate_receiver<P: Plugin + Receiver>(config: Bytes, out: Sink) {
    let check = |config| receiver_of::<P>().configure(config).err();
    // SAFETY: lent by the host for the call.
    unsafe { report(config, out, check) }
}

unsafe extern "C-unwind" fn validate_handler<P: Plugin + CustomHandler>(config: Bytes, out: Sink) {
    let check = |config| handler_of::<P>().configure(config).err();
    // SAFETY: lent by the host for the call.
    unsafe { report(config, out, check) }
}

/// # Safety
/// `config` and `out` are valid until this returns.
unsafe fn report(config: Bytes, out: Sink, check: impl FnOnce(Value) -> Option<Vec<Problem>>) {
    // SAFETY: the caller guarantees it.
    let problems = match serde_json::from_slice(unsafe { config.get() }) {
        Ok(config) => guard(|| check(config)).unwrap_or_else(|panic| {
            Some(vec![Problem::new("", format!("checking it panicked: {panic}"))])
        }),
        Err(error) => Some(vec![Problem::new("", error.to_string())]),
    };
    let shown: Vec<_> = problems.into_iter().flatten().map(shown).collect();
    if !shown.is_empty() {
        // SAFETY: as above.
        unsafe { out.write(&Value::Array(shown).to_string()) }
    }
}

fn shown(problem: Problem) -> Value {
    json!({ "path": problem.path.join("."), "message": problem.message })
}

unsafe extern "C-unwind" fn build_receiver<P: Plugin + Receiver, const THREADS: usize>(
    build: *const Build,
    call: Call,
) {
    // SAFETY: lent by the host until the call is completed.
    unsafe { receiver::build(receiver_of::<P>, THREADS, build, call) }
}

unsafe extern "C-unwind" fn build_handler<P: Plugin + CustomHandler, const THREADS: usize>(
    build: *const Build,
    call: Call,
) {
    // SAFETY: lent by the host until the call is completed.
    unsafe { handler::build(handler_of::<P>, THREADS, build, call) }
}
