#![doc = include_str!("../README.md")]

#[doc(inline)]
pub use poa_core::*;

pub mod engines;
pub mod handlers;
pub mod prelude;
pub mod receivers;

#[cfg(feature = "auth")]
#[doc(no_inline)]
pub use poa_auth as auth_users;
#[cfg(feature = "dead-letters")]
#[doc(no_inline)]
pub use poa_dead_letters as dead_letters;
#[cfg(feature = "server")]
#[doc(no_inline)]
pub use poa_host as server;
#[cfg(feature = "http")]
#[doc(no_inline)]
pub use poa_http as http;
#[cfg(feature = "traces")]
#[doc(no_inline)]
pub use poa_traces as traces;
