//! One connection from its handshake to its end.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::HttpService;
use crate::deadlines::Deadlines;
use crate::metrics::Metrics;
use crate::service;
use crate::state::{Conn, Phase, Session};
use crate::wire::Wire;

/// The most that hyper buffers of a connection in each direction, unless larger heads are allowed.
const BUFFER: usize = 64 << 10;

/// Serves a connection until either side ends it or it is upgraded: then returns the session that follows.
pub(crate) async fn run<S: HttpService>(
    wire: Wire,
    tls: Option<TlsAcceptor>,
    conn: Arc<Conn>,
    service: S,
    metrics: Metrics,
) -> Option<Session> {
    match tls {
        None => serve(wire, &conn, service, &metrics).await,
        Some(tls) => match handshake(wire, tls, &conn).await {
            Ok(stream) => serve(stream, &conn, service, &metrics).await,
            Err(error) => {
                metrics.tls_failures.inc();
                tracing::debug!(peer = %conn.peer, "TLS handshake failed: {error}");
            }
        },
    }
    conn.take_following()?.await
}

async fn handshake(
    wire: Wire,
    tls: TlsAcceptor,
    conn: &Conn,
) -> Result<tokio_rustls::server::TlsStream<Wire>, String> {
    let limit = conn.limits.header_timeout;
    let stream = tokio::select! {
        stream = tokio::time::timeout(limit.get(), tls.accept(wire)) => stream,
        () = poll_fn(|cx| conn.poll_finish(cx)) => return Err("the server is stopping".to_owned()),
    };
    conn.forget_bytes();
    match stream {
        Ok(stream) => stream.map_err(|error| error.to_string()),
        Err(_) => Err(format!("not completed within {limit}")),
    }
}

async fn serve<I, S>(io: I, conn: &Arc<Conn>, service: S, metrics: &Metrics)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let shared = conn.clone();
    let service = service_fn(move |request| service::call(&service, request, &shared));
    let http = builder(conn).serve_connection(TokioIo::new(io), service).with_upgrades();
    let mut http = pin!(http);
    let mut deadlines = Deadlines::new(conn.clone());
    let mut finishing = false;
    poll_fn(|cx| {
        if !finishing && conn.poll_finish(cx).is_ready() {
            if conn.is_evicted() {
                return Poll::Ready(());
            }
            finishing = true;
            deadlines.call_last();
            http.as_mut().graceful_shutdown();
        }
        loop {
            if let Poll::Ready(end) = http.as_mut().poll(cx) {
                conn.note_upgrade();
                log(conn, end);
                return Poll::Ready(());
            }
            let late = ready!(deadlines.poll(cx));
            if late != Phase::Idle {
                metrics.timeouts.inc();
                tracing::debug!(peer = %conn.peer, "timed out: {late:?}");
            }
            match late {
                // The service is polled again, so that the client receives the reason.
                Phase::Body => conn.expire_body(),
                Phase::Serving => conn.expire_request(),
                _ => return Poll::Ready(()),
            }
        }
    })
    .await;
}

fn builder(conn: &Conn) -> http1::Builder {
    let headers = usize::try_from(conn.limits.headers.get()).unwrap_or(usize::MAX);
    let mut builder = http1::Builder::new();
    builder
        // hyper would create a timer for each request, and cannot distinguish an idle connection from a slow
        // head.
        .header_read_timeout(None)
        .max_header_size(headers)
        .max_buf_size(headers.max(BUFFER))
        // A client that has sent its last request still expects the response.
        .half_close(true)
        // Responses are small: one write of one buffer is cheaper than a vectored one.
        .writev(false);
    builder
}

fn log(conn: &Conn, end: hyper::Result<()>) {
    if let Err(error) = end {
        tracing::debug!(peer = %conn.peer, error = &error as &dyn std::error::Error, "connection ended");
    }
}
