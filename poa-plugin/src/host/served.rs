//! Plugins that use the host: running handlers and started receivers.

use std::sync::Arc;

use poa_core::auth::Authenticator;
use poa_core::{AgentId, DataTypes, Draft, HandlerContext, Receipt, ReceiverContext};
use tokio::runtime::Handle;

use super::call_table::CallTable;
use super::sending::refusal;
use crate::abi;

/// A plugin that uses the host, and the runtime of the tasks it started.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) cx: Context,
    pub(crate) runtime: Handle,
}

/// The part of the host that the role of a plugin may use.
#[derive(Clone)]
pub(crate) enum Context {
    Handler(HandlerContext),
    Receiver(ReceiverContext),
}

impl Context {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Handler(cx) => cx.name(),
            Self::Receiver(cx) => cx.name(),
        }
    }

    pub(crate) fn data_types(&self) -> &DataTypes {
        match self {
            Self::Handler(cx) => cx.data_types(),
            Self::Receiver(cx) => cx.data_types(),
        }
    }

    /// Sends all of these messages, or none. The error is the code and the text of the refusal.
    pub(crate) fn send(&self, mut drafts: Vec<Draft>) -> Result<Receipt, (u32, String)> {
        let sent = match self {
            Self::Handler(cx) => cx.send_all_to_receivers(drafts),
            Self::Receiver(cx) => match (drafts.pop(), drafts.len()) {
                (Some(draft), 0) => cx.send_to_receivers(draft),
                _ => return Err((abi::POA_REFUSED_INVALID, ONE_AT_A_TIME.to_owned())),
            },
        };
        sent.map_err(|refused| refusal(refused.reason()))
    }

    pub(crate) fn sign_of_life(&self, agent: &AgentId, sign: u32) {
        match (self, sign) {
            (Self::Handler(cx), abi::POA_PING) => cx.activity().ping(agent),
            (Self::Handler(cx), abi::POA_SENT_DATA) => cx.activity().data(agent),
            (Self::Handler(cx), abi::POA_LEAVES) => cx.publish_inactive(agent),
            (Self::Receiver(cx), abi::POA_LEAVES) => cx.publish_inactive(agent),
            _ => {}
        }
    }

    /// The number of agents whose silence is watched for; 0 for a receiver.
    pub(crate) fn active(&self) -> usize {
        match self {
            Self::Handler(cx) => cx.activity().active(),
            Self::Receiver(_) => 0,
        }
    }

    /// None for a receiver: no client speaks to it.
    pub(crate) fn authenticator(&self) -> Option<&Arc<dyn Authenticator>> {
        match self {
            Self::Handler(cx) => cx.authenticator(),
            Self::Receiver(_) => None,
        }
    }
}

const ONE_AT_A_TIME: &str = "a receiver sends one message at a time";

/// Lets a plugin use the host as long as this lives. Afterwards its number is refused, whichever thread of the library
/// uses it, and however late.
pub(crate) struct Serving {
    table: &'static CallTable,
    number: u64,
}

impl Serving {
    /// Not outside of a runtime.
    pub(crate) fn begin(table: &'static CallTable, cx: Context) -> Self {
        Self { table, number: table.serve(Served { cx, runtime: Handle::current() }) }
    }

    /// The number under which the plugin uses the host.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.table.stop_serving(self.number);
    }
}
