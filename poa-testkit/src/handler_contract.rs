//! The handler contract.

mod cut;
mod end;
mod truth;

use std::time::Duration;

use poa_core::{HandlerFactory, ReceiverFactory};

use crate::TestHost;

/// Checks a handler against the contract of [`poa_core::CustomHandler`].
///
/// `factory` builds the handler; [`handler_factory`](crate::handler_factory) makes one from your plugin. `send` is a client: it sends one
/// message of type `system_metrics` to the [endpoints](poa_core::CustomHandler::endpoints) it gets, and returns whether the answer was
/// positive. An error, no answer and a broken connection are `false`. It leaves no task behind. The suite checks that:
///
/// - an answer is positive only if the message was delivered, not if the receipt fails, the host refuses the message, or stops
///   before the result is known;
/// - after being dropped, or panicking, at any of its first awaits, it is rebuilt by the same factory and serves again: with a
///   fixed port, this checks that it can bind again;
/// - it stops when told to, and leaves no task behind, nor does one that is built and never run.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use custom_handler::{Config, Lines};
/// use poa_testkit::{handler_contract, handler_factory};
/// use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
/// use tokio::net::TcpStream;
///
/// async fn send(endpoints: &[String]) -> std::io::Result<bool> {
///     let mut stream = BufReader::new(TcpStream::connect(&endpoints[0]["tcp://".len()..]).await?);
///     stream.write_all(b"pump-7 system_metrics {}\n").await?;
///     let mut answer = String::new();
///     stream.read_line(&mut answer).await?;
///     Ok(answer == "ok\n")
/// }
///
/// let config = Config { listen: ([127, 0, 0, 1], 0).into() };
/// handler_contract(handler_factory::<Lines>(config), async |endpoints| {
///     send(endpoints).await.unwrap_or(false)
/// })
/// .await;
/// # }
/// ```
///
/// # Panics
/// When the handler breaks the contract; the message says how.
pub async fn handler_contract<C>(factory: HandlerFactory, send: C)
where
    C: AsyncFn(&[String]) -> bool,
{
    let client = Client(send);
    end::leaves_nothing_when_it_never_runs(&factory).await;
    end::stops_and_leaves_nothing(&factory, &client).await;
    truth::says_yes_once_delivered(&factory, &client).await;
    truth::says_no_when_not_delivered(&factory, &client).await;
    truth::says_no_when_refused(&factory, &client).await;
    truth::says_no_when_stopped(&factory, &client).await;
    cut::comes_back(&factory, &client).await;
}

/// The name of the tested handler.
const SUBJECT: &str = "subject";
/// The time limit of each step.
const PATIENCE: Duration = Duration::from_secs(30);

struct Client<C>(C);

impl<C: AsyncFn(&[String]) -> bool> Client<C> {
    /// Sends one message; returns whether the answer was positive.
    async fn ask(&self, what: &str, host: &TestHost) -> bool {
        let endpoints = host.status(SUBJECT).endpoints;
        let answer = tokio::time::timeout(PATIENCE, (self.0)(&endpoints)).await;
        answer.unwrap_or_else(|_| panic!("{what}: the client got no answer within {PATIENCE:?}"))
    }
}

/// A host with the handler and one receiver.
async fn host(
    factory: &HandlerFactory,
    receiver: ReceiverFactory,
    describe: impl FnOnce(poa_core::HostBuilder) -> poa_core::HostBuilder,
) -> TestHost {
    TestHost::start(|host| {
        let host = host.handler_from(SUBJECT, factory.clone());
        describe(host.receiver_from("receiver", TestHost::options(), receiver))
    })
    .await
}

/// Stops a host whose handler has no request in flight.
async fn stop(what: &str, host: TestHost) {
    let report = host.stop().await;
    let late = report.abandoned.contains(&format!("handlers.{SUBJECT}"));
    assert!(!late, "{what}: the handler did not stop when it was told to");
}
