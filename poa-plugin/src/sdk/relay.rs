//! Passes a plugin's messages to the host.

use std::ffi::c_void;

use poa_core::engine::ReceiptSender;
use poa_core::{AgentId, Draft, Format, MessageType, Receipt, ReceiptError, Refused, Relay, Sign};
use tokio::sync::oneshot;

use super::context::HostRef;
use crate::abi::{self, Bytes, Done, Drafts, Outcome};
use crate::sized;

/// The host, for a running handler or a started receiver.
pub(super) struct HostRelay {
    host: HostRef,
    /// Its number.
    plugin: u64,
}

impl HostRelay {
    pub(super) fn new(host: HostRef, plugin: u64) -> Self {
        Self { host, plugin }
    }
}

/// The destination of the host's answer: a refusal arrives during the call, other results can arrive later.
struct Waiting {
    refused: oneshot::Sender<Refused>,
    receipt: ReceiptSender,
}

unsafe extern "C-unwind" fn answered(context: *mut c_void, result: *const Outcome) {
    // SAFETY: made by `send`, and the host calls exactly once.
    let Waiting { refused, receipt } = *unsafe { Box::from_raw(context.cast::<Waiting>()) };
    // SAFETY: lent by the host until this returns.
    let (code, text) = unsafe {
        match sized::read(result) {
            Ok(outcome) => (outcome.code, outcome.text.text()),
            Err(_) => (abi::POA_STOPPED, String::new()),
        }
    };
    // A caller that no longer waits has dropped the receipt.
    match outcome(code, &text) {
        Ok(known) => receipt.settle(known),
        Err(why) => drop(refused.send(why)),
    }
}

/// The meaning of a code: a refusal, or the result of an accepted message.
fn outcome(code: u32, text: &str) -> Result<Result<(), ReceiptError>, Refused> {
    Ok(match code {
        abi::POA_OK => Ok(()),
        abi::POA_REFUSED_BACKLOG => return Err(Refused::BacklogFull { receiver: text.into() }),
        abi::POA_REFUSED_BUSY => return Err(Refused::LogBusy),
        abi::POA_REFUSED_STOPPING => return Err(Refused::Stopping),
        abi::POA_REFUSED_KEY => return Err(Refused::KeyReused),
        abi::POA_REFUSED_INVALID => return Err(Refused::ForeignDataType(text.to_owned())),
        abi::POA_NOT_STORED => Err(ReceiptError::NotStored),
        abi::POA_TIMED_OUT => Err(ReceiptError::TimedOut),
        abi::POA_STOPPED => Err(ReceiptError::Stopped),
        _ => Err(ReceiptError::NotDelivered),
    })
}

/// A message in C types, with the texts of its key and of its assigns.
fn view(draft: &Draft, (key, assigns): &(String, String)) -> abi::Draft {
    abi::Draft {
        agent_id: Bytes::of(draft.agent_id().as_str().as_bytes()),
        data_type: Bytes::of(draft.data_type().name().as_bytes()),
        message_type: match draft.message_type() {
            MessageType::Bye => abi::POA_BYE,
            _ => abi::POA_DATA,
        },
        format: match draft.payload().format() {
            Format::MessagePack => abi::POA_MESSAGE_PACK,
            _ => abi::POA_JSON,
        },
        payload: Bytes::of(draft.payload().bytes()),
        key: Bytes::of(key.as_bytes()),
        assigns: Bytes::of(assigns.as_bytes()),
    }
}

/// A key crosses as text; equal keys have equal texts.
fn key(draft: &Draft) -> String {
    let bytes = draft.idempotency_key().map(|key| u128::from_be_bytes(*key.as_bytes()));
    bytes.map(|number| format!("{number:032x}")).unwrap_or_default()
}

impl Relay for HostRelay {
    fn send(&self, messages: &[Draft]) -> Result<Receipt, Refused> {
        let Some(send) = self.host.functions.send else { return Err(Refused::Stopping) };
        let texts: Vec<_> =
            messages.iter().map(|draft| (key(draft), draft.assigns().to_json())).collect();
        let views: Vec<_> =
            messages.iter().zip(&texts).map(|(draft, texts)| view(draft, texts)).collect();
        let drafts = Drafts {
            size: size_of::<Drafts>(),
            messages: views.as_ptr(),
            count: views.len(),
            stride: size_of::<abi::Draft>(),
        };
        let (refused, mut refusal) = oneshot::channel();
        let (promised, receipt) = Receipt::pending(None);
        let context = Box::into_raw(Box::new(Waiting { refused, receipt })).cast();
        let done = Done { context, function: Some(answered) };
        // SAFETY: the host's function and pointer; the messages are lent for this call.
        unsafe { send(self.host.pointer, self.plugin, &drafts, done) };
        match refusal.try_recv() {
            Ok(refused) => Err(refused),
            Err(_) => Ok(promised),
        }
    }

    fn sign_of_life(&self, agent: &AgentId, sign: Sign) {
        let Some(activity) = self.host.functions.activity else { return };
        let sign = match sign {
            Sign::Ping => abi::POA_PING,
            Sign::Data => abi::POA_SENT_DATA,
            Sign::Bye => abi::POA_LEAVES,
        };
        let agent = Bytes::of(agent.as_str().as_bytes());
        // SAFETY: the host's function and pointer; the text is lent for this call.
        unsafe { activity(self.host.pointer, self.plugin, agent, sign) }
    }

    fn active(&self) -> usize {
        let Some(active) = self.host.functions.active_agents else { return 0 };
        // SAFETY: the host's function and pointer.
        let count = unsafe { active(self.host.pointer, self.plugin) };
        usize::try_from(count).unwrap_or(usize::MAX)
    }
}
