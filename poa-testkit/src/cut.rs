//! Futures that are dropped on their way.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Polls `future` at most so many times; what it gave, if it was done by then. It is dropped where it waits, as a host drops a call
/// whose time is over.
pub(crate) async fn polled<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|cx| {
        left = left.saturating_sub(1);
        match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
