#![doc = include_str!("../README.md")]

mod agent;
mod backoff;
mod base_url;
mod buffer;
mod config;
mod error;
mod identity;
mod metric;
mod pinger;
mod refusal;
mod report;
mod rest;
mod sender;
mod source;
mod system;
mod transport;
mod web;
mod wire;
mod ws;

pub use agent::{Agent, RunError};
pub use backoff::Backoff;
pub use base_url::{BaseUrl, BaseUrlError};
pub use config::{Config, Settings, Trust};
pub use error::{BoxError, ErrorChain};
pub use identity::{AgentId, AgentIdError, Credentials, CredentialsError};
pub use metric::{EncodeError, Metric};
pub use report::Report;
pub use rest::Rest;
pub use source::Source;
pub use system::SystemSource;
pub use transport::{CallError, LoginError, Transport};
pub use web::{Session, TlsError, create_user};
pub use wire::Wire;
pub use ws::{Link, WebSocket};
