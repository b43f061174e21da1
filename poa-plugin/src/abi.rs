//! What crosses the border between a host and a plugin, as C sees it: `include/poa_plugin.h` is generated from this file.
//!
//! - Structures begin with their size, so that a later minor version can add fields at their end. Whoever reads one looks
//!   no further than its size; whoever reads a sequence of them takes the step from one to the next from where it says it.
//! - A call that takes time ends by its completion, from any thread, also before the call itself returns.
//! - What is lent is valid until the function returns; what is lent to a call, until that call is completed.
//! - Nothing that unwinds may cross: no panic, no C++ exception. The host's functions let nothing out. A plugin's functions are
//!   `C-unwind` here so that an exception out of one is noticed, named, and ends the process, and is not undefined behaviour.

use std::ffi::c_void;

/// The major version of this border. It stands in the name of the symbol that a plugin exports, too.
pub const POA_ABI_MAJOR: u32 = 1;
/// The minor version of this border.
pub const POA_ABI_MINOR: u32 = 0;

/// `poa_kind.role`: it brings messages in.
pub const POA_HANDLER: u32 = 1;
/// `poa_kind.role`: it takes messages out.
pub const POA_RECEIVER: u32 = 2;

/// `poa_kind.flags`: functions that take a call may block, so the host calls them on threads that it keeps for the library. When
/// many calls of a library never return, the host builds no further instances of it.
pub const POA_MAY_BLOCK: u32 = 1;

/// `poa_result.code`: done.
pub const POA_OK: u32 = 0;
/// `poa_result.code`: not for now, it may work later; the host tries again.
pub const POA_TRANSIENT: u32 = 1;
/// `poa_result.code`: it never will: for the `items` of the batch, or for some of it when there are none; or until somebody
/// changes something, of a build.
pub const POA_PERMANENT: u32 = 2;
/// `poa_result.code`: the plugin is broken; the host builds a new instance.
pub const POA_PANICKED: u32 = 3;
/// `poa_result.code` of `send`: refused, the backlog of the receiver named by `text` is full.
pub const POA_REFUSED_BACKLOG: u32 = 16;
/// `poa_result.code` of `send`: refused, the disk is too slow for now.
pub const POA_REFUSED_BUSY: u32 = 17;
/// `poa_result.code` of `send`: refused, the host or this handler is stopping.
pub const POA_REFUSED_STOPPING: u32 = 18;
/// `poa_result.code` of `send`: refused, something in a message is not valid; `text` says what.
pub const POA_REFUSED_INVALID: u32 = 19;
/// `poa_result.code` of `send`: refused, another message was taken with the same idempotency key.
pub const POA_REFUSED_KEY: u32 = 20;
/// `poa_result.code` of `send`: accepted, but the log could not be written; nobody has the messages.
pub const POA_NOT_STORED: u32 = 32;
/// `poa_result.code` of `send`: accepted, but a receiver could not deliver.
pub const POA_NOT_DELIVERED: u32 = 33;
/// `poa_result.code` of `send`: accepted and kept, but not delivered in time.
pub const POA_TIMED_OUT: u32 = 34;
/// `poa_result.code` of `send`: the host stopped before it was known.
pub const POA_STOPPED: u32 = 35;
/// `poa_result.code` of `verify` and `login`: the token's time has passed.
pub const POA_EXPIRED: u32 = 48;
/// `poa_result.code` of `verify` and `login`: not authorised.
pub const POA_UNAUTHORIZED: u32 = 49;
/// `poa_result.code` of `login`: too many at once, try again later.
pub const POA_BUSY: u32 = 50;

/// `poa_message.message_type`: a metric.
pub const POA_DATA: u32 = 0;
/// `poa_message.message_type`: the agent takes its leave.
pub const POA_BYE: u32 = 1;
/// `poa_message.format`: the payload is a JSON object.
pub const POA_JSON: u32 = 0;
/// `poa_message.format`: the payload is a MessagePack object.
pub const POA_MESSAGE_PACK: u32 = 1;

