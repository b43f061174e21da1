//! The plugins compiled in.

use poa_auth::AuthHandler;
use poa_core::Registry;
use poa_exec::{ExecHandler, ExecReceiver};
use poa_handler_rest::Rest;
use poa_handler_ws::Ws;
use poa_receiver_dashboard::Dashboard;
use poa_receiver_dynamo::DynamoDb;
use poa_receiver_postgres::Postgres;
use poa_receiver_sqlite::Sqlite;

/// Every kind of handler and receiver this server knows.
pub(crate) fn registry() -> Registry {
    Registry::new()
        .handler::<Rest>("rest")
        .handler::<Ws>("ws")
        .handler::<AuthHandler>("auth")
        .handler::<ExecHandler>("exec")
        .receiver::<DynamoDb>("dynamodb")
        .receiver::<Postgres>("postgres")
        .receiver::<Sqlite>("sqlite")
        .receiver::<Dashboard>("dashboard")
        .receiver::<ExecReceiver>("exec")
}
