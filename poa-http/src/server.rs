use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use poa_core::{BuildContext, BuildError};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::accept::Acceptor;
use crate::descriptors::{Places, Slot};
use crate::listeners::Listening;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::state::Conn;
use crate::wire::Wire;
use crate::{HttpService, Limits, Listen, Listeners, Shares, Tls, bind, connection};

/// An HTTP/1.1 listener: bound, and ready to serve.
pub struct Server {
    name: Arc<str>,
    listener: Listening,
    addr: SocketAddr,
    tls: Option<TlsAcceptor>,
    limits: Arc<Limits>,
    places: Places,
    shares: Shares,
    metrics: Metrics,
}

impl Server {
    /// Listens on `addr`, over TLS if that is given. Clients that connect wait until [`serve`](Self::serve) is called.
    ///
    /// Spawns nothing. Reads the certificate, or makes it on the first start. With [`Listeners`] among the resources of the host,
    /// the address stays open while that is replaced, and its listeners divide the limit of open files. With [`Shares`], they divide the
    /// memory for bodies among those who send.
    ///
    /// # Errors
    /// When the address is taken or not this machine's, or the certificate cannot be used. The text names the cure.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(
        listen: impl Into<Listen>,
        tls: Option<&Tls>,
        limits: Limits,
        cx: &BuildContext,
    ) -> Result<Self, BuildError> {
        let listen = listen.into();
        let listeners = cx.resource::<Listeners>();
        let (asked, listener) = bind::first_of(&listen, |addr| match listeners {
            Some(listeners) => listeners.listen(cx.name(), addr),
            None => bind::listen(addr).map(Listening::alone),
        })?;
        // Only what can be listened on gets a certificate.
        let tls = tls.map(|tls| tls.acceptor(asked, listen.name(), cx)).transpose()?;
        let addr = listener.tcp.local_addr().map_err(|error| {
            BuildError::failed(format!("cannot tell the port listened on at {listen}"))
                .with_source(error)
        })?;
        if tls.is_none() && !addr.ip().is_loopback() {
            tracing::warn!(
                handler = cx.name(),
                "{addr} is served without TLS: what is sent can be read on the way; set `tls`, or listen on 127.0.0.1"
            );
        }
        let descriptors = listeners.map(Listeners::descriptors).unwrap_or_default();
        Ok(Self {
            name: cx.name().into(),
            listener,
            addr,
            tls,
            places: descriptors.places(limits.max_connections),
            limits: Arc::new(limits),
            shares: Shares::of(cx),
            metrics: Metrics::new(cx.telemetry(), cx.name()),
        })
    }

    /// The address listened on, with the port that the system chose when it was asked for port 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where clients reach this listener: `http://127.0.0.1:4002` or `https://…`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// Serves until `shutdown` fires; then accepts nothing more, closes idle connections, answers the requests that are
    /// under way, and returns. Clients get 5 s to complete requests they have begun to send; how long an answer may take
    /// is bounded by [`Limits::request_timeout`] alone, so bound the whole where less is wanted.
    ///
    /// Every connection is a task that ends with this future, at the latest when it is dropped. One that was upgraded to
    /// WebSocket with `websocket::upgrade` is waited for as well: it must watch `shutdown` itself. It counts as a connection
    /// as long as it is open.
    pub async fn serve<S: HttpService>(self, service: S, shutdown: CancellationToken) {
        let mut pool = Pool::default();
        let metrics = &self.metrics;
        bind::warn_of_few_files(&self.name, self.limits.max_connections, self.places.settle());
        let mut acceptor = Acceptor::new(self.name, self.listener, self.places, metrics.clone());
        loop {
            let (tcp, peer, slot) = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = acceptor.next(&mut pool) => accepted,
            };
            let (wire, conn) =
                wire(tcp, slot, Conn::new(peer, self.limits.clone(), self.shares.clone()));
            let task = connection::run(
                wire,
                self.tls.clone(),
                conn.clone(),
                service.clone(),
                metrics.clone(),
            );
            pool.spawn(conn, task);
        }
        drop(acceptor);
        pool.finish().await;
    }
}

fn wire(tcp: TcpStream, slot: Slot, conn: Arc<Conn>) -> (Wire, Arc<Conn>) {
    // Without it, the system holds back an answer until the last one is confirmed. It only fails on a dead socket.
    let _ = tcp.set_nodelay(true);
    (Wire::new(tcp, conn.clone(), slot), conn)
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.endpoint())
    }
}
