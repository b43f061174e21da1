//! Agents over WebSocket.

use poa_tests::{ADMIN, Request, basic};
use serde_json::json;

use crate::browser::{Browser, DESKTOP, Rows};
use crate::raw::{Socket, frame};
use crate::site::Site;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// Opens a connection and pings over it for this agent.
async fn connect(site: &Site, token: &str, agent: &str) -> Socket {
    let header = format!("Authorization: Bearer {token}");
    // The server tells the path as well.
    let address = site.server.address("ws").trim_end_matches("/ws");
    let mut socket = Socket::open(address, "/ws", &header).await;
    let ping = json!({"call": "ping", "id": agent}).to_string();
    socket.send(&frame(TEXT, ping.as_bytes())).await;
    socket
}

async fn ban(site: &Site, user: &str) {
    let request = Request::new("POST", "/blacklist/user").header("authorization", &basic(ADMIN));
    let request = request.json(&json!({"user": user}).to_string());
    let answer = site.server.ask("auth", &request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn agents_that_close_crash_or_are_banned_are_shown_at_once() {
    // No agent can time out here: agents become inactive immediately, or not while this test waits.
    let (site, mut browser) =
        tokio::join!(Site::with("inactive_after = \"1h\"\n"), Browser::start());
    site.server.add_user("outlaw", "agent-password", None).await;
    let outlaw = site.server.session("outlaw", "agent-password").await;
    let mut closes = connect(&site, &site.token, "closes").await;
    let crashes = connect(&site, &site.token, "crashes").await;
    let mut banned = connect(&site, &outlaw, "banned").await;
    let stays = connect(&site, &site.token, "stays").await;
    browser.open(DESKTOP, &site.page()).await;
    for agent in ["closes", "crashes", "banned", "stays"] {
        browser.until_state(agent, "active").await;
    }

    closes.send(&frame(CLOSE, &1000_u16.to_be_bytes())).await;
    browser.until_state("closes", "inactive").await;
    assert_eq!(closes.control().await.unwrap().close_code(), Some(1000));

    // Its process crashes without a goodbye.
    drop(crashes);
    browser.until_state("crashes", "inactive").await;

    ban(&site, "outlaw").await;
    browser.until_state("banned", "inactive").await;
    assert_eq!(banned.control().await.unwrap().close_code(), Some(4401));

    browser.until("document.querySelector('#active').textContent === '1'").await;
    browser.until_state("stays", "active").await;
    browser.assert_quiet_but_for(&[]).await;
    // The server would wait for its goodbye.
    drop(stays);
    site.server.stop().await;
}
