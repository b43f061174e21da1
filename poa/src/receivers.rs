//! Receivers, each behind the feature of its kind.

#[cfg(feature = "exec")]
pub use poa_exec::{Config as ExecConfig, ExecReceiver};
#[cfg(feature = "gilmour")]
pub use poa_handler_gilmour::{GilmourReceiver, ReceiverConfig as GilmourReceiverConfig};
#[cfg(feature = "dashboard")]
pub use poa_receiver_dashboard::{Config as DashboardConfig, Dashboard};
#[cfg(feature = "dynamodb")]
pub use poa_receiver_dynamo::{Config as DynamoDbConfig, DynamoDb};
#[cfg(feature = "postgres")]
pub use poa_receiver_postgres::{Config as PostgresConfig, Postgres};
#[cfg(feature = "sqlite")]
pub use poa_receiver_sqlite::{Config as SqliteConfig, Sqlite};
