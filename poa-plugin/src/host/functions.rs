//! The functions of the host for plugins, which can be called from any thread and at any time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use poa_core::auth::AuthError;
use poa_core::{
    AgentId, Assigns, Draft, Format, HandlerContext, IdempotencyKey, MessageType, Payload,
    ReceiptError, Refused,
};
use tracing::Level;
use tracing::level_filters::LevelFilter;

use super::border::cross;
use super::call_table::{CallTable, Seat, Served};
use super::outcome::Answer;
use crate::abi::{self, Bytes, Done, Drafts, Host, Outcome, Sink};
use crate::sized;

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
unsafe fn served(host: *const Host, handler: u64) -> Option<Served> {
    // SAFETY: the caller guarantees it.
    unsafe { table(host) }.and_then(|table| table.handler(handler))
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

unsafe extern "C" fn send(host: *const Host, handler: u64, messages: *const Drafts, done: Done) {
    // SAFETY: the plugin passes the pointer it was given.
    let promise = unsafe { Promise::of(host, done) };
    guard((), || {
        // SAFETY: as above.
        let Some(Served { cx, runtime }) = (unsafe { served(host, handler) }) else {
            return promise.keep(abi::POA_REFUSED_STOPPING, "");
        };
        // The plugin's thread has no access to the host's timers.
        let _entered = runtime.enter();
        // SAFETY: lent for this call.
        let drafts = match unsafe { drafts(&cx, messages) } {
            Ok(drafts) => drafts,
            Err(why) => return promise.keep(abi::POA_REFUSED_INVALID, &why),
        };
        match cx.send_all_to_receivers(drafts) {
            Err(refused) => {
                let (code, text) = refusal(refused.reason());
                promise.keep(code, &text);
            }
            Ok(receipt) => drop(runtime.spawn(async move {
                match receipt.await {
                    Ok(()) => promise.keep(abi::POA_OK, ""),
                    Err(error) => promise.keep(shortfall(error), ""),
                }
            })),
        }
    });
}

/// # Safety
/// `messages` is null or valid until this returns.
unsafe fn drafts(cx: &HandlerContext, messages: *const Drafts) -> Result<Vec<Draft>, String> {
    // SAFETY: the caller guarantees it, also for the data it leads to.
    unsafe {
        let messages = sized::read(messages).map_err(|_| "there are no messages".to_owned())?;
        let all = sized::items(messages.messages, messages.count, messages.stride);
        if all.len() != messages.count {
            return Err("`stride` is not `sizeof(poa_draft)`".to_owned());
        }
        all.map(|message| draft(cx, &message)).collect()
    }
}

/// # Safety
/// The data of the message is valid until this returns.
unsafe fn draft(cx: &HandlerContext, message: &abi::Draft) -> Result<Draft, String> {
    // SAFETY: the caller guarantees it.
    let (agent, data_type, key, payload) = unsafe {
        let key = message.key.text();
        (message.agent_id.text(), message.data_type.text(), key, message.payload.get())
    };
    let agent = AgentId::new(agent).map_err(|error| error.to_string())?;
    let known = cx.data_types().get(&data_type);
    let known = known.ok_or_else(|| format!("`{data_type}` is not among the host's data types"))?;
    let format = match message.format {
        abi::POA_JSON => Format::Json,
        abi::POA_MESSAGE_PACK => Format::MessagePack,
        other => return Err(format!("{other} is not a valid format")),
    };
    let message_type = match message.message_type {
        abi::POA_DATA => MessageType::Data,
        abi::POA_BYE => MessageType::Bye,
        other => return Err(format!("{other} is not a valid type of message")),
    };
    let payload = Payload::new(format, bytes::Bytes::copy_from_slice(payload));
    let key = match &*key {
        "" => None,
        key => Some(IdempotencyKey::new(&agent, key).map_err(|error| error.to_string())?),
    };
    // SAFETY: the caller guarantees it.
    let assigns = Assigns::from_json(unsafe { message.assigns.get() });
    let draft = Draft::new(agent, known.clone(), payload)
        .with_message_type(message_type)
        .with_assigns(assigns.map_err(|error| error.to_string())?);
    Ok(match key {
        Some(key) => draft.with_idempotency_key(key),
        None => draft,
    })
}

fn refusal(refused: &Refused) -> (u32, String) {
    match refused {
        Refused::BacklogFull { receiver } => (abi::POA_REFUSED_BACKLOG, receiver.to_string()),
        Refused::LogBusy
        | Refused::Unavailable(_)
        | Refused::OverShare { .. }
        | Refused::OverRate { .. }
        | Refused::NobodySubscribed(_) => (abi::POA_REFUSED_BUSY, String::new()),
        Refused::Stopping => (abi::POA_REFUSED_STOPPING, String::new()),
        Refused::KeyReused => (abi::POA_REFUSED_KEY, String::new()),
        other => (abi::POA_REFUSED_INVALID, other.to_string()),
    }
}

fn shortfall(error: ReceiptError) -> u32 {
    match error {
        ReceiptError::NotStored => abi::POA_NOT_STORED,
        ReceiptError::TimedOut => abi::POA_TIMED_OUT,
        ReceiptError::Stopped => abi::POA_STOPPED,
        _ => abi::POA_NOT_DELIVERED,
    }
}

unsafe extern "C" fn activity(host: *const Host, handler: u64, agent: Bytes, sign: u32) {
    guard((), || {
        // SAFETY: the plugin passes the pointer it was given, and lends the text.
        let (served, agent) = unsafe { (served(host, handler), agent.text()) };
        let (Some(Served { cx, runtime }), Ok(agent)) = (served, AgentId::new(agent)) else {
            return;
        };
        let _entered = runtime.enter();
        match sign {
            abi::POA_PING => cx.activity().ping(&agent),
            abi::POA_SENT_DATA => cx.activity().data(&agent),
            abi::POA_LEAVES => cx.publish_inactive(&agent),
            _ => {}
        }
    });
}

unsafe extern "C" fn active_agents(host: *const Host, handler: u64) -> u64 {
    guard(0, || {
        // SAFETY: the plugin passes the pointer it was given.
        let Some(Served { cx, runtime }) = (unsafe { served(host, handler) }) else { return 0 };
        let _entered = runtime.enter();
        cx.activity().active() as u64
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
