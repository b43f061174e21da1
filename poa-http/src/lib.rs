#![doc = include_str!("../README.md")]

mod accept;
mod bind;
mod body;
mod connection;
mod deadlines;
mod limits;
mod listeners;
mod metrics;
mod pool;
mod received;
mod server;
mod service;
mod state;
mod tls;
#[cfg(feature = "websocket")]
pub mod websocket;
mod wire;

pub use body::{Body, BodyError};
pub use limits::Limits;
pub use listeners::Listeners;
pub use received::Received;
pub use server::Server;
pub use service::HttpService;
pub use tls::{CertificateFiles, Tls};

/// Makes a tower service, such as an axum router, fit for [`Server::serve`].
pub use hyper_util::service::TowerToHyperService;
