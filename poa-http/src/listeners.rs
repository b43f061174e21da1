use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener as Socket};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::bind;
use crate::descriptors::Descriptors;

/// Keeps listening sockets open while the host that serves them is replaced.
///
/// As a [resource](poa_core::BuildContext::resource) of both hosts, it holds the socket of each [`Server`](crate::Server) between
/// the stop of the first host and the start of the second, which takes over the sockets it requests. No client is refused
/// meanwhile, and port 0 keeps the assigned port. Clients that connect while no server runs wait in the queue of the system. At
/// any other time, a socket is closed when its server ends.
///
/// All servers that share it also divide the connections that the limit of open files allows, so that a flood of connections to
/// one of them leaves the others their part, and the log its files.
///
/// Clones share sockets and limits.
///
/// ```
/// use poa_core::Host;
/// use poa_http::Listeners;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let listeners = Listeners::default();
/// let host = || {
///     let host = Host::builder().data_types(["m"]).data_dir(dir.path());
///     host.engine::<poa_engine_local::Memory>("memory", Default::default())
/// };
/// let first = host().resource(listeners.clone()).start().await?;
///
/// listeners.keep_open();
/// first.stop().await;
/// let second = host().resource(listeners.clone()).start().await?;
/// listeners.close_unused();
/// # second.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Listeners {
    sockets: Arc<Mutex<State>>,
    descriptors: Descriptors,
}

#[derive(Default)]
struct State {
    all: Vec<Known>,
    /// The number of the last socket.
    last: u64,
    /// Whether a socket without a server stays open.
    keeps: bool,
    /// The plugin whose successor may listen on its sockets while it does.
    replaced: Option<String>,
}

/// A socket, and the plugin that requested it last.
struct Known {
    number: u64,
    asked: SocketAddr,
    name: String,
    socket: Socket,
    /// How many servers have it: two while a plugin is replaced.
    lent: usize,
}

/// A socket that a server listens on.
pub(crate) struct Listening {
    pub(crate) tcp: TcpListener,
    _lent: Option<Lent>,
}

impl Listening {
    /// A socket that ends with its server.
    pub(crate) fn alone(tcp: TcpListener) -> Self {
        Self { tcp, _lent: None }
    }
}

/// Returns a socket on drop.
struct Lent {
    listeners: Listeners,
    number: u64,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.listeners.sockets.lock().give_back(self.number);
    }
}

/// Ends the time in which a plugin and its successor may listen on the same sockets.
#[derive(Debug)]
pub struct Replacing(Listeners);

impl Drop for Replacing {
    fn drop(&mut self) {
        self.0.sockets.lock().replaced = None;
    }
}

impl Listeners {
    /// While the value that this returns lives, a server that is bound for the plugin of this name gets the socket of the one that has the
    /// address, and both accept connections until the first is dropped. So a plugin can be replaced in a running host without a moment in
    /// which no server listens. For one plugin at a time.
    #[must_use]
    pub fn replacing(&self, plugin: &str) -> Replacing {
        self.sockets.lock().replaced = Some(plugin.to_owned());
        Replacing(self.clone())
    }

    /// From now on, a socket stays open when its server ends. Call it before stopping a host that is to be replaced.
    pub fn keep_open(&self) {
        self.sockets.lock().keeps = true;
    }

    /// Closes the sockets that no server has requested again, and keeps sockets open no longer. Call it once the other host has
    /// started.
    pub fn close_unused(&self) {
        let mut state = self.sockets.lock();
        state.keeps = false;
        state.all.retain(|known| known.lent > 0);
    }

    /// Listens on an address for the plugin of this name.
    pub(crate) fn listen(&self, name: &str, addr: SocketAddr) -> io::Result<Listening> {
        let (tcp, number) = self.sockets.lock().listen(name, addr)?;
        Ok(Listening { tcp, _lent: Some(Lent { listeners: self.clone(), number }) })
    }

    /// The part of the process's open files that its listeners share.
    pub(crate) fn descriptors(&self) -> Descriptors {
        self.descriptors.clone()
    }
}

impl State {
    fn listen(&mut self, name: &str, addr: SocketAddr) -> io::Result<(TcpListener, u64)> {
        // A socket without a server belonged to the previous host. Several plugins may ask for port 0.
        let own = |known: &Known| known.name == name || addr.port() != 0;
        let is_replaced = self.replaced.as_deref() == Some(name);
        let of_predecessor = |known: &Known| is_replaced && known.lent == 1 && known.name == name;
        let free = |known: &Known| known.lent == 0 && own(known);
        let fits =
            |known: &&mut Known| known.asked == addr && (free(known) || of_predecessor(known));
        if let Some(known) = self.all.iter_mut().find(fits) {
            let tcp = TcpListener::from_std(known.socket.try_clone()?)?;
            known.name = name.to_owned();
            known.lent += 1;
            return Ok((tcp, known.number));
        }
        let socket = self.bind(addr)?.into_std()?;
        let tcp = TcpListener::from_std(socket.try_clone()?)?;
        self.last += 1;
        let (number, name) = (self.last, name.to_owned());
        self.all.push(Known { number, asked: addr, name, socket, lent: 1 });
        Ok((tcp, number))
    }

    fn give_back(&mut self, number: u64) {
        let Some(at) = self.all.iter().position(|known| known.number == number) else { return };
        self.all[at].lent -= 1;
        if self.all[at].lent == 0 && !self.keeps {
            self.all.swap_remove(at);
        }
    }

    /// Listens on an address of which the previous host may have used a part, such as all addresses instead of one.
    fn bind(&mut self, addr: SocketAddr) -> io::Result<TcpListener> {
        match bind::listen(addr) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let before = self.all.len();
                let port = |known: &Known| known.socket.local_addr().map(|at| at.port()).ok();
                self.all.retain(|known| known.lent > 0 || port(known) != Some(addr.port()));
                if self.all.len() < before { bind::listen(addr) } else { Err(error) }
            }
            bound => bound,
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.sockets.lock();
        f.debug_list().entries(state.all.iter().map(|known| known.asked)).finish()
    }
}
