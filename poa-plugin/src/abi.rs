//! The interface between a host and a plugin, as C sees it: `include/poa_plugin.h` is generated from this file.
//!
//! - Structures start with their size, so that a later minor version can add fields at their end. A reader looks no
//!   further than the size; sequences carry the distance between their items.
//! - A call that takes time ends by its completion, from any thread, possibly before the call itself returns.
//! - Data lent to a function is valid until it returns; data lent to a call, until that call is completed.
//! - Nothing may unwind across the boundary: no panic, no C++ exception. The host's functions never unwind. A plugin's
//!   functions are `C-unwind` here, so that an exception out of one is detected, reported with its origin, and ends
//!   the process, instead of being undefined behaviour.

use std::ffi::c_void;

/// The major version of this interface. The name of the exported symbol contains it, too.
pub const POA_ABI_MAJOR: u32 = 1;
/// The minor version of this interface.
pub const POA_ABI_MINOR: u32 = 2;

/// `poa_kind.role`: a handler.
pub const POA_HANDLER: u32 = 1;
/// `poa_kind.role`: a receiver.
pub const POA_RECEIVER: u32 = 2;

/// `poa_kind.flags`: functions that take a call can block, so the host calls them on threads reserved for the library.
/// If many calls of a library never return, the host builds no further instances of it.
pub const POA_MAY_BLOCK: u32 = 1;

/// `poa_result.code`: success.
pub const POA_OK: u32 = 0;
/// `poa_result.code`: a transient error; the host retries.
pub const POA_TRANSIENT: u32 = 1;
/// `poa_result.code`: a permanent error: for the `items` of the batch, or for unknown ones if there are none; for a
/// build, until an operator fixes the cause.
pub const POA_PERMANENT: u32 = 2;
/// `poa_result.code`: the plugin panicked; the host builds a new instance.
pub const POA_PANICKED: u32 = 3;
/// `poa_result.code` of `send`: refused, the backlog of the receiver named by `text` is full.
pub const POA_REFUSED_BACKLOG: u32 = 16;
/// `poa_result.code` of `send`: refused, the disk is too slow at present.
pub const POA_REFUSED_BUSY: u32 = 17;
/// `poa_result.code` of `send`: refused, the host or the sender is stopping.
pub const POA_REFUSED_STOPPING: u32 = 18;
/// `poa_result.code` of `send`: refused, a message is not valid; `text` names the fault.
pub const POA_REFUSED_INVALID: u32 = 19;
/// `poa_result.code` of `send`: refused, another message was accepted with the same idempotency key.
pub const POA_REFUSED_KEY: u32 = 20;
/// `poa_result.code` of `send`: accepted, but the log could not be written; no receiver gets the messages.
pub const POA_NOT_STORED: u32 = 32;
/// `poa_result.code` of `send`: accepted, but a receiver could not deliver.
pub const POA_NOT_DELIVERED: u32 = 33;
/// `poa_result.code` of `send`: accepted and kept, but not delivered in time.
pub const POA_TIMED_OUT: u32 = 34;
/// `poa_result.code` of `send`: the host stopped before the result was known.
pub const POA_STOPPED: u32 = 35;
/// `poa_result.code` of `verify` and `login`: the token has expired.
pub const POA_EXPIRED: u32 = 48;
/// `poa_result.code` of `verify` and `login`: not authorised.
pub const POA_UNAUTHORIZED: u32 = 49;
/// `poa_result.code` of `login`: too many concurrent logins, try again later.
pub const POA_BUSY: u32 = 50;

/// `poa_message.message_type`: a metric.
pub const POA_DATA: u32 = 0;
/// `poa_message.message_type`: the agent says bye.
pub const POA_BYE: u32 = 1;
/// `poa_message.format`: the payload is a JSON object.
pub const POA_JSON: u32 = 0;
/// `poa_message.format`: the payload is a MessagePack object.
pub const POA_MESSAGE_PACK: u32 = 1;

/// `handle_message`: the host is stopping; queued messages still follow, then `terminate`.
pub const POA_STOPPING: u32 = 1;

