//! PostgreSQL, a server of its own.

use poa_test_postgres::{Cluster, Setup};
use poa_tests::history::AGENTS;
use poa_tests::{Home, METRICS};
use tokio_postgres::{Client, NoTls};

use super::{Reader, Store, step_of};

pub(crate) struct Postgres(Cluster);

/// The statement that fills each table, and the table's part of all rows, in tenths; as for SQLite.
const FILLS: [(u64, &str); 3] = [
    (
        2,
        "INSERT INTO eth_stats (message_id, date, agent_id, active, mining, hashrate, peers, gas_price, current_block)
            SELECT id, at, agent, true, false, 1000 + i, 25, 1000000000, i::text FROM made",
    ),
    (
        5,
        "INSERT INTO system_stats (message_id, date, agent_id, cpu_load, disk_usage, memory_usage)
            SELECT id, at, agent, i % 100, 50.5, 25.25 FROM made",
    ),
    (
        3,
        "INSERT INTO metrics (message_id, date, agent_id, data_type, type, body)
            SELECT id, at, agent, 'networking_metrics', 'peers',
                jsonb_build_object('peers', jsonb_build_array(i), 'text', lpad(i::text, 120, '0')) FROM made",
    ),
];
/// The UUID, version 7, of a row.
const ID: &str = "(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(i & 4095), 3, '0')
    || '8' || lpad(to_hex((i >> 12) & 4095), 3, '0') || lpad(to_hex((random() * 281474976710655)::bigint), 12, '0'))::uuid";

impl Postgres {
    pub(crate) fn start() -> Self {
        Self(Cluster::start(Setup::default().durable()).unwrap())
    }

    async fn connect(&self) -> Client {
        let (client, connection) =
            tokio_postgres::connect(&self.0.url("postgres"), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

impl Store for Postgres {
    const NAME: &'static str = "PostgreSQL";
    type Reader = Client;

    fn section(&self, more: &str) -> String {
        let url = self.0.url("postgres");
        format!(
            "[receivers.store]\nkind = \"postgres\"\nurl = \"{url}\"\nsubscribe = {METRICS:?}\n{more}\n"
        )
    }

    async fn fill(&self, _: &Home, rows: u64) {
        let client = self.connect().await;
        for (tenths, insert) in FILLS {
            let all = rows * tenths / 10;
            let made = format!(
                "WITH times AS (SELECT i, now() - interval '60 days' + i * (interval '60 days' / {all}) AS at
                    FROM generate_series(0::bigint, {all} - 1) AS i),
                made AS (SELECT i, at, 'agent-' || i % {AGENTS} AS agent, {ID} AS id FROM times)
                {insert}"
            );
            client.batch_execute(&made).await.unwrap();
        }
        // As autovacuum leaves tables that grew for two months.
        client.batch_execute("VACUUM (ANALYZE)").await.unwrap();
    }

    async fn reader(&self, _: &Home) -> Client {
        self.connect().await
    }

    async fn size(&self, home: &Home) -> u64 {
        let size =
            "SELECT (pg_total_relation_size('eth_stats') + pg_total_relation_size('system_stats')
            + pg_total_relation_size('metrics'))::bigint";
        self.reader(home).await.number(size).await.unsigned_abs()
    }
}

impl Reader for Client {
    fn ago(time: &str) -> String {
        format!("now() - interval '{time}'")
    }

    async fn rows(&mut self, query: &str) -> usize {
        self.query(query, &[]).await.unwrap().len()
    }

    async fn number(&mut self, query: &str) -> i64 {
        self.query_one(query, &[]).await.unwrap().get(0)
    }

    async fn reads_whole_table(&mut self, query: &str) -> Option<String> {
        // A small table is read whole if there is a choice.
        self.batch_execute("SET enable_seqscan = off").await.unwrap();
        let plan = self.query(&format!("EXPLAIN {query}"), &[]).await.unwrap();
        step_of(plan.iter().map(|row| row.get(0)).collect(), "Seq Scan on ")
    }

    async fn has_indexes(&mut self) -> bool {
        let indexes = "SELECT count(*) FROM pg_index JOIN pg_class ON oid = indrelid
            WHERE relname IN ('eth_stats', 'system_stats', 'metrics') AND indisvalid AND NOT indisprimary";
        self.number(indexes).await == 6
    }
}
