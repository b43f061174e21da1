//! The handler contract.

mod cut;
mod end;
mod truth;

use std::fmt;
use std::time::Duration;

use poa_core::{HandlerFactory, ReceiverFactory};

use crate::{METRICS, Recording, TestHost};

/// Checks a handler against the contract of [`poa_core::CustomHandler`].
///
/// It needs a factory of the handler, which [`handler_factory`](crate::handler_factory) makes from your plugin, and a client: a function
/// that sends one message to the [endpoints](poa_core::CustomHandler::endpoints) it gets, and returns whether the answer was positive.
/// An error, no answer and a broken connection are `false`: without a connection to break, the client waits a second or two. It leaves no task behind. The contract checks that:
///
/// - an answer is positive only if the message was delivered, not if the receipt fails, the host refuses the message, or stops
///   before the result is known;
/// - after being dropped, or panicking, at any of its first awaits, it is rebuilt by the same factory and serves again: with a
///   fixed port, this checks that it can bind again;
/// - it stops when told to, and leaves no task behind, nor does one that is built and never run.
///
/// A protocol without answers is checked [one way](Self::one_way).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use custom_handler::{Config, Lines};
/// use poa_testkit::{HandlerContract, handler_factory};
/// use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
/// use tokio::net::TcpStream;
///
/// async fn send(endpoints: &[String]) -> std::io::Result<bool> {
///     let mut stream = BufReader::new(TcpStream::connect(&endpoints[0]["tcp://".len()..]).await?);
///     stream.write_all(b"pump-7 pumps {}\n").await?;
///     let mut answer = String::new();
///     stream.read_line(&mut answer).await?;
///     Ok(answer == "ok\n")
/// }
///
/// let config = Config { listen: ([127, 0, 0, 1], 0).into() };
/// let client = async |endpoints: &[String]| send(endpoints).await.unwrap_or(false);
/// HandlerContract::new(handler_factory::<Lines>(config), client).data_types(["pumps"]).check().await;
/// # }
/// ```
pub struct HandlerContract<C> {
    factory: HandlerFactory,
    client: C,
    data_types: Vec<String>,
    one_way: bool,
}

impl<C: AsyncFn(&[String]) -> bool> HandlerContract<C> {
    /// The contract for the handlers that this factory builds, and this client.
    #[must_use]
    pub fn new(factory: HandlerFactory, client: C) -> Self {
        let data_types = METRICS.map(str::to_owned).to_vec();
        Self { factory, client, data_types, one_way: false }
    }

    /// Sets the data types of the host; [`METRICS`] if not set.
    #[must_use]
    pub fn data_types<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.data_types = names.into_iter().map(Into::into).collect();
        self
    }

    /// The protocol has no answers: the client returns whether it has sent a message, and the contract looks at what arrives. It does not
    /// check that messages which cannot be delivered are answered truthfully.
    #[must_use]
    pub fn one_way(mut self) -> Self {
        self.one_way = true;
        self
    }

    /// Checks everything.
    ///
    /// # Panics
    /// When the handler breaks the contract; the message says how.
    pub async fn check(&self) {
        end::leaves_nothing_when_it_never_runs(self).await;
        end::stops_and_leaves_nothing(self).await;
        truth::says_yes_once_delivered(self).await;
        if !self.one_way {
            truth::says_no_when_not_delivered(self).await;
            truth::says_no_when_refused(self).await;
            truth::says_no_when_stopped(self).await;
        }
        cut::comes_back(self).await;
    }

    /// Sends one message; returns whether the answer was positive, or without answers whether the message arrived.
    async fn ask(&self, what: &str, host: &TestHost, recording: &Recording) -> bool {
        self.ask_within(PATIENCE, what, host, recording).await
    }

    /// The same, but a message without an answer is only waited for so long.
    async fn ask_within(
        &self,
        limit: Duration,
        what: &str,
        host: &TestHost,
        recording: &Recording,
    ) -> bool {
        let endpoints = host.status(SUBJECT).endpoints;
        let before = recording.record().messages().count();
        let sent = tokio::time::timeout(PATIENCE, (self.client)(&endpoints)).await;
        let sent =
            sent.unwrap_or_else(|_| panic!("{what}: the client got no answer within {PATIENCE:?}"));
        if !self.one_way || !sent {
            return sent;
        }
        let arrived = recording.until(|record| record.messages().count() > before);
        tokio::time::timeout(limit, arrived).await.is_ok()
    }

    /// The meaning of a negative [`ask`](Self::ask).
    fn not_positive(&self) -> &'static str {
        if self.one_way { "the message does not arrive" } else { "the answer is not positive" }
    }

    /// A host with handlers of this factory and one receiver.
    async fn host(
        &self,
        factory: &HandlerFactory,
        receiver: ReceiverFactory,
        describe: impl FnOnce(poa_core::HostBuilder) -> poa_core::HostBuilder,
    ) -> TestHost {
        TestHost::start_with(&self.data_types, |host| {
            let host = host.handler_from(SUBJECT, factory.clone());
            describe(host.receiver_from("receiver", self.receiver_options(), receiver))
        })
        .await
    }

    fn receiver_options(&self) -> poa_core::ReceiverOptions {
        poa_core::ReceiverOptions::subscribe(self.data_types.clone()).batch(1000, Duration::ZERO)
    }
}

impl<C> fmt::Debug for HandlerContract<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerContract")
            .field("data_types", &self.data_types)
            .field("one_way", &self.one_way)
            .finish_non_exhaustive()
    }
}

/// [`HandlerContract`] with everything as it is by default.
///
/// # Panics
/// When the handler breaks the contract; the message says how.
pub async fn handler_contract<C>(factory: HandlerFactory, client: C)
where
    C: AsyncFn(&[String]) -> bool,
{
    HandlerContract::new(factory, client).check().await;
}

/// The name of the tested handler.
const SUBJECT: &str = "subject";
/// The time limit of each step.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stops a host whose handler has no request in flight.
async fn stop(what: &str, host: TestHost) {
    let report = host.stop().await;
    let late = report.abandoned.contains(&format!("handlers.{SUBJECT}"));
    assert!(!late, "{what}: the handler did not stop when it was told to");
}
