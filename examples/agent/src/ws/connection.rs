//! One connection, and the calls that wait on it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink as _, SinkExt as _, Stream as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_websockets::Message;

use super::dial::Socket;
use super::frame::Answer;
use super::lost::Lost;
use crate::refusal::Refusal;

/// Calls that may wait to be written; one more waits to wait.
const QUEUE: usize = 64;

/// How long the server may take to say goodbye.
const CLOSING: Duration = Duration::from_secs(1);

/// The outcome of a call: answered, or lost with the connection, in which case it may have been accepted.
pub(super) type Outcome = Result<Result<(), Refusal>, Lost>;

/// A connection that is open, or was. Dropping it cuts it.
#[derive(Debug)]
pub(super) struct Connection {
    questions: mpsc::Sender<Question>,
    references: AtomicU64,
    /// Set once the server has answered anything, which it would not do to a stranger.
    pub(super) good: AtomicBool,
    lost: Arc<OnceLock<Lost>>,
    driver: JoinHandle<()>,
}

#[derive(Debug)]
struct Question {
    reference: u64,
    frame: Vec<u8>,
    answer: oneshot::Sender<Outcome>,
}

impl Connection {
    pub(super) fn start(socket: Socket) -> Self {
        let (questions, asked) = mpsc::channel(QUEUE);
        let lost = Arc::default();
        let driver = Driver { socket, asked, waiting: HashMap::new(), lost: Arc::clone(&lost) };
        Self {
            questions,
            references: AtomicU64::new(0),
            good: AtomicBool::new(false),
            lost,
            driver: tokio::spawn(driver.run()),
        }
    }

    /// Sends what `encode` makes of a reference, and waits for its answer.
    ///
    /// Cancel safe: the call may have been made, and its answer is thrown away.
    pub(super) async fn ask(&self, encode: impl FnOnce(u64) -> Vec<u8>) -> Outcome {
        let reference = self.references.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let question = Question { reference, frame: encode(reference), answer };
        if self.questions.send(question).await.is_err() {
            return Err(self.lost().unwrap_or(Lost::Ended));
        }
        let outcome = answered.await.unwrap_or_else(|_| Err(self.lost().unwrap_or(Lost::Ended)));
        if outcome.is_ok() {
            self.good.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Why the connection is no more; `None` while it is.
    pub(super) fn lost(&self) -> Option<Lost> {
        self.lost.get().cloned()
    }

    /// Ends it without a word.
    pub(super) fn cut(&self, why: Lost) {
        let _ = self.lost.set(why);
        self.driver.abort();
    }

    /// Says goodbye, once what was asked is written, and waits a moment for the answer.
    pub(super) async fn close(mut self) {
        let (nobody, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.questions, nobody));
        let _ = timeout(CLOSING, &mut self.driver).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

struct Driver {
    socket: Socket,
    asked: mpsc::Receiver<Question>,
    waiting: HashMap<u64, Waiting>,
    lost: Arc<OnceLock<Lost>>,
}

struct Waiting {
    size: usize,
    answer: oneshot::Sender<Outcome>,
}

impl Driver {
    async fn run(mut self) {
        let lost = loop {
            match std::future::poll_fn(|cx| self.poll(cx)).await {
                Ok(message) => {
                    if let Err(lost) = self.take(&message) {
                        break lost;
                    }
                }
                Err(lost) => break lost,
            }
        };
        self.end(lost).await;
    }

    /// The next message of the server. Calls are written on the way: one task does both, so that a server which reads no
    /// more until its answers are read does not wait forever.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Lost>> {
        let broken = |error| Lost::Broken(Arc::new(error));
        while Pin::new(&mut self.socket).poll_ready(cx).map_err(broken)?.is_ready() {
            match self.asked.poll_recv(cx) {
                Poll::Ready(Some(question)) => self.send(question).map_err(broken)?,
                Poll::Ready(None) => return Poll::Ready(Err(Lost::Left)),
                Poll::Pending => break,
            }
        }
        // Writes what was sent, too.
        match Pin::new(&mut self.socket).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => Poll::Ready(Ok(message)),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(broken(error))),
            Poll::Ready(None) => Poll::Ready(Err(Lost::Ended)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn send(&mut self, question: Question) -> Result<(), tokio_websockets::Error> {
        let Question { reference, frame, answer } = question;
        self.waiting.insert(reference, Waiting { size: frame.len(), answer });
        Pin::new(&mut self.socket).start_send(Message::binary(frame))
    }

    fn take(&mut self, message: &Message) -> Result<(), Lost> {
        if let Some((code, reason)) = message.as_close() {
            return Err(Lost::closed(code, reason));
        }
        if !message.is_text() && !message.is_binary() {
            return Ok(());
        }
        let answer =
            Answer::read(message).map_err(|error| Lost::Nonsense(error.to_string().into()))?;
        match (answer.reference, answer.outcome) {
            (Some(reference), outcome) => self.answer(reference, Ok(outcome)),
            (None, Err(refusal)) => return Err(Lost::Misunderstood(refusal.message.into())),
            (None, Ok(())) => {}
        }
        Ok(())
    }

    fn answer(&mut self, reference: u64, outcome: Outcome) {
        if let Some(waiting) = self.waiting.remove(&reference) {
            // The caller may have been dropped.
            let _ = waiting.answer.send(outcome);
        }
    }

    /// Notifies all callers, including those whose calls are not written yet.
    async fn end(mut self, lost: Lost) {
        let _ = self.lost.set(lost.clone());
        self.asked.close();
        if lost.is_about_size() {
            self.refuse_the_largest(&lost);
        }
        for (_, waiting) in self.waiting {
            let _ = waiting.answer.send(Err(lost.clone()));
        }
        while let Ok(question) = self.asked.try_recv() {
            let _ = question.answer.send(Err(lost.clone()));
        }
        if matches!(lost, Lost::Left | Lost::Closed { .. }) {
            let _ = timeout(CLOSING, self.socket.close()).await;
        }
    }

    /// The server does not tell which message was too large for it. To send that one again would lose the connection again.
    fn refuse_the_largest(&mut self, lost: &Lost) {
        let largest = self.waiting.iter().max_by_key(|(_, waiting)| waiting.size);
        if let Some(reference) = largest.map(|(reference, _)| *reference) {
            let status = http::StatusCode::PAYLOAD_TOO_LARGE;
            let refusal = Refusal { status, retry_after: None, message: lost.to_string() };
            self.answer(reference, Ok(Err(refusal)));
        }
    }
}
