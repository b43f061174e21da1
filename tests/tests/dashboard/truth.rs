//! The page shows what is, also after it was cut off.

use serde_json::json;

use crate::browser::{Browser, DESKTOP, Rows};
use crate::site::Site;

/// Messages of a browser about an unreachable network or server, which are not faults of the page.
const AWAY: [&str; 3] = ["ERR_CONNECTION", "ERR_INTERNET_DISCONNECTED", "WebSocket connection to"];

#[tokio::test]
async fn agents_are_shown_as_they_are() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    site.speak("a").await;
    let _pings = site.keep_alive("a");
    site.send("quiet", "system_metrics", "statistics", json!({"cpu_load": 99.6})).await;
    browser.open(DESKTOP, &site.page()).await;
    browser.until_state("a", "active").await;
    let address = browser.evaluate("location.href").await;
    assert_eq!(address, site.url(), "the secret is taken out of the address");
    let stored = browser.evaluate("document.cookie + JSON.stringify(localStorage)").await;
    assert_eq!(stored, "{}", "scripts see no cookie");
    for (column, text) in [
        ("latency", "3 ms"),
        ("cpu", "30 %"),
        ("memory", "13 %"),
        ("disk", "17 %"),
        ("peers", "5"),
        ("syncing", "2 behind"),
        ("block", "282,336"),
    ] {
        assert_eq!(browser.cell("a", column).await, text, "{column}");
    }
    browser.until_state("quiet", "unknown").await;
    assert_eq!(browser.cell("quiet", "peers").await, "–");

    site.send("new", "networking_metrics", "latency", json!({"latency": 1500})).await;
    assert_eq!(browser.cell("new", "latency").await, "1.5 s");
    browser.until("document.querySelector('#metrics').textContent === '7'").await;
    assert_eq!(browser.origins().await, json!([site.url().trim_end_matches('/')]));
    browser.assert_quiet_but_for(&[]).await;
    site.server.stop().await;
}

#[tokio::test]
async fn agents_that_leave_or_fall_silent_are_shown_in_time() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    let _pings = site.keep_alive("stays");
    browser.open(DESKTOP, &site.page()).await;
    browser.until_state("stays", "active").await;

    // What the page is told, with the server's times: how long the browser takes says nothing about the server.
    browser
        .evaluate(
            "window.told = {}; new WebSocket(`ws://${location.host}/ws`, 'poa-dashboard-page').onmessage = ({ data }) => { \
                for (const { id, state, since } of JSON.parse(data).agents) (told[id] ??= {})[state] = since; }",
        )
        .await;

    site.ping("leaves").await;
    browser.until_state("leaves", "active").await;
    browser.until("told.leaves?.active").await;
    let left = browser.evaluate("Date.now()").await.as_u64().unwrap();
    site.bye("leaves").await;
    browser.until_state("leaves", "inactive").await;
    let took = browser.until("told.leaves.inactive").await.as_u64().unwrap() - left;
    assert!(took < 4000, "at once, not {took} ms later");

    site.ping("silent").await;
    browser.until_state("silent", "active").await;
    browser.until_state("silent", "inactive").await;
    let took = browser.until("told.silent?.inactive - told.silent?.active").await.as_f64().unwrap();
    assert!((6_900.0..12_000.0).contains(&took), "after 7 s and a little, not {took} ms");
    browser.until_state("stays", "active").await;
    let told = browser.evaluate("document.querySelector('#announce').textContent").await;
    assert_eq!(told, "Inactive: silent", "people who cannot see it hear it");
    browser.assert_quiet_but_for(&[]).await;
    site.server.stop().await;
}

#[tokio::test]
async fn a_restart_of_the_server_is_seen_and_survived() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    for agent in ["stays", "leaves", "gone"] {
        site.speak(agent).await;
        site.ping(agent).await;
    }
    site.bye("gone").await;
    // A browser on a busy machine may take longer to open than an agent may be silent.
    let pings = site.keep_alive("stays");
    browser.open(DESKTOP, &site.page()).await;
    browser.until_state("stays", "active").await;
    browser.until_state("gone", "inactive").await;
    drop(pings);

    let stopped = site.stop().await;
    browser.until("document.body.dataset.connection === 'lost'").await;
    let banner = browser.until("document.querySelector('#lost:not([hidden])')?.textContent").await;
    assert!(banner.as_str().unwrap().contains("Disconnected"), "{banner}");
    let dimmed = "getComputedStyle(document.querySelector('[data-state=active] .c-state span')).color === \
        getComputedStyle(document.querySelector('h1 .quiet')).color";
    assert_eq!(browser.evaluate(dimmed).await, true, "what is old does not look as if it were so");

    let site = stopped.start().await;
    let _pings = site.keep_alive("stays");
    browser.until("document.body.dataset.connection === 'live'").await;
    browser.until_state("stays", "active").await;
    browser.until_state("gone", "inactive").await;
    assert_eq!(browser.cell("stays", "block").await, "282,336", "the last values are there");
    // The time when it left is unknown; it does not return, so it is gone.
    browser.until_state("leaves", "inactive").await;
    browser.assert_quiet_but_for(&AWAY).await;
    site.server.stop().await;
}

#[tokio::test]
async fn a_server_that_falls_silent_is_noticed() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    let _pings = site.keep_alive("a");
    browser.open(DESKTOP, &site.page()).await;
    browser.until_state("a", "active").await;
    // Nothing is closed: it is as if a cable were cut.
    site.server.freeze();
    browser.until("document.body.dataset.connection === 'lost'").await;
    let old = "Number(/\\((\\d+) s\\)/.exec(document.querySelector('#lost-since').textContent)[1])";
    let old = browser.evaluate(old).await.as_u64().unwrap();
    assert!(old >= 6, "what is shown is from when the server was heard last, not {old} s old");
    site.server.thaw();
    browser.until("document.body.dataset.connection === 'live'").await;
    browser.until_state("a", "active").await;
    browser.assert_quiet_but_for(&AWAY).await;
    site.server.stop().await;
}

/// The five minutes are those of the browser's clock, which is put forward; the server sees a few seconds.
#[tokio::test]
async fn five_minutes_without_a_network_are_caught_up_with() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    let _pings = site.keep_alive("stays");
    site.ping("leaves").await;
    browser.open_with_clock(&site.page()).await;
    browser.until_state("leaves", "active").await;

    browser.offline(true).await;
    browser.until("document.body.dataset.connection === 'lost'").await;
    site.bye("leaves").await;
    site.speak("comes").await;
    browser.forward(300_000).await;
    browser.until("/\\(5 min\\)/.test(document.querySelector('#lost-since').textContent)").await;
    let stale =
        browser.evaluate("document.querySelector('tr[data-id=leaves]').dataset.state").await;
    assert_eq!(stale, "active", "the values shown are marked as old");

    browser.offline(false).await;
    browser.until("document.body.dataset.connection === 'live'").await;
    browser.until_state("leaves", "inactive").await;
    browser.until_state("stays", "active").await;
    assert_eq!(browser.cell("comes", "cpu").await, "30 %");
    // The browser's clock is five minutes ahead now; times are told by the server's.
    let seen = browser.cell("stays", "state").await;
    assert!(seen.ends_with(" s"), "{seen}");
    browser.assert_quiet_but_for(&AWAY).await;
    site.server.stop().await;
}