/// `handle_message`: the host is stopping; what is queued still comes, then `terminate`.
pub const POA_STOPPING: u32 = 1;

/// `activity`: the agent is alive.
pub const POA_PING: u32 = 0;
/// `activity`: the agent sent data.
pub const POA_SENT_DATA: u32 = 1;
/// `activity`: the agent leaves, and is inactive at once.
pub const POA_LEAVES: u32 = 2;

/// `log`: something failed.
pub const POA_ERROR: u32 = 1;
/// `log`: something is not as it should be.
pub const POA_WARN: u32 = 2;
/// `log`: what an operator wants to know.
pub const POA_INFO: u32 = 3;
/// `log`: what a developer wants to know.
pub const POA_DEBUG: u32 = 4;
/// `log`: everything.
pub const POA_TRACE: u32 = 5;

/// Bytes with their length; no zero at their end. Text is UTF-8. `data` may be null when `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// The first byte.
    pub data: *const u8,
    /// How many there are.
    pub len: usize,
}

/// Takes text that a function has to give; valid until that function returns. Writing again appends.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sink {
    /// Goes back into `write`.
    pub context: *mut c_void,
    /// Appends a text.
    pub write: Option<unsafe extern "C-unwind" fn(context: *mut c_void, text: Bytes)>,
}

/// How a call ended.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// `sizeof(poa_result)`.
    pub size: usize,
    /// One of the codes above.
    pub code: u32,
    /// Why, for people; or what was asked for.
    pub text: Bytes,
    /// With `POA_PERMANENT`: the places in the batch of the messages that can never be delivered.
    pub items: *const u32,
    /// How many `items` there are.
    pub items_len: usize,
    /// With `POA_OK` of `build`: what was built. It may be null.
    pub instance: *mut c_void,
}

/// A call of the plugin by the host: completed exactly once, by `poa_complete`, from any thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Who calls; valid for as long as the process lives.
    pub host: *const Host,
    /// Which call it is. No other ever has this number.
    pub id: u64,
}

/// A call of the host by the plugin: `function` is called exactly once, from any thread, also before the call itself returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Goes back into `function`.
    pub context: *mut c_void,
    /// Told how the call ended; `result` is lent.
    pub function: Option<unsafe extern "C-unwind" fn(context: *mut c_void, result: *const Outcome)>,
}

/// What the host offers. The functions may be called from any thread, for as long as the process lives.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The size that this host knows.
    pub size: usize,
    /// The minor version of this host.
    pub abi_minor: u32,
    /// The host's own.
    pub context: *const c_void,
    /// Completes the call of this number. One that was completed before, or never made, is logged and else ignored.
    pub complete:
        Option<unsafe extern "C" fn(host: *const Host, call: u64, result: *const Outcome)>,
    /// Writes to the host's log; `target` says where in the plugin, and may be empty.
    pub log:
        Option<unsafe extern "C" fn(host: *const Host, level: u32, target: Bytes, text: Bytes)>,
    /// The most detailed level that is logged at all; 0 when nothing is.
    pub log_level: Option<unsafe extern "C" fn(host: *const Host) -> u32>,
    /// Gives messages to the receivers: all of them, or none. A refusal completes before this returns.
    pub send: Option<
        unsafe extern "C" fn(host: *const Host, handler: u64, messages: *const Drafts, done: Done),
    >,
    /// Tells what an agent was heard to do: `POA_PING`, `POA_SENT_DATA`, `POA_LEAVES`.
    pub activity:
        Option<unsafe extern "C" fn(host: *const Host, handler: u64, agent: Bytes, sign: u32)>,
    /// How many agents' silence would be noticed.
    pub active_agents: Option<unsafe extern "C" fn(host: *const Host, handler: u64) -> u64>,
    /// Who presents this token: returns a code, and with `POA_OK` writes `{"user": "…", "agent": "…" or null}`.
    pub verify: Option<
        unsafe extern "C" fn(host: *const Host, handler: u64, token: Bytes, principal: Sink) -> u32,
    >,
    /// Makes a token for a user; with `POA_OK` it is the `text` of the result.
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

