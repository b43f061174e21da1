//! Tasks and sockets left by a handler that has ended.

use std::time::Duration;

use poa_core::{BuildContext, HandlerFactory};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{Client, PATIENCE, host, stop};
use crate::Recording;

pub(super) async fn leaves_nothing_when_it_never_runs(factory: &HandlerFactory) {
    let before = tasks();
    for _ in 0..2 {
        let data_dir = TempDir::with_prefix("poa-testkit-").expect("a temporary directory");
        let cx = BuildContext::detached("subject", data_dir.path());
        let built = factory(&cx).await;
        drop(built.unwrap_or_else(|error| panic!("not built: {error:?}")));
    }
    no_more_than(before, "built twice, and never run").await;
}

pub(super) async fn stops_and_leaves_nothing<C: AsyncFn(&[String]) -> bool>(
    factory: &HandlerFactory,
    client: &Client<C>,
) {
    let what = "a stop";
    let before = tasks();
    let host = host(factory, Recording::new().factory(), |host| host).await;
    assert!(client.ask(what, &host).await, "{what}: the answer before it is not positive");
    stop(what, host).await;
    no_more_than(before, what).await;
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Waits until no more tasks are alive than before; a task that was aborted needs a moment to end.
async fn no_more_than(before: usize, what: &str) {
    let ended = async {
        while tasks() > before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, ended).await.is_err() {
        let left = tasks() - before;
        panic!(
            "{what}: {left} tasks are left {PATIENCE:?} later; they have to end with the handler"
        );
    }
}
