//! WebSocket connections of clients of the feed and of pages.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderMap;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use poa_core::telemetry::Gauge;
use poa_http::websocket::{CloseCode, Error, Message, Options, WebSocket};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::Site;
use crate::feed::Queue;

/// The subprotocol of the page. Clients that do not ask for it get the feed.
const PAGE: &str = "poa-dashboard-page";
/// The interval of updates for a page.
const PAGE_EVERY: Duration = Duration::from_millis(500);
/// The longest time between updates for a page, which show it that it is connected.
const PAGE_AT_LEAST: Duration = Duration::from_secs(2);
/// The number of frames that are handed over together.
const AT_ONCE: usize = 64;
/// The interval of pings to a client.
const PING_EVERY: Duration = Duration::from_secs(30);
/// The number of consecutive pings without an answer after which a client is disconnected: a client whose network or
/// machine fails sends no goodbye.
const SILENT_PINGS: u32 = 2;
/// A send that takes longer than this has waited for the client.
const AT_ONCE_TAKES: Duration = Duration::from_secs(1);
/// The time limit for a client to read what it is sent before it is disconnected.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest message that is ignored rather than refused: it stays in memory until it is complete.
const LARGEST_IGNORED: usize = 64 << 10;

/// The settings of connections.
pub(super) fn options() -> Options {
    Options::default().max_message(LARGEST_IGNORED).protocol(PAGE)
}

/// Whether a client asks for the page's updates.
fn is_page(headers: &HeaderMap) -> bool {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|name| name.trim() == PAGE)
}

/// The data that a client gets.
pub(super) enum Talk {
    /// Updates for the page.
    Page(Arc<Site>),
    /// Every metric.
    Feed(Joined),
}

impl Talk {
    /// The data that the client with these headers asks for. A client of the feed gets every metric from now on.
    pub(super) fn new(headers: &HeaderMap, site: Arc<Site>) -> Self {
        if is_page(headers) { Self::Page(site) } else { Self::Feed(Joined::new(site)) }
    }

    /// Serves the client until it leaves or the server stops.
    pub(super) async fn hold(self, mut socket: WebSocket) {
        let site = self.site().clone();
        let connected = Connected::new(site.clients.clone());
        let end = tokio::select! {
            () = site.shutdown.cancelled() => End::Stopped,
            end = self.talk(&mut socket) => end,
        };
        drop(connected);
        let (code, reason) = end.says();
        socket.close_with(code, reason).await;
    }

    fn site(&self) -> &Arc<Site> {
        match self {
            Self::Page(site) => site,
            Self::Feed(joined) => &joined.site,
        }
    }

    async fn talk(&self, socket: &mut WebSocket) -> End {
        let mut line = Line::new(socket);
        let ended = match self {
            Self::Page(site) => to_page(&mut line, site).await,
            Self::Feed(joined) => to_feed(&mut line, joined).await,
        };
        let Err(end) = ended;
        end
    }
}

/// The reason why a connection ended.
#[derive(Debug, PartialEq)]
enum End {
    /// The server stops.
    Stopped,
    /// The client left, or broke the protocol, which the socket has recorded.
    Gone,
    /// It does not read what it is sent.
    Slow,
    /// It does not answer pings.
    Silent,
}

impl End {
    fn says(self) -> (CloseCode, &'static str) {
        match self {
            Self::Stopped => (CloseCode::GOING_AWAY, "the server stops"),
            Self::Gone => (CloseCode::NORMAL, ""),
            Self::Slow => (CloseCode::POLICY, "nothing was taken for a minute"),
            Self::Silent => (CloseCode::POLICY, "pings were not answered"),
        }
    }
}

impl From<Error> for End {
    fn from(_: Error) -> Self {
        Self::Gone
    }
}

/// Serves the connection until it ends.
type Talked = Result<Infallible, End>;

/// Sends the feed.
async fn to_feed(line: &mut Line<'_>, joined: &Joined) -> Talked {
    loop {
        tokio::select! {
            // Input is checked before the ping timer, so that an answer in time counts.
            biased;
            due = line.hear() => if due? { line.send([Message::Ping]).await? },
            frames = joined.site.state.next(&joined.queue, AT_ONCE) => {
                line.send(frames.into_iter().map(Message::Text)).await?;
            }
        }
    }
}

/// Sends updates at a fixed interval.
async fn to_page(line: &mut Line<'_>, site: &Site) -> Talked {
    let mut tick = tokio::time::interval(PAGE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut known, mut said) = (None, Instant::now());
    loop {
        tokio::select! {
            biased;
            due = line.hear() => if due? { line.send([Message::Ping]).await? },
            _ = tick.tick() => {
                let page = site.state.page(known);
                if page.news || said.elapsed() >= PAGE_AT_LEAST {
                    (known, said) = (Some(page.change), Instant::now());
                    line.send([Message::Text(Bytes::from(page.json()))]).await?;
                }
            }
        }
    }
}

/// The socket of a client, and whether the client is alive.
struct Line<'a> {
    socket: &'a mut WebSocket,
    ping: Interval,
    /// The number of bytes received by the last ping.
    received: u64,
    /// The number of consecutive pings without an answer.
    silent: u32,
}

impl<'a> Line<'a> {
    fn new(socket: &'a mut WebSocket) -> Self {
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let received = socket.received();
        Self { socket, ping, received, silent: 0 }
    }

    /// Waits for input, or until it is time to ping, and returns which. Input is ignored unless it closes the
    /// connection. Cancel safe.
    async fn hear(&mut self) -> Result<bool, End> {
        tokio::select! {
            biased;
            heard = self.socket.next() => match heard.transpose()? {
                None | Some(Message::Close(_)) => Err(End::Gone),
                Some(_) => Ok(false),
            },
            _ = self.ping.tick() => self.look(),
        }
    }

    /// Whether to ping; an error if too many pings were not answered.
    fn look(&mut self) -> Result<bool, End> {
        let received = self.socket.received();
        self.silent = if received == self.received { self.silent + 1 } else { 0 };
        self.received = received;
        if self.silent == SILENT_PINGS { Err(End::Silent) } else { Ok(true) }
    }

    /// Sends all of these, and disconnects a client that does not read them.
    async fn send(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<(), End> {
        let began = Instant::now();
        let all = async {
            for message in messages {
                self.socket.feed(message).await?;
            }
            self.socket.flush().await
        };
        tokio::time::timeout(PATIENCE, all).await.map_err(|_| End::Slow)??;
        if began.elapsed() > AT_ONCE_TAKES {
            // It reads slowly; meanwhile its answers could not be received.
            self.silent = 0;
        }
        Ok(())
    }
}

/// Counts a client as long as this lives, however its connection ends.
struct Connected(Gauge);

impl Connected {
    fn new(clients: Gauge) -> Self {
        clients.inc();
        Self(clients)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Keeps a client in the list of the state as long as this lives.
pub(super) struct Joined {
    site: Arc<Site>,
    number: u64,
    queue: Arc<Queue>,
}

impl Joined {
    fn new(site: Arc<Site>) -> Self {
        let (number, queue) = site.state.join(site.queue);
        Self { site, number, queue }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.site.state.leave(self.number);
    }
}
