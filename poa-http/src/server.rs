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
    /// Listens on `addr`, over TLS if that is configured. Clients that connect wait until [`serve`](Self::serve) is called.
    ///
    /// Spawns nothing. Reads the certificate, or creates it on the first start. With [`Listeners`] among the resources of the host, the
    /// address stays open while the host is replaced, and its listeners divide the limit of open files. With [`Shares`], they divide the
    /// memory for bodies among the senders.
    ///
    /// # Errors
    /// When the address is in use or not an address of this machine, or the certificate cannot be used. The text names the cure.
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
        // A certificate is created only after listening has succeeded.
        let tls = tls.map(|tls| tls.acceptor(asked, listen.name(), cx)).transpose()?;
        let addr = listener.tcp.local_addr().map_err(|error| {
            BuildError::failed(format!("cannot determine the port of the listener at {listen}"))
                .with_source(error)
        })?;
        if tls.is_none() && !addr.ip().is_loopback() {
            tracing::warn!(
                handler = cx.name(),
                "{addr} is served without TLS: passwords, tokens and messages can be read on the network; set `tls`, or listen on 127.0.0.1"
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

    /// The address of the listener, with the port that the system chose for port 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address for clients: `http://127.0.0.1:4002` or `https://…`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// Serves until `shutdown` fires; then accepts nothing more, closes idle connections, answers the requests in flight, and returns.
    /// Clients get 5 s to complete requests they have started to send; the time of a response is limited only by
    /// [`Limits::request_timeout`], so limit the whole call if you need less.
    ///
    /// Every connection is a task that ends with this future, at the latest when it is dropped. A connection that was upgraded to
    /// WebSocket with `websocket::upgrade` is waited for as well: its session must watch `shutdown` itself. It counts as a connection as
    /// long as it is open.
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
    // Otherwise the system delays a response until the last one is acknowledged by the peer. Setting it only fails on a dead socket.
    let _ = tcp.set_nodelay(true);
    (Wire::new(tcp, conn.clone(), slot), conn)
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.endpoint())
    }
}
