//! Conversations with the clients of the feed and with pages.

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

/// What the page speaks. Whoever does not ask for it gets the feed.
const PAGE: &str = "poa-dashboard-page";
/// How often a page hears of changes.
const PAGE_EVERY: Duration = Duration::from_millis(500);
/// How often a page hears something at least, so that it knows that it is connected.
const PAGE_AT_LEAST: Duration = Duration::from_secs(2);
/// How many frames are handed over at once.
const AT_ONCE: usize = 64;
/// How often a client is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How many times in a row it may give none before it is given up: nobody says goodbye whose network or machine is gone.
const SILENT_PINGS: u32 = 2;
/// What takes longer than this waited for the client.
const AT_ONCE_TAKES: Duration = Duration::from_secs(1);
/// How long a client may take for what it is sent before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest message that is ignored rather than refused: it lies in memory until it is whole.
const LARGEST_IGNORED: usize = 64 << 10;

/// How conversations are held.
pub(super) fn options() -> Options {
    Options::default().max_message(LARGEST_IGNORED).protocol(PAGE)
}

/// Whether a client wants what pages get.
fn is_page(headers: &HeaderMap) -> bool {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|name| name.trim() == PAGE)
}

/// What a client will be told.
pub(super) enum Talk {
    /// What changes on the page.
    Page(Arc<Site>),
    /// Every metric.
    Feed(Joined),
}

impl Talk {
    /// What the client that sends these headers wants. A client of the feed misses nothing from now on.
    pub(super) fn new(headers: &HeaderMap, site: Arc<Site>) -> Self {
        if is_page(headers) { Self::Page(site) } else { Self::Feed(Joined::new(site)) }
    }

    /// Talks to the client until it goes or the server stops.
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

/// Why a conversation ended.
#[derive(Debug, PartialEq)]
enum End {
    /// The server stops.
    Stopped,
    /// The client has gone, or broke the rules, which the socket has noted.
    Gone,
    /// It does not take what it is sent.
    Slow,
    /// It gives no sign of life.
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

/// How a conversation goes on until it ends.
type Talked = Result<Infallible, End>;

/// Sends the feed.
async fn to_feed(line: &mut Line<'_>, joined: &Joined) -> Talked {
    loop {
        tokio::select! {
            // A sign of life counts before its absence does.
            biased;
            due = line.hear() => if due? { line.send([Message::Ping]).await? },
            frames = joined.site.state.next(&joined.queue, AT_ONCE) => {
                line.send(frames.into_iter().map(Message::Text)).await?;
            }
        }
    }
}

/// Sends what changed, at an even pace.
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

/// The socket of a client, and whether the client is still there.
struct Line<'a> {
    socket: &'a mut WebSocket,
    ping: Interval,
    /// How many bytes had come when it was asked last.
    received: u64,
    /// How many times in a row it has not answered.
    silent: u32,
}

impl<'a> Line<'a> {
    fn new(socket: &'a mut WebSocket) -> Self {
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let received = socket.received();
        Self { socket, ping, received, silent: 0 }
    }

    /// Waits until something is heard, or it is time to ask for a sign of life, which is said. What is heard is ignored,
    /// unless it is goodbye. Cancel safe.
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

    /// Whether to ask for a sign of life; an error if there was none for too long.
    fn look(&mut self) -> Result<bool, End> {
        let received = self.socket.received();
        self.silent = if received == self.received { self.silent + 1 } else { 0 };
        self.received = received;
        if self.silent == SILENT_PINGS { Err(End::Silent) } else { Ok(true) }
    }

    /// Sends all of these, and gives up a client that does not take them.
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
            // It takes what it is sent, slowly; meanwhile, it could not be heard.
            self.silent = 0;
        }
        Ok(())
    }
}

/// A client that is counted as long as this lives, however its conversation ends.
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

/// A client that is in the state's list as long as this lives.
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
