//! The functions of the host for plugins, which can be called from any thread and at any time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use poa_core::AgentId;
use poa_core::auth::AuthError;
use tracing::Level;
use tracing::level_filters::LevelFilter;

use super::border::cross;
use super::call_table::{CallTable, Seat};
use super::outcome::Answer;
use super::sending::{drafts, shortfall};
use super::served::Served;
use crate::abi::{self, Bytes, Done, Drafts, Host, Outcome, Sink};

/// The table of functions that a plugin gets.
pub(crate) fn host(seat: &'static Seat) -> Host {
    Host {
        size: size_of::<Host>(),
        abi_minor: abi::POA_ABI_MINOR,
        context: std::ptr::from_ref(seat).cast(),
        complete: Some(complete),
        log: Some(log),
        log_level: Some(log_level),
        send: Some(send),
        activity: Some(activity),
        active_agents: Some(active_agents),
        verify: Some(verify),
        login: Some(login),
    }
}

/// The host behind the pointer of a plugin.
///
/// # Safety
/// `host` is null, or was given to the plugin by this host.
unsafe fn seat(host: *const Host) -> Option<&'static Seat> {
    // SAFETY: hosts and their seats are never freed, and made by `host` alone.
    unsafe { host.as_ref().and_then(|host| host.context.cast::<Seat>().as_ref()) }
}

/// # Safety
/// As for [`seat`].
unsafe fn table(host: *const Host) -> Option<&'static CallTable> {
    // SAFETY: the caller guarantees it.
    unsafe { seat(host) }.map(|seat| seat.table)
}

/// # Safety
/// As for [`seat`].
unsafe fn served(host: *const Host, plugin: u64) -> Option<Served> {
    // SAFETY: the caller guarantees it.
    unsafe { table(host) }.and_then(|table| table.served(plugin))
}

/// Nothing here should panic; if it does, the process continues.
fn guard<T>(otherwise: T, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(otherwise)
}

unsafe extern "C" fn complete(host: *const Host, call: u64, result: *const Outcome) {
    guard((), || {
        // SAFETY: the plugin passes the pointer it was given, and lends the result.
        let (table, answer) = unsafe { (table(host), Answer::read(result)) };
        if let Some(table) = table {
            table.complete(call, answer);
        }
    });
}

unsafe extern "C" fn log(host: *const Host, level: u32, target: Bytes, text: Bytes) {
    guard((), || {
        // SAFETY: the plugin passes the pointer it was given, and lends the texts.
        let Some(Seat { table, instance }) = (unsafe { seat(host) }) else { return };
        // SAFETY: as above.
        let (module, text) = unsafe { (target.text(), text.text()) };
        let (plugin, instance, module) = (table.library(), instance.as_str(), module.as_str());
        match level {
            abi::POA_ERROR => {
                tracing::error!(target: "poa_plugin", plugin, instance, module, "{text}")
            }
            abi::POA_WARN => {
                tracing::warn!(target: "poa_plugin", plugin, instance, module, "{text}")
            }
            abi::POA_INFO => {
                tracing::info!(target: "poa_plugin", plugin, instance, module, "{text}")
            }
            abi::POA_DEBUG => {
                tracing::debug!(target: "poa_plugin", plugin, instance, module, "{text}")
            }
            _ => tracing::trace!(target: "poa_plugin", plugin, instance, module, "{text}"),
        }
    });
}

unsafe extern "C" fn log_level(_: *const Host) -> u32 {
    match LevelFilter::current().into_level() {
        None => 0,
        Some(Level::ERROR) => abi::POA_ERROR,
        Some(Level::WARN) => abi::POA_WARN,
        Some(Level::INFO) => abi::POA_INFO,
        Some(Level::DEBUG) => abi::POA_DEBUG,
        Some(Level::TRACE) => abi::POA_TRACE,
    }
}

