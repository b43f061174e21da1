//! Handlers, each behind the feature of its kind.

#[cfg(feature = "auth")]
pub use poa_auth::{AuthHandler, AuthHandlerConfig};
#[cfg(feature = "exec")]
pub use poa_exec::{Config as ExecConfig, ExecHandler};
#[cfg(feature = "gilmour")]
pub use poa_handler_gilmour::{Config as GilmourConfig, GilmourGateway};
#[cfg(feature = "rest")]
pub use poa_handler_rest::{Config as RestConfig, Rest};
#[cfg(feature = "ws")]
pub use poa_handler_ws::{Config as WsConfig, Ws};