/// `activity`: the agent is alive.
pub const POA_PING: u32 = 0;
/// `activity`: the agent sent data.
pub const POA_SENT_DATA: u32 = 1;
/// `activity`: the agent leaves, and is inactive immediately.
pub const POA_LEAVES: u32 = 2;

/// `log`: a failure.
pub const POA_ERROR: u32 = 1;
/// `log`: an irregularity.
pub const POA_WARN: u32 = 2;
/// `log`: information for operators.
pub const POA_INFO: u32 = 3;
/// `log`: information for developers.
pub const POA_DEBUG: u32 = 4;
/// `log`: everything.
pub const POA_TRACE: u32 = 5;

/// Bytes with their length, without a terminating zero. Text is UTF-8. `data` can be null if `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// The first byte.
    pub data: *const u8,
    /// The number of bytes.
    pub len: usize,
}

/// Receives the text that a function returns; valid until that function returns. Repeated writes append.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sink {
    /// Passed to `write`.
    pub context: *mut c_void,
    /// Appends a text.
    pub write: Option<unsafe extern "C-unwind" fn(context: *mut c_void, text: Bytes)>,
}

/// The result of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// `sizeof(poa_result)`.
    pub size: usize,
    /// One of the codes above.
    pub code: u32,
    /// A reason for people, or the requested text.
    pub text: Bytes,
    /// With `POA_PERMANENT`: the indexes in the batch of the messages that can never be delivered.
    pub items: *const u32,
    /// The number of `items`.
    pub items_len: usize,
    /// With `POA_OK` of `build`: the instance. It can be null.
    pub instance: *mut c_void,
}

/// A call of the plugin by the host: completed exactly once, by `poa_complete`, from any thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The caller; valid until the process ends.
    pub host: *const Host,
    /// The number of the call. It is never reused.
    pub id: u64,
}

/// A call of the host by the plugin: `function` is called exactly once, from any thread, possibly before the call
/// itself returns, and possibly after `drop`, which can wait for it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Passed to `function`.
    pub context: *mut c_void,
    /// Gets the result of the call; `result` is lent.
    pub function: Option<unsafe extern "C-unwind" fn(context: *mut c_void, result: *const Outcome)>,
}

/// The functions of the host. They can be called from any thread, until the process ends.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The size of this structure in this host.
    pub size: usize,
    /// The minor version of this host.
    pub abi_minor: u32,
    /// Private to the host.
    pub context: *const c_void,
    /// Completes the call with this number. A call that was completed before, or never made, is logged and ignored.
    pub complete:
        Option<unsafe extern "C" fn(host: *const Host, call: u64, result: *const Outcome)>,
    /// Writes to the host's log output; `target` names the part of the plugin, and can be empty.
    pub log:
        Option<unsafe extern "C" fn(host: *const Host, level: u32, target: Bytes, text: Bytes)>,
    /// The most detailed level that is logged; 0 if none is.
    pub log_level: Option<unsafe extern "C" fn(host: *const Host) -> u32>,
    /// Sends messages to the receivers: all of them, or none. A refusal completes before this returns. `sender` is a
    /// handler or, since 1.2, a receiver, which sends one message at a time. One that has ended is refused.
    pub send: Option<
        unsafe extern "C" fn(host: *const Host, sender: u64, messages: *const Drafts, done: Done),
    >,
    /// Reports a sign of life of an agent: `POA_PING`, `POA_SENT_DATA`, `POA_LEAVES`. A receiver reports only the last.
    pub activity:
        Option<unsafe extern "C" fn(host: *const Host, sender: u64, agent: Bytes, sign: u32)>,
    /// The number of agents whose silence is watched for.
    pub active_agents: Option<unsafe extern "C" fn(host: *const Host, handler: u64) -> u64>,
    /// Verifies a token: returns a code, and with `POA_OK` writes `{"user": "…", "agent": "…" or null}`.
    pub verify: Option<
        unsafe extern "C" fn(host: *const Host, handler: u64, token: Bytes, principal: Sink) -> u32,
    >,
    /// Issues a token for a user; with `POA_OK` it is the `text` of the result.
    pub login: Option<
        unsafe extern "C" fn(
            host: *const Host,
            handler: u64,
            user: Bytes,
            password: Bytes,
            done: Done,
        ),
    >,
}

