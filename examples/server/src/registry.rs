//! The plugins compiled in.

use poa_auth::AuthHandler;
use poa_core::Registry;
use poa_engine_local::{Log, Memory};
use poa_exec::{ExecHandler, ExecReceiver};
use poa_handler_rest::Rest;
use poa_handler_ws::Ws;
use poa_receiver_dashboard::Dashboard;
use poa_receiver_dynamo::DynamoDb;
use poa_receiver_postgres::Postgres;
use poa_receiver_sqlite::Sqlite;

/// Every kind of engine, handler and receiver this server knows.
pub(crate) fn registry() -> Registry {
    Registry::new()
        .engine::<Log>("log")
        .engine::<Memory>("memory")
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
