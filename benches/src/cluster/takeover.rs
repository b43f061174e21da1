//! How long messages wait when the node that holds their partitions ends.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _};
use poa_core::engine::Engine as _;
use poa_test_nats::Servers;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::node::{AGENTS, Node, config, receive};
use super::raw::Raw;
use crate::Failure;
use crate::report::table;

const RECEIVER: &str = "local";
/// Longer than any takeover.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long the two nodes take to share the partitions and to write their cursors.
const SETTLED: Duration = Duration::from_secs(8);

/// How a holder ends.
#[derive(Clone, Copy)]
enum End {
    Orderly,
    Crash,
    CrashWithLeader,
}

pub(super) fn run(servers: &mut Servers) -> Result<(), Failure> {
    let ends = [
        ("the holder stops in order", End::Orderly, 1),
        ("the holder crashes", End::Crash, 12),
        (
            "the holder crashes, and the server that leads the bucket of leases",
            End::CrashWithLeader,
            18,
        ),
    ];
    let mut rows = Vec::new();
    for (place, (what, end, goal)) in ends.into_iter().enumerate() {
        let took = takeover(servers, &format!("take{place}"), end)?;
        rows.push(vec![
            what.to_owned(),
            format!("{:.2} s", took.as_secs_f64()),
            format!("{goal} s"),
        ]);
    }
    println!(
        "From the end of a node to the last of {AGENTS} messages, of agents in all partitions, at another; leases of 10 s\n"
    );
    table(&["what", "time", "goal"], &rows);
    Ok(())
}

fn runtime() -> Result<Runtime, Failure> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

fn takeover(servers: &mut Servers, prefix: &str, end: End) -> Result<Duration, Failure> {
    // A runtime of its own: when it ends, nothing of the node is left to let go of anything.
    let holding = runtime()?;
    let holder = holding.block_on(holder(servers, prefix))?;
    let other = runtime()?;
    let leader = other.block_on(async {
        let raw = Raw::connect(servers).await?;
        raw.leader(&format!("KV_{prefix}_receivers")).await
    })?;
    let standby = other.block_on(async {
        let node = Node::build(config(servers, prefix), "standby").await?;
        let subscription = node.subscribe(RECEIVER).await?;
        node.engine.start().await?;
        // Until the partitions are shared and all cursors are written: nothing may be delivered again.
        tokio::time::sleep(SETTLED).await;
        Ok::<_, Failure>((node, subscription))
    })?;
    let begin = Instant::now();
    match end {
        End::Orderly => holding.block_on(holder.finish()),
        End::Crash | End::CrashWithLeader => {
            if let (End::CrashWithLeader, Some(server)) = (end, servers.named(&leader)) {
                servers.kill(server);
            }
            holding.shutdown_background();
            // Its tasks are gone: nothing is let go of by this.
            drop(holder);
        }
    }
    other.block_on(async {
        let (node, subscription) = standby;
        let sent = send_all(&node);
        let received = receive(&*subscription, AGENTS);
        let both = async { tokio::try_join!(sent, received).map(drop) };
        timeout(PATIENCE, both).await.map_err(|_| "no takeover within 90 s")??;
        let took = begin.elapsed();
        node.finish().await;
        Ok(took)
    })
}

/// A node that holds everything.
async fn holder(servers: &Servers, prefix: &str) -> Result<Node, Failure> {
    let node = Node::build(config(servers, prefix), "holder").await?;
    let subscription = node.subscribe(RECEIVER).await?;
    node.engine.start().await?;
    send_all(&node).await?;
    receive(&*subscription, AGENTS).await?;
    Ok(node)
}

/// Sends a message of each agent, again until it is stored.
async fn send_all(node: &Node) -> Result<(), Failure> {
    let one = |number| async move {
        while node.send(number, false).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, Failure>(())
    };
    let sent = futures_util::stream::iter(0..AGENTS).map(one).buffer_unordered(AGENTS);
    sent.try_collect::<()>().await
}