/// A message for a receiver.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Unique, ascending in time, and the same when the message is delivered again: store by it.
    pub id: [u8; 16],
    /// The time the host accepted the message: microseconds since 1970-01-01 UTC.
    pub received_at: u64,
    /// The agent.
    pub agent_id: Bytes,
    /// The data type.
    pub data_type: Bytes,
    /// `POA_DATA` or `POA_BYE`; later versions can add others.
    pub message_type: u32,
    /// `POA_JSON` or `POA_MESSAGE_PACK`; later versions can add others.
    pub format: u32,
    /// The payload, as the agent sent it.
    pub payload: Bytes,
    /// Since 1.1. The idempotency key: 16 bytes that stand for the user, the agent and the key that it gave. Empty for none.
    pub key: Bytes,
    /// Since 1.1. The values that plugins added to the message, as a JSON object. Empty for none.
    pub assigns: Bytes,
}

/// Messages for a receiver, oldest first, at least one. Lent until the call is completed. See `poa_message_at`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// `sizeof(poa_batch)`.
    pub size: usize,
    /// The first message.
    pub messages: *const Message,
    /// The number of messages.
    pub count: usize,
    /// Bytes from one message to the next.
    pub stride: usize,
}

/// An agent whose state changed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Activity {
    /// The agent.
    pub agent_id: Bytes,
    /// The time: microseconds since 1970-01-01 UTC.
    pub since: u64,
}

/// Agents whose state changed, at least one. Lent until the call is completed. See `poa_activity_at`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Activities {
    /// `sizeof(poa_activities)`.
    pub size: usize,
    /// The first one.
    pub agents: *const Activity,
    /// The number of agents.
    pub count: usize,
    /// Bytes from one to the next.
    pub stride: usize,
}

/// A message from a handler, or from a receiver that derives messages from others.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Draft {
    /// The agent.
    pub agent_id: Bytes,
    /// The data type: one of the host's.
    pub data_type: Bytes,
    /// `POA_DATA` or `POA_BYE`.
    pub message_type: u32,
    /// `POA_JSON` or `POA_MESSAGE_PACK`.
    pub format: u32,
    /// The payload: one well-formed object.
    pub payload: Bytes,
    /// The idempotency key: the host accepts one message for each key and agent. Empty for none.
    pub key: Bytes,
    /// Since 1.1. Values that are stored with the message and reach every receiver, as a JSON object of at most 4 KiB. Empty for none.
    pub assigns: Bytes,
}

/// Messages to send.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Drafts {
    /// `sizeof(poa_drafts)`.
    pub size: usize,
    /// The first message.
    pub messages: *const Draft,
    /// The number of messages.
    pub count: usize,
    /// `sizeof(poa_draft)`.
    pub stride: usize,
}

/// The context of a build. Lent until the call is completed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The size of this structure in this host.
    pub size: usize,
    /// The name in the configuration, the `x` of `[receivers.x]`.
    pub name: Bytes,
    /// The section of the configuration, as JSON, without `kind` and the keys common to all receivers.
    pub config: Bytes,
    /// The directory for everything the host writes. It exists. The bytes of a path, possibly not UTF-8.
    pub data_dir: Bytes,
    /// The data types the host accepts.
    pub data_types: *const Bytes,
    /// The number of data types.
    pub data_types_len: usize,
    /// 1 if the host has an authenticator.
    pub has_authenticator: u32,
}

/// The context of a receiver that starts. Lent until the call is completed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The size of this structure in this host.
    pub size: usize,
    /// The name in the configuration, the `x` of `[receivers.x]`.
    pub name: Bytes,
    /// Identifies the receiver in `send` and `activity` of the host. It is a number that is never reused: any thread can
    /// use it at any time, and after the end of the receiver `send` answers `POA_REFUSED_STOPPING`. There is nothing to
    /// release.
    pub sender: u64,
}

