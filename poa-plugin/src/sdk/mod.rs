//! The implementation of [`export!`](crate::export). Not for direct use.

mod auth;
mod batch;
mod build;
mod context;
mod handler;
mod held;
mod kind;
mod log;
mod receiver;
mod relay;
mod runtime;
mod task;

pub use kind::{descriptor, handler_kind, receiver_kind};

/// Makes a plugin from handlers and receivers: exports the symbol that a host looks for.
///
/// The types implement [`Plugin`](poa_core::Plugin), as for
/// being compiled in. Name and version are those of the crate. Each instance, that is each section of the configuration, runs on its
/// own tokio runtime with two threads; `threads` sets another number.
///
/// ```
/// # use poa_core::{BuildContext, BuildError, DeliveryError, Message, Receiver, Plugin, async_trait};
/// # use poa_plugin::poa_core;
/// # struct Null;
/// # #[async_trait]
/// # impl Plugin for Null {
/// #     type Config = std::collections::BTreeMap<String, String>;
/// #     async fn build(_: Self::Config, _: &BuildContext) -> Result<Self, BuildError> { Ok(Self) }
/// # }
/// # #[async_trait]
/// # impl Receiver for Null {
/// #     async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> { Ok(()) }
/// # }
/// poa_plugin::export! {
///     threads: 1,
///     receivers: { "null" => Null },
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export {
    (
        $(threads: $threads:literal $(,)?)?
        $(receivers: { $($receiver:literal => $receiver_type:ty),* $(,)? } $(,)?)?
        $(handlers: { $($handler:literal => $handler_type:ty),* $(,)? } $(,)?)?
    ) => {
        /// The description of this plugin for a host.
        #[allow(non_upper_case_globals, reason = "the name is part of the interface")]
        #[unsafe(no_mangle)]
        pub static poa_plugin_descriptor_v1: $crate::abi::Descriptor = {
            const THREADS: usize = [$($threads,)? 2][0];
            static KINDS: &[&$crate::abi::Kind] = &[
                $($(&$crate::sdk::receiver_kind::<$receiver_type, THREADS>($receiver),)*)?
                $($(&$crate::sdk::handler_kind::<$handler_type, THREADS>($handler),)*)?
            ];
            $crate::sdk::descriptor(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), KINDS)
        };
    };
}
