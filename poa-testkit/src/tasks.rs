//! Tasks that are alive, so that leaked ones are seen.

use std::time::Duration;

use tokio::runtime::Handle;

/// How long a task may take to end once nothing needs it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The number of tasks alive in this runtime.
pub(crate) fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Waits until no more tasks are alive than before: a task that was aborted needs a moment to end.
///
/// # Panics
/// When more are left; `owner` is the plugin they have to end with.
pub(crate) async fn no_more_than(before: usize, what: &str, owner: &str) {
    let ended = async {
        while alive() > before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, ended).await.is_err() {
        let left = alive() - before;
        panic!(
            "{what}: {left} tasks are left {PATIENCE:?} later; they have to end with the {owner}"
        );
    }
}
