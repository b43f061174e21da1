//! The contract of all receivers that store.

use poa_receiver_sqlite::{Config, Sqlite};
use poa_testkit::{receiver_contract, receiver_factory};
use rusqlite::Connection;

#[tokio::test(flavor = "multi_thread")]
async fn honours_the_receiver_contract() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.db");
    let stored = async || {
        let ids = "SELECT message_id, rowid, 1 FROM eth_stats
            UNION ALL SELECT message_id, rowid, 2 FROM system_stats
            UNION ALL SELECT message_id, rowid, 3 FROM metrics ORDER BY 3, 2";
        let database = Connection::open(&path).unwrap();
        let mut statement = database.prepare(ids).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    receiver_contract(receiver_factory::<Sqlite>(Config::new(&path)), stored).await;
}
