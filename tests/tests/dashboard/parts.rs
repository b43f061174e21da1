//! Parts of the page, each for itself.

use serde_json::json;

use crate::browser::{Browser, DESKTOP, Rows};
use crate::site::Site;

/// An agent as in an update of the page, in seconds.
const AGENT: &str = "const agent = (state, seen, cpu) => ({ state, since: seen * 1000, seen: seen * 1000, \
    live: { cpu, memory: null, disk: null, latency: null, peers: null, pending: null, block: { number: null } } });";

#[tokio::test]
async fn charts_show_silence_as_a_gap() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    browser.open(DESKTOP, &site.page()).await;
    let shown = |script: &str| {
        format!(
            "import('./samples.js').then(({{ Samples }}) => {{ {AGENT} const samples = new Samples(); {script} \
             return samples.recent(2000).samples.map(({{ at, cpu }}) => [at, cpu ?? null]); }})"
        )
    };
    // Longer than a few samples are apart.
    let script = "samples.merge({ at: [1900, 1910, 1920, 1960, 1970], cpu: [1, 2, 3, 4, 5] });";
    let expected = json!([[1900, 1], [1910, 2], [1920, 3], [1921, null], [1960, 4], [1970, 5]]);
    assert_eq!(browser.evaluate(&shown(script)).await, expected);
    // An agent that speaks once a minute is not silent in between.
    let script = "samples.merge({ at: [1700, 1760, 1820], cpu: [1, 2, 3] });";
    let expected = json!([[1700, 1], [1760, 2], [1820, 3]]);
    assert_eq!(browser.evaluate(&shown(script)).await, expected);
    // Inactive, however short; and what is older than a quarter of an hour is not shown.
    let script = "samples.merge({ at: [1000, 1950], cpu: [1, 2] }); samples.note(agent('active', 1954, 3)); \
        samples.note(agent('inactive', 1956)); samples.note(agent('inactive', 1956)); samples.note(agent('active', 1958, 4));";
    let expected = json!([[1950, 3], [1956, null], [1958, 4]]);
    assert_eq!(browser.evaluate(&shown(script)).await, expected);
    // A single figure without neighbours would make no line.
    let lone = "import('./chart.js').then(({ lone }) => lone({ data: [[], [1, null, 2, null, 3, 4, null, 5]] }, 1))";
    assert_eq!(browser.evaluate(lone).await, json!([0, 2, 7]));
    browser.assert_quiet_but_for(&[]).await;
    site.server.stop().await;
}

#[tokio::test]
async fn the_server_tells_of_silence_too() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    site.ping("a").await;
    for cpu in [10, 20] {
        site.send("a", "system_metrics", "statistics", json!({"cpu_load": cpu})).await;
        site.bye("a").await;
    }
    browser.open(DESKTOP, &site.page()).await;
    browser.until_state("a", "inactive").await;
    let history = browser
        .evaluate("fetch('history?agent=a').then((answer) => answer.json()).then(({ cpu }) => cpu)")
        .await;
    assert_eq!(history, json!([10, null, 20, null]));
    site.server.stop().await;
}

#[tokio::test]
async fn what_does_not_change_is_not_written() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    site.speak("a").await;
    browser.open(DESKTOP, &site.page()).await;
    browser.until_state("a", "unknown").await;
    browser
        .evaluate(
            "window.written = []; new MutationObserver((seen) => written.push(...seen)) \
                .observe(document.querySelector('#rows'), { subtree: true, attributeFilter: ['data-state', 'data-tone', 'class'] })",
        )
        .await;
    for latency in [4, 5] {
        site.send("a", "networking_metrics", "latency", json!({"latency": latency})).await;
        let text = format!("{latency} ms");
        browser
            .until(&format!("document.querySelector('#rows .c-latency').textContent === '{text}'"))
            .await;
    }
    let written =
        "written.map(({ target, attributeName }) => `${target.className} ${attributeName}`)";
    assert_eq!(browser.evaluate(written).await, json!([]), "only the latency has changed");
    site.server.stop().await;
}

#[tokio::test]
async fn the_page_may_be_behind_a_proxy_that_has_it_elsewhere() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    site.speak("a").await;
    let proxy = crate::proxy::start(site.server.address("dashboard").to_owned()).await;
    let page = site.page().replace(&site.url(), &format!("http://{proxy}{}/", crate::proxy::PLACE));
    browser.open(DESKTOP, &page).await;
    browser.until("document.body.dataset.connection === 'live'").await;
    assert_eq!(browser.cell("a", "cpu").await, "30 %");
    browser.click("#rows button").await;
    browser.until("document.querySelectorAll('.u-wrap').length === 5").await;
    browser.assert_quiet_but_for(&[]).await;
    site.server.stop().await;
}