/// A kind of handler or receiver, selected by `kind = "…"`. Functions of the other role, and optional ones, can be
/// null.
///
/// The calls of one instance arrive one at a time. `drop` comes last, after every call of the instance was completed,
/// on a thread that may block. The other functions that take no call must return immediately.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// `sizeof(poa_kind)`.
    pub size: usize,
    /// `POA_HANDLER` or `POA_RECEIVER`.
    pub role: u32,
    /// 0, or `POA_MAY_BLOCK`.
    pub flags: u32,
    /// The value of `kind` in the configuration.
    pub name: Bytes,
    /// Writes the JSON Schema of the section. Null: the section can hold anything.
    pub schema: Option<unsafe extern "C-unwind" fn(out: Sink)>,
    /// Writes the problems of a section (JSON): a JSON array of `{"path": "a.b", "message": "…"}`; empty if there are
    /// none. Pure: no file, no network.
    pub validate: Option<unsafe extern "C-unwind" fn(config: Bytes, out: Sink)>,
    /// Builds an instance. It may connect, but must not start background work: `start` and `run` are for that. Required.
    pub build: Option<unsafe extern "C-unwind" fn(build: *const Build, call: Call)>,
    /// Frees an instance.
    pub drop: Option<unsafe extern "C-unwind" fn(instance: *mut c_void)>,
    /// A hint: the host no longer waits for this call. The call must still be completed, soon if possible. It can come
    /// at any time and from any thread, during the call and after its completion. Ignore calls that are not known.
    pub cancel: Option<unsafe extern "C-unwind" fn(instance: *mut c_void, call: Call)>,
    /// Writes the endpoints of the instance: a JSON array of URLs.
    pub endpoints: Option<unsafe extern "C-unwind" fn(instance: *mut c_void, out: Sink)>,
    /// Receiver: a batch of messages. `POA_OK` confirms all of them. Required.
    pub metrics_received:
        Option<unsafe extern "C-unwind" fn(instance: *mut c_void, batch: *const Batch, call: Call)>,
    /// Receiver: agents became active.
    pub handle_active: Option<
        unsafe extern "C-unwind" fn(instance: *mut c_void, agents: *const Activities, call: Call),
    >,
    /// Receiver: agents became inactive.
    pub handle_inactive: Option<
        unsafe extern "C-unwind" fn(instance: *mut c_void, agents: *const Activities, call: Call),
    >,
    /// Receiver: a message from the host about itself, such as `POA_STOPPING`.
    pub handle_message:
        Option<unsafe extern "C-unwind" fn(instance: *mut c_void, message: u32, call: Call)>,
    /// Receiver: flush and close; only `drop` follows.
    pub terminate: Option<unsafe extern "C-unwind" fn(instance: *mut c_void, call: Call)>,
    /// Handler: serves until `shutdown`. `handler` identifies it in the host's functions until this call is completed.
    /// Required.
    pub run: Option<unsafe extern "C-unwind" fn(instance: *mut c_void, handler: u64, call: Call)>,
    /// Handler: accept no new work, answer accepted requests, then complete `run`. It can come at any time, as
    /// `cancel` can. Receiver with a `start`, since 1.2: end the background work. It comes once, and also if `start`
    /// failed: as soon as the receiver is replaced or removed, or has delivered everything when the host stops, and in
    /// any case before `drop`.
    pub shutdown: Option<unsafe extern "C-unwind" fn(instance: *mut c_void)>,
    /// Handler: tokens may have been revoked; verify those of long connections again.
    pub revoked: Option<unsafe extern "C-unwind" fn(instance: *mut c_void)>,
    /// Receiver, since 1.2: called once, before anything else: the place to start threads and to open connections that
    /// live as long as the instance. After an error the host drops the instance, and builds another later.
    pub start:
        Option<unsafe extern "C-unwind" fn(instance: *mut c_void, start: *const Start, call: Call)>,
}

