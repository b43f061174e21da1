//! A server that is out of transaction ids.

use poa_test_postgres::{Cluster, Setup};

use crate::outage::{all, host, says, send, stored};

/// As in <https://github.com/citusdata/citus/issues/6053>: the server refuses all writes until it is vacuumed. Its error has the code of a row that is
/// too large, which <https://github.com/PeerDB-io/peerdb/pull/4595> calls one that no retry mends; but no row is at fault.
#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_a_server_that_is_out_of_transaction_ids() {
    let mut cluster = Cluster::start(Setup::default()).unwrap();
    let host = host(&cluster).await;
    all(vec![send(&host, 0)]).await;
    cluster.stop().unwrap();
    cluster.use_up_transaction_ids().unwrap();
    // Fewer than the rows in a row after which a table counts as at fault. They are retried so often that one attempt certainly comes before
    // the server has vacuumed itself, which it does in such a case.
    let waiting = (1..4).map(|n| send(&host, n)).collect();
    says(&host, "is the server running").await;
    cluster.resume().unwrap();
    says(&host, "the server is out of transaction ids; the messages wait").await;
    all(waiting).await;
    let delivery = host.status("subject").delivery.unwrap();
    assert_eq!((delivery.delivered, delivery.dead_lettered), (4, 0));
    assert!(host.stop().await.is_clean());
    assert_eq!(stored(&cluster).await, (4, 4));
}
