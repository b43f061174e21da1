//! A connection that can be cut anywhere.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The direction whose bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    FromServer,
}

/// Forwards connections to a server.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct State {
    /// The number of bytes that pass before the connection is cut; the largest number means no limit.
    left: [AtomicU64; 2],
    passed: [AtomicU64; 2],
}

impl State {
    fn endless() -> Self {
        Self { left: [u64::MAX.into(), u64::MAX.into()], passed: Default::default() }
    }
}

impl Proxy {
    /// In front of the server at this address.
    pub(crate) async fn start(server: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::endless());
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(forward(client, server, shared.clone()));
            }
        });
        Self { port, state }
    }

    /// Cuts the connection once this many more bytes have passed in this direction.
    pub(crate) fn cut_after(&self, way: Way, bytes: u64) {
        self.state.left[way as usize].store(bytes, Relaxed);
    }

    /// The number of bytes that have passed in this direction.
    pub(crate) fn passed(&self, way: Way) -> u64 {
        self.state.passed[way as usize].load(Relaxed)
    }
}

/// Ends both directions when one of them ends.
async fn forward(client: TcpStream, server: TcpStream, state: Arc<State>) {
    // The maintenance connection identifies itself in its first message, and is neither counted nor cut.
    let mut first = [0; 512];
    let read = client.peek(&mut first).await.unwrap_or_default();
    let beside = first[..read].windows(7).any(|word| word == b"tidying");
    let state = if beside { Arc::new(State::endless()) } else { state };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = pump(from_client, to_server, &state, Way::ToServer) => {}
        _ = pump(from_server, to_client, &state, Way::FromServer) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &State,
    way: Way,
) -> io::Result<()> {
    let (left, passed) = (&state.left[way as usize], &state.passed[way as usize]);
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        let allowed = left.load(Relaxed);
        let pass = u64::try_from(read).unwrap().min(allowed);
        to.write_all(&buffer[..usize::try_from(pass).unwrap()]).await?;
        passed.fetch_add(pass, Relaxed);
        if read == 0 || pass == allowed {
            // The next connection is not cut.
            left.store(u64::MAX, Relaxed);
            return Ok(());
        }
        if allowed != u64::MAX {
            left.fetch_sub(pass, Relaxed);
        }
    }
}