/// A message on its way out.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Unique, sorts by time, and stays the same when the message is delivered again: store by it.
    pub id: [u8; 16],
    /// When the host took the message: microseconds since 1970-01-01 UTC.
    pub received_at: u64,
    /// Who sent it.
    pub agent_id: Bytes,
    /// The kind of metric.
    pub data_type: Bytes,
    /// `POA_DATA` or `POA_BYE`; others may come.
    pub message_type: u32,
    /// `POA_JSON` or `POA_MESSAGE_PACK`; others may come.
    pub format: u32,
    /// The metric itself, as the agent sent it.
    pub payload: Bytes,
}

/// Messages for a receiver, oldest first, at least one. Lent until the call is completed. See `poa_message_at`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// `sizeof(poa_batch)`.
    pub size: usize,
    /// The first message.
    pub messages: *const Message,
    /// How many there are.
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
    /// When: microseconds since 1970-01-01 UTC.
    pub since: u64,
}

/// Agents whose state changed, at least one. Lent until the call is completed. See `poa_activity_at`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Activities {
    /// `sizeof(poa_activities)`.
    pub size: usize,
    /// The first.
    pub agents: *const Activity,
    /// How many there are.
    pub count: usize,
    /// Bytes from one to the next.
    pub stride: usize,
}

/// A message on its way in.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Draft {
    /// Who sent it.
    pub agent_id: Bytes,
    /// The kind of metric: one of the host's data types.
    pub data_type: Bytes,
    /// `POA_DATA` or `POA_BYE`.
    pub message_type: u32,
    /// `POA_JSON` or `POA_MESSAGE_PACK`.
    pub format: u32,
    /// The metric: one well-formed object.
    pub payload: Bytes,
    /// The host takes one message of each key and agent only; empty for none.
    pub key: Bytes,
}

/// Messages from a handler.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Drafts {
    /// `sizeof(poa_drafts)`.
    pub size: usize,
    /// The first message.
    pub messages: *const Draft,
    /// How many there are.
    pub count: usize,
    /// `sizeof(poa_draft)`.
    pub stride: usize,
}

/// What a plugin may know while it is built. Lent until the call is completed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The size that this host knows.
    pub size: usize,
    /// The name in the configuration, the `x` of `[receivers.x]`.
    pub name: Bytes,
    /// The section of the configuration, as JSON, without `kind` and the keys common to all receivers.
    pub config: Bytes,
    /// The directory for everything the host writes. It exists. Bytes of a path, perhaps not UTF-8.
    pub data_dir: Bytes,
    /// The data types the host accepts.
    pub data_types: *const Bytes,
    /// How many there are.
    pub data_types_len: usize,
    /// 1 when the host has somebody who decides who may speak.
    pub has_authenticator: u32,
}

