//! Many containers.

use std::time::Duration;

use poa_tests::{Browser, DESKTOP};
use serde_json::{Value, json};

use crate::site::{Site, send};

const SEGMENTS: usize = 50;
const CONTAINERS: usize = 200;
/// Over how many seconds the cost is measured, each for itself.
const MEASURED: u64 = 7;
/// The most milliseconds that the main thread may work in a second.
const MOST: f64 = 200.0;

/// Four containers in each segment, and every fifth segment has one of its neighbour as well.
fn document() -> Value {
    let segment = |n: usize| {
        let mut members: Vec<String> =
            (n * 4..n * 4 + 4).map(|c| format!("container-{c:03}")).collect();
        if n.is_multiple_of(5) {
            members.push(format!("container-{:03}", (n * 4 + 5) % CONTAINERS));
        }
        json!({"cenID": format!("segment-{n:02}"), "containerIDs": members})
    };
    json!({"cenList": (0..SEGMENTS).map(segment).collect::<Vec<_>>()})
}

fn segments() -> Vec<String> {
    (0..SEGMENTS).map(|n| format!("segment-{n:02}")).collect()
}

async fn made() -> Site {
    let site = Site::start().await;
    site.send("POST", "/cen/import", &document()).await;
    site.send("POST", "/cen/make?wait=true", &json!(segments())).await;
    let cins: Value = (0..SEGMENTS)
        .map(|n| (format!("net-{n:02}"), json!([format!("segment-{n:02}")])))
        .collect::<serde_json::Map<_, _>>()
        .into();
    site.send("POST", "/cin/import", &cins).await;
    let ids: Vec<String> = (0..SEGMENTS).map(|n| format!("net-{n:02}")).collect();
    site.send("POST", "/cin/make?wait=true", &json!(ids)).await;
    site
}

/// The parts of the picture that are cut off, or lie over one another.
const UNREADABLE: &str = "(() => { \
    const cut = [...document.querySelectorAll('.chip span, .bridge strong, .bridge span, .frame > h2 *')].filter((part) => part.scrollWidth > part.clientWidth + 1 && part.clientWidth > 0); \
    const boxes = [...document.querySelectorAll('.chip, .bridge')].map((part) => [part, part.getBoundingClientRect()]); \
    const over = boxes.filter(([, a], n) => boxes.slice(n + 1).some(([, b]) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)); \
    return [...cut, ...over.map(([part]) => part)].map((part) => part.textContent); })()";

#[tokio::test]
async fn two_hundred_containers_in_fifty_segments_stay_readable_and_smooth() {
    let (site, mut browser) = tokio::join!(made(), Browser::start());
    site.show(&mut browser, DESKTOP).await;
    browser.until("document.querySelectorAll('.chip').length === 210").await;
    browser.until("document.querySelector('#containers-up').textContent === '200'").await;
    assert_eq!(browser.evaluate(UNREADABLE).await, json!([]));

    // Containers come and go, ten times a second, and a network is made again and again.
    let mut client = site.client().await;
    let changing = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        for n in 0.. {
            tick.tick().await;
            let member = format!("/host/host1/guest-{}/segment-{:02}", n / 2 % 7, n / 2 % SEGMENTS);
            let method = if n % 2 == 0 { "PUT" } else { "DELETE" };
            send(&mut client, method, &member, &Value::Null).await;
        }
    });
    browser.until("document.querySelector('[data-id^=guest]')").await;
    let cost = browser.cost(MEASURED).await;
    println!("200 containers in 50 segments with ten changes a second, in a second: {cost}");
    assert!(cost["task"].as_f64().unwrap() < MOST, "{cost}");
    changing.abort();

    // The last can be reached, and found.
    browser.evaluate("document.querySelector('#filter').value = 'container-199'").await;
    browser.evaluate("document.querySelector('#filter').dispatchEvent(new Event('input'))").await;
    browser.until("document.querySelectorAll('article').length === 1").await;
    browser.assert_quiet_but_for(&["401 (Unauthorized)"]).await;
    site.stop().await;
}
