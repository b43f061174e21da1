//! A task that ends with its owner.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// A running task. Dropping it ends the task before `drop` returns, so that its port is free for a new instance.
pub(crate) struct Serving {
    task: JoinHandle<()>,
    work: Work,
}

type Work = Arc<Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>>;

impl Serving {
    /// Spawns the task on the runtime.
    pub(crate) fn begin(work: impl Future<Output = ()> + Send + 'static) -> Self {
        let work: Work = Arc::new(Mutex::new(Some(Box::pin(work))));
        let shared = work.clone();
        let task = tokio::spawn(poll_fn(move |cx| match &mut *shared.lock() {
            Some(work) => work.as_mut().poll(cx),
            None => Poll::Ready(()),
        }));
        Self { task, work }
    }

    /// Waits until the task has ended. Cancel safe.
    pub(crate) async fn ended(&mut self) {
        // The runtime has reported a panic already.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
        // Waits for the current step of the task, which is short; the future itself is dropped here.
        drop(self.work.lock().take());
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serving(ended: {})", self.task.is_finished())
    }
}

#[cfg(test)]
mod tests {
    use super::Serving;
    use tokio::net::TcpListener;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_it_holds_is_free_when_it_is_dropped() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let serving = Serving::begin(async move {
            begun.send(()).unwrap();
            let _ = listener.accept().await;
        });
        begins.await.unwrap();
        drop(serving);
        std::net::TcpListener::bind(address).unwrap();
    }

    #[tokio::test]
    async fn its_end_can_be_awaited() {
        let mut serving = Serving::begin(async {});
        serving.ended().await;
    }
}
