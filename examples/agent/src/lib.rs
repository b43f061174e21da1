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
mod report;
mod rest;
mod sender;
mod source;
mod system;
mod transport;

pub use agent::{Agent, RunError};
pub use backoff::Backoff;
pub use base_url::{BaseUrl, BaseUrlError};
pub use config::{Config, Settings, Trust};
pub use error::{BoxError, ErrorChain};
pub use identity::{AgentId, AgentIdError, Credentials, CredentialsError};
pub use metric::{EncodeError, Metric};
pub use report::Report;
pub use rest::{HttpClient, Rest, TlsError};
pub use source::Source;
pub use system::SystemSource;
pub use transport::{CallError, LoginError, Transport};
