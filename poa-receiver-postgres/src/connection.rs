//! A connection whose I/O is driven by the caller that waits for its results, so that no task has to be spawned.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::location::Location;

type Driver = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// The half of a connection that reads and writes.
pub(crate) struct Connection {
    /// `None` once it has ended. It is dropped immediately then, by which callers that still wait for a result
    /// learn of the end.
    driver: Option<Driver>,
    /// The reason for the end, until it was reported.
    why: Option<Error>,
}

/// Connects, in the first of the ways that the server's `pg_hba.conf` allows.
pub(crate) async fn connect(
    location: &Location,
    tls: MakeRustlsConnect,
) -> Result<(Client, Connection), Error> {
    let mut driver = location.driver.clone();
    let mut modes = location.modes.iter().peekable();
    loop {
        if let Some(mode) = modes.next() {
            driver.ssl_mode(*mode);
        }
        match driver.connect(tls.clone()).await {
            Ok((client, connection)) => {
                return Ok((client, Connection { driver: Some(Box::pin(connection)), why: None }));
            }
            Err(error) if modes.peek().is_some() && has_no_entry(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether `pg_hba.conf` has no line for this connection; there may be one for a connection without TLS, or with
/// it.
fn has_no_entry(error: &Error) -> bool {
    error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

impl Connection {
    /// Drives the connection while this future, which uses its client, is not done.
    ///
    /// Cancel safe for the connection: if dropped, the next call continues with what was queued.
    pub(crate) async fn drive<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut work = pin!(work);
        let result = poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => {
                // Arriving data wakes the task; so does the end.
                self.poll(cx);
                Poll::Pending
            }
        });
        match result.await {
            // The connection knows why it was closed.
            Err(error) if error.is_closed() => Err(self.why.take().unwrap_or(error)),
            result => result,
        }
    }

    /// False if the server has closed the connection meanwhile.
    pub(crate) async fn is_open(&mut self) -> bool {
        poll_fn(|cx| {
            self.poll(cx);
            Poll::Ready(self.driver.is_some())
        })
        .await
    }

    /// Closes it without a message: the server rolls back the open transaction.
    pub(crate) fn cut(&mut self) {
        self.driver = None;
    }

    /// Reads and writes until the end, which comes once the client is dropped.
    pub(crate) async fn finish(self) -> Result<(), Error> {
        match self.driver {
            Some(driver) => driver.await,
            None => self.why.map_or(Ok(()), Err),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        let Some(driver) = &mut self.driver else { return };
        if let Poll::Ready(result) = driver.as_mut().poll(cx) {
            self.driver = None;
            self.why = result.err();
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("open", &self.driver.is_some()).finish_non_exhaustive()
    }
}