/// The plugin, exported as the constant `poa_plugin_descriptor_v1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// `sizeof(poa_descriptor)`.
    pub size: usize,
    /// `POA_ABI_MAJOR`.
    pub abi_major: u32,
    /// The lowest minor version of a host that the plugin works with.
    pub abi_minor: u32,
    /// The name of the library.
    pub name: Bytes,
    /// Its version.
    pub version: Bytes,
    /// Its kinds. Constant data: they are read before any function of the plugin is called.
    pub kinds: *const *const Kind,
    /// The number of kinds.
    pub kinds_len: usize,
    /// Writes metrics in the OpenMetrics text format, for a scrape.
    pub metrics: Option<unsafe extern "C-unwind" fn(out: Sink)>,
}

// SAFETY: constant data; its pointers lead to constant data and to functions for any thread.
unsafe impl Sync for Kind {}
// SAFETY: as for `Kind`.
unsafe impl Sync for Descriptor {}
// SAFETY: its functions can be called from any thread, and only the host uses `context`.
unsafe impl Sync for Host {}
// SAFETY: as for `Sync`.
unsafe impl Send for Host {}
// SAFETY: as for `Sync`.
unsafe impl Send for Kind {}
// SAFETY: a number and a pointer to a `Host`, which is `Sync`.
unsafe impl Send for Call {}
// SAFETY: as for `Send`.
unsafe impl Sync for Call {}

/// The name of the symbol that a plugin exports.
pub const SYMBOL: &str = "poa_plugin_descriptor_v1";

impl Bytes {
    /// No bytes.
    pub const EMPTY: Self = Self { data: std::ptr::null(), len: 0 };

    /// These bytes, lent.
    #[must_use]
    pub const fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes; none if the pointer is null or the length is impossible.
    ///
    /// # Safety
    /// The owner keeps them unchanged for `'a`.
    #[must_use]
    pub unsafe fn get<'a>(self) -> &'a [u8] {
        if self.data.is_null() || self.len > isize::MAX as usize {
            return &[];
        }
        // SAFETY: not null, of a possible length, and the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }

    /// The bytes as text; invalid UTF-8 is replaced.
    ///
    /// # Safety
    /// As for [`get`](Self::get), until this returns.
    #[must_use]
    pub unsafe fn text(self) -> String {
        // SAFETY: the caller vouches for it.
        String::from_utf8_lossy(unsafe { self.get() }).into_owned()
    }
}

impl Outcome {
    /// A result without text.
    #[must_use]
    pub const fn code(code: u32) -> Self {
        Self {
            size: size_of::<Self>(),
            code,
            text: Bytes::EMPTY,
            items: std::ptr::null(),
            items_len: 0,
            instance: std::ptr::null_mut(),
        }
    }

    /// A result with a text, lent.
    #[must_use]
    pub const fn with_text(code: u32, text: &str) -> Self {
        Self { text: Bytes::of(text.as_bytes()), ..Self::code(code) }
    }
}

impl Sink {
    /// Appends to this text.
    pub(crate) fn into(text: &mut String) -> Self {
        Self { context: std::ptr::from_mut(text).cast(), write: Some(append) }
    }

    /// Writes a text.
    ///
    /// # Safety
    /// The function that the sink was given to has not returned.
    pub(crate) unsafe fn write(self, text: &str) {
        if let Some(write) = self.write {
            // SAFETY: the sink is valid, says the caller; the text is for this call.
            unsafe { write(self.context, Bytes::of(text.as_bytes())) }
        }
    }
}

/// The longest text that counts as valid.
const LONGEST: usize = 16 << 20;

unsafe extern "C-unwind" fn append(context: *mut c_void, text: Bytes) {
    // SAFETY: `Sink::into` made it from a text that has no other user before the plugin's function returns.
    let into = unsafe { &mut *context.cast::<String>() };
    if text.len <= LONGEST && into.len() <= LONGEST {
        // SAFETY: lent for this call.
        into.push_str(&unsafe { text.text() });
    }
}
