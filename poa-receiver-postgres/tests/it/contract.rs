//! The contract of all receivers that store.

use poa_receiver_postgres::{Period, Postgres};
use poa_testkit::{receiver_contract, receiver_factory};

use crate::common::Database;

const IDS: &str = "SELECT message_id FROM
    (SELECT message_id, tableoid, ctid FROM eth_stats UNION ALL SELECT message_id, tableoid, ctid FROM system_stats
    UNION ALL SELECT message_id, tableoid, ctid FROM metrics) AS stored ORDER BY tableoid, ctid";

async fn ids(database: &Database) -> Vec<String> {
    database.rows(IDS).await.into_iter().map(|mut row| row.remove(0).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn honours_the_receiver_contract() {
    let database = Database::shared().await;
    receiver_contract(receiver_factory::<Postgres>(database.config()), async || {
        ids(&database).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn honours_the_receiver_contract_with_divided_tables() {
    let database = Database::shared().await;
    let config = database.config().partition(Period::Day);
    receiver_contract(receiver_factory::<Postgres>(config), async || ids(&database).await).await;
}
