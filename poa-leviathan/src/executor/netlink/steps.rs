//! Steps on a thread that may block.

use tokio_util::sync::CancellationToken;

use super::ended;
use crate::Error;

/// Takes steps one after the other, up to the first that fails. All of them on one thread: a hand-over to another one takes as long as a
/// request to the kernel.
///
/// Not cancel safe: the thread ends the step that it is in. But once this is dropped, at its deadline, it begins no further one, which
/// would undo a rollback.
pub(super) async fn take<S: Send + 'static>(
    steps: Vec<S>,
    take: impl FnMut(S) -> Result<(), Error> + Send + 'static,
) -> Result<(), Error> {
    let dropped = CancellationToken::new();
    let _guard = dropped.clone().drop_guard();
    let taking = tokio::task::spawn_blocking(move || {
        let mut due = steps.into_iter().take_while(|_| !dropped.is_cancelled());
        due.try_for_each(take)
    });
    taking.await.map_err(ended)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_given_up_begins_no_further_step() {
        let (begins, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let mut taking = Box::pin(take(vec![0, 1, 2], move |step| {
            begins.send(step).unwrap();
            waits.recv().unwrap();
            Ok(())
        }));
        tokio::select! {
            _ = &mut taking => panic!("the first step waits"),
            first = begun.recv() => assert_eq!(first, Some(0)),
        }
        drop(taking);
        // Enough for all steps.
        for _ in 0..3 {
            let _ = go_on.send(());
        }
        assert_eq!(begun.recv().await, None, "the thread ended");
    }

    #[tokio::test]
    async fn a_step_that_fails_is_the_last() {
        let (begins, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let taken = take(vec![0, 1, 2], move |step| {
            begins.send(step).unwrap();
            if step == 1 { Err(Error::internal("refused")) } else { Ok(()) }
        });
        assert_eq!(taken.await.unwrap_err().to_string(), "refused");
        assert_eq!(
            (begun.recv().await, begun.recv().await, begun.recv().await),
            (Some(0), Some(1), None)
        );
    }
}
