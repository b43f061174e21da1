//! Conversations with the clients of the feed and with pages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderMap;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use poa_http::websocket::{CloseCode, Error, Message, Options, WebSocket};
use tokio::time::{Instant, MissedTickBehavior};

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
/// How often a client of the feed is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long a client may take for what it is sent before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How conversations are held. What clients say is ignored, so it may be short.
pub(super) fn options() -> Options {
    Options::default().max_message(4 << 10).protocol(PAGE)
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
        site.clients.inc();
        let ended = tokio::select! {
            () = site.shutdown.cancelled() => None,
            ended = self.talk(&mut socket) => Some(ended),
        };
        site.clients.dec();
        let code = if ended.is_none() { CloseCode::GOING_AWAY } else { CloseCode::NORMAL };
        socket.close_with(code, "").await;
    }

    fn site(&self) -> &Arc<Site> {
        match self {
            Self::Page(site) => site,
            Self::Feed(joined) => &joined.site,
        }
    }

    async fn talk(&self, socket: &mut WebSocket) -> Ended {
        match self {
            Self::Page(site) => to_page(socket, site).await,
            Self::Feed(joined) => to_feed(socket, &joined.queue).await,
        }
    }
}

/// Why a conversation ended.
type Ended = Result<(), Error>;

/// Sends the feed.
async fn to_feed(socket: &mut WebSocket, queue: &Queue) -> Ended {
    let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            heard = socket.next() => if is_over(heard)? { return Ok(()) },
            _ = ping.tick() => send(socket, [Message::Ping]).await?,
            frames = queue.next(AT_ONCE) => {
                send(socket, frames.into_iter().map(Message::Text)).await?;
            }
        }
    }
}

/// Sends what changed, at an even pace.
async fn to_page(socket: &mut WebSocket, site: &Site) -> Ended {
    let mut tick = tokio::time::interval(PAGE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut known, mut said) = (None, Instant::now());
    loop {
        tokio::select! {
            heard = socket.next() => if is_over(heard)? { return Ok(()) },
            _ = tick.tick() => {
                let page = site.state.page(known);
                if page.news || said.elapsed() >= PAGE_AT_LEAST {
                    (known, said) = (Some(page.change), Instant::now());
                    send(socket, [Message::Text(Bytes::from(page.json))]).await?;
                }
            }
        }
    }
}

/// Whether the client has said goodbye; anything else that it says is ignored.
fn is_over(heard: Option<Result<Message, Error>>) -> Result<bool, Error> {
    Ok(matches!(heard.transpose()?, None | Some(Message::Close(_))))
}

/// Sends all of these, and gives up a client that does not take them.
async fn send(socket: &mut WebSocket, messages: impl IntoIterator<Item = Message>) -> Ended {
    let all = async {
        for message in messages {
            socket.feed(message).await?;
        }
        socket.flush().await
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap_or(Err(Error::Closed))
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
