//! Tasks and sockets left by a handler that has ended.

use poa_core::{BuildContext, DataTypes};
use tempfile::TempDir;

use super::{HandlerContract, stop};
use crate::{Recording, tasks};

pub(super) async fn leaves_nothing_when_it_never_runs<C>(subject: &HandlerContract<C>) {
    let before = tasks::alive();
    let types = DataTypes::new(&subject.data_types).unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..2 {
        let data_dir = TempDir::with_prefix("poa-testkit-").expect("a temporary directory");
        let cx = BuildContext::detached("subject", data_dir.path()).with_data_types(types.clone());
        let built = (subject.factory)(&cx).await;
        drop(built.unwrap_or_else(|error| panic!("not built: {error:?}")));
    }
    tasks::no_more_than(before, "built twice, and never run", "handler").await;
}

pub(super) async fn stops_and_leaves_nothing<C: AsyncFn(&[String]) -> bool>(
    subject: &HandlerContract<C>,
) {
    let what = "a stop";
    let before = tasks::alive();
    let recording = Recording::new();
    let host = subject.host(&subject.factory, recording.factory(), |host| host).await;
    let positive = subject.ask(what, &host, &recording).await;
    assert!(positive, "{what}: {} before it", subject.not_positive());
    stop(what, host).await;
    tasks::no_more_than(before, what, "handler").await;
}
