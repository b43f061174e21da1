//! Wraps the service of a handler: checks its requests and finishes its responses.

use std::any::Any;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CONNECTION, CONTENT_TYPE, EXPECT, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::service::Service;
use poa_core::BoxError;

use crate::state::{Conn, InFlight};
use crate::{Body, head};

/// How long to wait for an unread small body, so that the connection can be kept.
const LEFTOVER: Duration = Duration::from_millis(250);

/// A service that a [`Server`](crate::Server) can serve: any [`hyper::service::Service`] from a request with a [`Body`] to a
/// response, such as a [`service_fn`](hyper::service::service_fn), or a tower service inside
/// [`TowerToHyperService`](crate::TowerToHyperService). Each connection gets a clone.
///
/// A panic during a request is logged, and answered with 500. A response that takes too long is abandoned, and 503 sent
/// instead. An error closes the connection.
pub trait HttpService:
    Service<
        Request<Body>,
        Response = Response<Self::Answer>,
        Error: Into<BoxError>,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
    /// The body of its responses.
    type Answer: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<
            Request<Body>,
            Response = Response<B>,
            Error: Into<BoxError>,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static,
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Answer = B;
}

/// Passes a request to the service and waits for the response.
pub(crate) fn call<S: HttpService>(
    service: &S,
    request: Request<Incoming>,
    conn: &Arc<Conn>,
) -> impl Future<
    Output = Result<
        Response<impl hyper::body::Body<Data = Bytes, Error = BoxError> + Send + use<S>>,
        BoxError,
    >,
> + Send
+ use<S> {
    let in_flight = InFlight::begin(conn);
    let conn = conn.clone();
    conn.expect_continue(request.headers().contains_key(EXPECT));
    let problem = head::problem(&request);
    let request = request.map(|body| Body::new(body, conn.clone()));
    let service = service.clone();
    async move {
        let mut answer = match problem {
            Some(problem) => {
                // Includes the body, so that the connection is not kept for the rest of it.
                drop(request);
                bad_request(problem).map(Either::Right)
            }
            None => {
                // Pinned where it is created: a future that is passed on is stored twice, and moved with every request.
                let mut answering = pin!(AssertUnwindSafe(service.call(request)).catch_unwind());
                match poll_fn(|cx| poll_in_time(answering.as_mut(), &conn, cx)).await {
                    Some(Ok(answer)) => answer.map_err(Into::into)?.map(Either::Left),
                    Some(Err(panic)) => internal_error(&*panic, &conn).map(Either::Right),
                    None => overdue().map(Either::Right),
                }
            }
        };
        let is_kept = !conn.is_spoilt() && problem.is_none() && leftover_read(&conn).await;
        if !is_kept {
            // As long as the rest of the body exists, hyper waits for it and does not close.
            drop(conn.take_leftover());
            announce_close(&mut answer);
        }
        if !answer.status().is_client_error() && !answer.status().is_server_error() {
            conn.prove();
        }
        // Dropped together with the body: the request is in flight until the whole response was taken.
        Ok(answer.map(|body| {
            body.map_err(move |error| {
                let _ = &in_flight;
                error
            })
        }))
    }
}

/// Reads the small rest of a body that the service left. Returns false if it does not arrive soon: the connection cannot be
/// reused then.
///
/// hyper would read it only if it were here already, and otherwise close the connection without telling the client.
async fn leftover_read(conn: &Conn) -> bool {
    let Some(rest) = conn.take_leftover() else { return true };
    let read = rest.collect();
    let read = tokio::time::timeout(LEFTOVER, read).await.is_ok_and(|read| read.is_ok());
    if read {
        conn.note_body_read();
    }
    read
}

/// The output of `future`; `None` if it is not ready when the deadline of the request has passed.
fn poll_in_time<F: Future>(
    future: Pin<&mut F>,
    conn: &Conn,
    cx: &mut Context<'_>,
) -> Poll<Option<F::Output>> {
    match future.poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if conn.request_expired() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    }
}

/// Tells the client not to send another request over this connection.
fn announce_close<B>(answer: &mut Response<B>) {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

fn internal_error(panic: &(dyn Any + Send), conn: &Conn) -> Response<Full<Bytes>> {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(
        peer = %conn.peer,
        "a request was not answered, its service panicked: {}",
        text.unwrap_or("without a message")
    );
    let body = r#"{"error":"internal","message":"internal error; the server's log says more"}"#;
    json(StatusCode::INTERNAL_SERVER_ERROR, body)
}

fn bad_request(problem: &str) -> Response<Full<Bytes>> {
    let mut answer = json(StatusCode::BAD_REQUEST, "");
    *answer.body_mut() = format!(r#"{{"error":"bad_request","message":"{problem}"}}"#).into();
    answer
}

fn overdue() -> Response<Full<Bytes>> {
    let body = r#"{"error":"timeout","message":"the answer took too long; try again later"}"#;
    let mut answer = json(StatusCode::SERVICE_UNAVAILABLE, body);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    answer
}

fn json(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