/// A completion that is called exactly once: without another result, with the one that the host has stopped.
struct Promise(&'static str, Option<Done>);

// SAFETY: the plugin's function can be called from any thread.
unsafe impl Send for Promise {}

impl Promise {
    /// # Safety
    /// As for [`seat`].
    unsafe fn of(host: *const Host, done: Done) -> Self {
        // SAFETY: the caller guarantees it.
        Self(unsafe { table(host) }.map_or("?", CallTable::library), Some(done))
    }

    fn keep(mut self, code: u32, text: &str) {
        self.say(&Outcome::with_text(code, text));
    }

    fn say(&mut self, outcome: &Outcome) {
        if let Some((Done { context, .. }, function)) =
            self.1.take().and_then(|done| Some((done, done.function?)))
        {
            // SAFETY: called once, with its own context, and a result that is lent.
            cross(self.0, "poa_done.function", || unsafe { function(context, outcome) });
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.say(&Outcome::code(abi::POA_STOPPED));
    }
}

unsafe extern "C" fn send(host: *const Host, sender: u64, messages: *const Drafts, done: Done) {
    // SAFETY: the plugin passes the pointer it was given.
    let promise = unsafe { Promise::of(host, done) };
    guard((), || {
        // SAFETY: as above.
        let Some(Served { cx, runtime }) = (unsafe { served(host, sender) }) else {
            return promise.keep(abi::POA_REFUSED_STOPPING, "");
        };
        // The plugin's thread has no access to the host's timers.
        let _entered = runtime.enter();
        // SAFETY: lent for this call.
        let drafts = match unsafe { drafts(cx.data_types(), messages) } {
            Ok(drafts) => drafts,
            Err(why) => return promise.keep(abi::POA_REFUSED_INVALID, &why),
        };
        match cx.send(drafts) {
            Err((code, text)) => promise.keep(code, &text),
            Ok(receipt) => drop(runtime.spawn(async move {
                match receipt.await {
                    Ok(()) => promise.keep(abi::POA_OK, ""),
                    Err(error) => promise.keep(shortfall(error), ""),
                }
            })),
        }
    });
}

unsafe extern "C" fn activity(host: *const Host, sender: u64, agent: Bytes, sign: u32) {
    guard((), || {
        // SAFETY: the plugin passes the pointer it was given, and lends the text.
        let (served, agent) = unsafe { (served(host, sender), agent.text()) };
        let (Some(Served { cx, runtime }), Ok(agent)) = (served, AgentId::new(agent)) else {
            return;
        };
        let _entered = runtime.enter();
        cx.sign_of_life(&agent, sign);
    });
}

unsafe extern "C" fn active_agents(host: *const Host, handler: u64) -> u64 {
    guard(0, || {
        // SAFETY: the plugin passes the pointer it was given.
        let Some(Served { cx, runtime }) = (unsafe { served(host, handler) }) else { return 0 };
        let _entered = runtime.enter();
        cx.active() as u64
    })
}

unsafe extern "C" fn verify(host: *const Host, handler: u64, token: Bytes, principal: Sink) -> u32 {
    guard(abi::POA_UNAUTHORIZED, || {
        // SAFETY: the plugin passes the pointer it was given, and lends the text.
        let (served, token) = unsafe { (served(host, handler), token.text()) };
        let Some(Served { cx, runtime }) = served else { return abi::POA_STOPPED };
        let _entered = runtime.enter();
        let Some(authenticator) = cx.authenticator() else { return abi::POA_UNAUTHORIZED };
        match authenticator.verify(&token) {
            Ok(who) => {
                let agent = who.agent.as_ref().map(AgentId::as_str);
                let text = serde_json::json!({ "user": &*who.user, "agent": agent }).to_string();
                // SAFETY: the plugin's function that gave the sink has not returned.
                cross(cx.name(), "poa_sink.write", || unsafe { principal.write(&text) });
                abi::POA_OK
            }
            Err(error) => rejection(&error),
        }
    })
}

fn rejection(error: &AuthError) -> u32 {
    match error {
        AuthError::Expired => abi::POA_EXPIRED,
        AuthError::Busy => abi::POA_BUSY,
        AuthError::Unavailable(_) => abi::POA_TRANSIENT,
        _ => abi::POA_UNAUTHORIZED,
    }
}

unsafe extern "C" fn login(
    host: *const Host,
    handler: u64,
    user: Bytes,
    password: Bytes,
    done: Done,
) {
    // SAFETY: the plugin passes the pointer it was given.
    let promise = unsafe { Promise::of(host, done) };
    guard((), || {
        // SAFETY: as above, and it lends the texts.
        let (served, user, password) =
            unsafe { (served(host, handler), user.text(), password.text()) };
        let Some(Served { cx, runtime }) = served else { return };
        drop(runtime.spawn(async move {
            let Some(authenticator) = cx.authenticator() else {
                return promise.keep(abi::POA_UNAUTHORIZED, "");
            };
            match authenticator.login(&user, &password).await {
                Ok(token) => promise.keep(abi::POA_OK, &token),
                Err(error) => promise.keep(rejection(&error), ""),
            }
        }));
    });
}
