use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener as Socket};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use poa_core::BuildError;
use tokio::net::TcpListener;

use crate::bind;

/// Addresses that stay open while who listens there is built anew.
///
/// In the [resources](poa_core::BuildContext::resource) of a host, it keeps the sockets that a [`Server`](crate::Server) listens on.
/// When the same plugin asks for the same address again, or the host that replaces this one does, it gets the same socket: nobody is
/// refused meanwhile, and port 0 stays the port that it was. Clients that connect while nobody serves wait in the queue of the system.
///
/// Clones share the sockets.
///
/// ```
/// use poa_core::{Host, Engine};
/// use poa_http::Listeners;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let listeners = Listeners::default();
/// let host = || Host::builder().metrics(["m"]).engine(Engine::Memory).data_dir(dir.path());
/// let first = host().resource(listeners.clone()).start().await?;
///
/// first.stop().await;
/// listeners.next_host();
/// let second = host().resource(listeners.clone()).start().await?;
/// listeners.close_unused();
///
/// listeners.close();
/// second.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Listeners(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    kept: Vec<Kept>,
    /// Which host it is that asks.
    host: u64,
    closed: bool,
}

/// A socket, and who asked for it last.
struct Kept {
    asked: SocketAddr,
    name: String,
    host: u64,
    socket: Socket,
    /// Whether somebody has it.
    lent: Weak<()>,
}

impl Kept {
    fn lend(&mut self) -> io::Result<Listening> {
        let lent = Arc::new(());
        self.lent = Arc::downgrade(&lent);
        let tcp = TcpListener::from_std(self.socket.try_clone()?)?;
        Ok(Listening { tcp, _lent: Some(lent) })
    }
}

/// A socket that somebody listens on.
pub(crate) struct Listening {
    pub(crate) tcp: TcpListener,
    _lent: Option<Arc<()>>,
}

impl Listening {
    /// One that nobody keeps.
    pub(crate) fn alone(tcp: TcpListener) -> Self {
        Self { tcp, _lent: None }
    }
}

impl Listeners {
    /// From now on, another host asks. It may give an address to another plugin.
    pub fn next_host(&self) {
        self.0.lock().host += 1;
    }

    /// Closes the addresses that the present host has not asked for.
    pub fn close_unused(&self) {
        let mut state = self.0.lock();
        let host = state.host;
        state.kept.retain(|kept| kept.host == host);
    }

    /// Keeps no address open any more: each is closed when who listens there ends. For the time before the last host stops.
    pub fn close(&self) {
        let mut state = self.0.lock();
        state.kept.clear();
        state.closed = true;
    }

    /// Listens on an address for the plugin of this name.
    pub(crate) fn listen(&self, name: &str, addr: SocketAddr) -> Result<Listening, BuildError> {
        self.0.lock().listen(name, addr).map_err(|error| bind::refused(addr, error))
    }
}

impl State {
    fn listen(&mut self, name: &str, addr: SocketAddr) -> io::Result<Listening> {
        if self.closed {
            return bind::listen(addr).map(Listening::alone);
        }
        let host = self.host;
        let own = |kept: &Kept| kept.name == name || addr.port() != 0 && kept.host < host;
        let free = |kept: &Kept| kept.asked == addr && own(kept) && kept.lent.strong_count() == 0;
        if let Some(kept) = self.kept.iter_mut().find(|kept| free(kept)) {
            (kept.name, kept.host) = (name.to_owned(), host);
            return kept.lend();
        }
        let socket = self.bind(addr)?.into_std()?;
        let mut kept = Kept { asked: addr, name: name.to_owned(), host, socket, lent: Weak::new() };
        let listening = kept.lend()?;
        self.kept.push(kept);
        Ok(listening)
    }

    /// Listens on an address of which the host before may have had a part, such as all addresses in place of one.
    fn bind(&mut self, addr: SocketAddr) -> io::Result<TcpListener> {
        match bind::listen(addr) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let (before, host) = (self.kept.len(), self.host);
                let port = |kept: &Kept| kept.socket.local_addr().map(|at| at.port()).ok();
                self.kept.retain(|kept| kept.host == host || port(kept) != Some(addr.port()));
                if self.kept.len() < before { bind::listen(addr) } else { Err(error) }
            }
            bound => bound,
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_list().entries(state.kept.iter().map(|kept| kept.asked)).finish()
    }
}
