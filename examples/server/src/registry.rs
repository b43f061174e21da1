//! The plugins compiled in.

use poa_auth::AuthHandler;
use poa_core::{Plugin, Receiver, Registry};
use poa_engine_local::{Log, Memory};
use poa_engine_nats::Nats;
use poa_exec::{ExecHandler, ExecReceiver};
use poa_handler_gilmour::{GilmourGateway, GilmourReceiver};
use poa_handler_leviathan::Networks;
use poa_handler_rest::Rest;
use poa_handler_ws::Ws;
use poa_receiver_dashboard::Dashboard;
use poa_receiver_dynamo::DynamoDb;
use poa_receiver_postgres::Postgres;
use poa_receiver_sqlite::Sqlite;

/// The name of the engine that spans machines.
pub(crate) const ENGINE_NATS: &str = "nats";

/// Every kind of engine, handler and receiver this server knows.
pub(crate) fn registry() -> Registry {
    plugins().engine::<Nats>(ENGINE_NATS)
}

/// All of them but for the engine that spans machines.
pub(crate) fn plugins() -> Registry {
    registry_with_postgres::<Postgres>()
}

/// The same, with this type in place of the PostgreSQL receiver.
pub(crate) fn registry_with_postgres<P: Plugin + Receiver>() -> Registry {
    Registry::new()
        .engine::<Log>("log")
        .engine::<Memory>("memory")
        .handler::<Rest>("rest")
        .handler::<Ws>("ws")
        .handler::<Networks>("leviathan")
        .handler::<AuthHandler>("auth")
        .handler::<ExecHandler>("exec")
        .handler::<GilmourGateway>("gilmour")
        .receiver::<DynamoDb>("dynamodb")
        .receiver::<P>("postgres")
        .receiver::<Sqlite>("sqlite")
        .receiver::<Dashboard>("dashboard")
        .receiver::<ExecReceiver>("exec")
        .receiver::<GilmourReceiver>("gilmour")
}