/// A kind of handler or receiver: what `kind = "…"` names. Functions that do not fit the role, or are not needed, are null.
///
/// Calls of one instance come one at a time. `drop` comes last: after every call of the instance was completed, on a thread that may
/// block. The other functions that take no call return at once.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// `sizeof(poa_kind)`.
    pub size: usize,
    /// `POA_HANDLER` or `POA_RECEIVER`.
    pub role: u32,
    /// 0, or `POA_MAY_BLOCK`.
    pub flags: u32,
    /// What `kind` is called in the configuration.
    pub name: Bytes,
    /// Writes the JSON Schema of the section. Null: the section may hold anything.
    pub schema: Option<unsafe extern "C-unwind" fn(out: Sink)>,
    /// Writes what is wrong with a section (JSON): a JSON array of `{"path": "a.b", "message": "…"}`; nothing when it is good.
    /// Pure: no file, no network.
    pub validate: Option<unsafe extern "C-unwind" fn(config: Bytes, out: Sink)>,
    /// Makes an instance. It may connect, but starts no work of its own. Required.
    pub build: Option<unsafe extern "C-unwind" fn(build: *const Build, call: Call)>,
    /// Frees an instance.
    pub drop: Option<unsafe extern "C-unwind" fn(instance: *mut c_void)>,
    /// A hint: the host no longer waits for this call. It is still to be completed, soon if possible. It comes at any time and from any
    /// thread: also while the call is being made, or after it was completed. A call that is not known is to be passed over.
    pub cancel: Option<unsafe extern "C-unwind" fn(instance: *mut c_void, call: Call)>,
    /// Writes where people reach the instance: a JSON array of URLs.
    pub endpoints: Option<unsafe extern "C-unwind" fn(instance: *mut c_void, out: Sink)>,
    /// Receiver: takes messages. `POA_OK` confirms all of them. Required.
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
    /// Receiver: flush and close; nothing but `drop` comes after it.
    pub terminate: Option<unsafe extern "C-unwind" fn(instance: *mut c_void, call: Call)>,
    /// Handler: serves until `shutdown`. `handler` names it in the host's functions until this call is completed. Required.
    pub run: Option<unsafe extern "C-unwind" fn(instance: *mut c_void, handler: u64, call: Call)>,
    /// Handler: accept nothing new, answer what was taken, then complete `run`. It comes at any time, as `cancel` does.
    pub shutdown: Option<unsafe extern "C-unwind" fn(instance: *mut c_void)>,
    /// Handler: tokens may have stopped to be valid; verify those of long connections again.
    pub revoked: Option<unsafe extern "C-unwind" fn(instance: *mut c_void)>,
}

/// What a plugin exports, as the constant `poa_plugin_descriptor_v1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// `sizeof(poa_descriptor)`.
    pub size: usize,
    /// `POA_ABI_MAJOR`.
    pub abi_major: u32,
    /// The least minor version of a host that the plugin works with.
    pub abi_minor: u32,
    /// The name of the library.
    pub name: Bytes,
    /// Its version.
    pub version: Bytes,
    /// What it offers. Constant data: they are read before any function of the plugin is called.
    pub kinds: *const *const Kind,
    /// How many there are.
    pub kinds_len: usize,
    /// Writes metrics in the OpenMetrics text format, for a scrape.
    pub metrics: Option<unsafe extern "C-unwind" fn(out: Sink)>,
}

// SAFETY: constant data; the pointers in it lead to constant data and to functions for any thread.
unsafe impl Sync for Kind {}
// SAFETY: as for `Kind`.
unsafe impl Sync for Descriptor {}
// SAFETY: its functions may be called from any thread, and `context` is only the host's.
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

    /// The bytes; none when there is no pointer to any, or when there cannot be so many.
    ///
    /// # Safety
    /// Whoever gave them keeps them, unchanged, for `'a`.
    #[must_use]
    pub unsafe fn get<'a>(self) -> &'a [u8] {
        if self.data.is_null() || self.len > isize::MAX as usize {
            return &[];
        }
        // SAFETY: not null, of a possible length, and the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }

    /// The bytes as text; what is no UTF-8 in it, replaced.
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
    /// An outcome without more to say.
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

    /// An outcome with a text, lent.
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

/// A text longer than this is a mistake.
const LONGEST: usize = 16 << 20;

unsafe extern "C-unwind" fn append(context: *mut c_void, text: Bytes) {
    // SAFETY: `Sink::into` made it of a text that nobody else uses before the plugin's function returns.
    let into = unsafe { &mut *context.cast::<String>() };
    if text.len <= LONGEST && into.len() <= LONGEST {
        // SAFETY: lent for this call.
        into.push_str(&unsafe { text.text() });
    }
}
