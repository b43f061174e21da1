//! Many agents.

use std::time::Duration;

use poa_tests::{Client, Request};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::browser::{Browser, DESKTOP};
use crate::site::Site;

const AGENTS: u64 = 1000;
/// Over how many seconds the cost is measured, each for itself.
const MEASURED: u64 = 11;
/// The most milliseconds that the main thread may work in a second.
const MOST: f64 = 200.0;

/// The messages of every agent in one second.
fn round(n: u64) -> String {
    let metric = |agent: u64| {
        let cpu = (agent * 7 + n * 13) % 1000;
        let body =
            json!({"cpu_load": cpu as f64 / 10.0, "disk_usage": agent % 100, "memory_usage": 0.5});
        json!({"id": format!("agent-{agent:04}"), "type": "system_metrics", "data": {"type": "statistics", "body": body}})
    };
    (0..AGENTS).map(metric).collect::<Value>().to_string()
}

#[tokio::test]
async fn a_thousand_agents_at_one_hertz_stay_smooth() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    let (address, token) = (site.server.rest().to_owned(), site.token.clone());
    let sending = tokio::spawn(async move {
        let mut client = Client::connect(&address).await.unwrap();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for n in 0.. {
            tick.tick().await;
            let answer =
                client.exchange(&Request::post("/data", &token).json(&round(n)).bytes()).await;
            assert_eq!(answer.unwrap().status, 200);
        }
    });
    browser.open(DESKTOP, &site.page()).await;
    browser.until("document.querySelector('#states span').textContent === '1,000'").await;
    let drawn = browser.evaluate("document.querySelectorAll('#rows tr').length").await;
    assert!(drawn.as_u64().unwrap() < 60, "only what is in sight is drawn, not {drawn} rows");
    // The worst case: the order of the rows changes all the time.
    browser.click("th.c-cpu button").await;
    browser
        .until("Number(document.querySelector('#rate').textContent.replace(',', '')) > 500")
        .await;
    let cost = browser.cost(MEASURED).await;
    println!("1000 agents at 1 Hz, in a second: {cost}");
    assert!(cost["task"].as_f64().unwrap() < MOST, "{cost}");

    // The last row can be reached.
    browser.evaluate("document.querySelector('#scroller').scrollTo(0, 1e6)").await;
    browser.until("document.querySelector('#rows tr:last-child').ariaRowIndex === '1001'").await;
    sending.abort();
    browser.assert_quiet_but_for(&[]).await;
    site.server.stop().await;
}
