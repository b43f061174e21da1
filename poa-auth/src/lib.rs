#![doc = include_str!("../README.md")]

mod admins;
mod audit;
mod auth;
mod backing;
mod config;
mod contact;
mod directory;
mod failures;
mod follow;
mod handler;
mod issued;
mod mac;
mod metrics;
mod name;
mod open;
mod password;
mod queue;
mod secret_file;
mod shared;
mod store;
mod token;
mod trusted;
mod users;
mod verdict;
mod watch;

pub use admins::GeneratedAdmin;
pub use auth::Auth;
pub use config::{AdminConfig, AuthConfig, Role};
pub use handler::{AuthHandler, AuthHandlerConfig};
pub use issued::Token;
pub use name::InvalidName;
pub use open::OpenError;
#[doc(hidden)]
pub use password::HashCost;
pub use users::{Credentials, NewUser, User, UserError};
