#![doc = include_str!("../README.md")]

mod accept;
mod bind;
mod body;
mod connection;
mod deadlines;
mod descriptors;
mod encoding;
mod head;
mod limits;
mod listen;
mod listeners;
mod metrics;
mod origin;
mod pool;
mod received;
mod server;
mod service;
mod shares;
mod state;
mod tls;
mod trace_context;
#[cfg(feature = "websocket")]
pub mod websocket;
mod wire;

pub use body::{Body, BodyError};
pub use encoding::{ACCEPTED_ENCODINGS, Encoding, UnsupportedEncoding};
pub use limits::Limits;
pub use listen::{InvalidListen, Listen};
pub use listeners::{Listeners, Replacing};
pub use origin::is_local;
pub use received::Received;
pub use server::Server;
pub use service::HttpService;
pub use shares::{ShareLimits, Shares, network};
pub use tls::{CertificateFiles, Tls};
pub use trace_context::sender_span;

/// Adapts a tower service, such as an axum router, to [`Server::serve`].
pub use hyper_util::service::TowerToHyperService;
