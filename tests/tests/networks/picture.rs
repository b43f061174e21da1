//! The picture shows what is.

use std::path::Path;

use poa_tests::{Browser, DARK, DESKTOP, PHONE};
use serde_json::{Value, json};

use crate::site::{Site, sign_in, text};

/// Messages of a browser about a server that is away or wants a token, which are not faults of the page.
const EXPECTED: [&str; 4] = [
    "401 (Unauthorized)",
    "ERR_CONNECTION",
    "ERR_INTERNET_DISCONNECTED",
    "WebSocket connection to",
];

/// The directory for the picture of the documentation; without it none is taken.
const PICTURES: &str = "POA_TEST_SCREENSHOTS";

fn card(cen: &str) -> String {
    format!("article[data-key={cen}]")
}

#[tokio::test]
async fn networks_are_drawn_as_they_are_and_become() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    site.make_lab().await;
    site.show(&mut browser, DESKTOP).await;
    browser.until("document.querySelectorAll('article').length === 3").await;
    let shown = |selector: String| text(&selector);
    // The bridge of the first segment has the address; the second is joined to it by a trunk.
    for (selector, expected) in [
        (card("front") + " .bridge", "front 10.10.0.1"),
        (card("front") + " .chip", "web1 10.10.0.12, web2 10.10.0.11, web3 10.10.0.10 in 2"),
        (card("back") + " .bridge", "back trunk to front"),
        (card("back") + " .chip", "web3 in 2, db1 10.10.0.13 in 2"),
        (card("spare") + " .bridge", "spare pending"),
        ("section[data-cin=net] > h2 button".to_owned(), "net 10.10.0.0/16 ready"),
    ] {
        assert_eq!(browser.evaluate(&shown(selector)).await, expected);
    }
    assert_eq!(browser.evaluate("document.querySelector('#host').textContent").await, "host1");
    let totals = "['cens', 'cins', 'containers'].map((kind) => ['up', 'all'].map((part) => document.querySelector(`#${kind}-${part}`).textContent).join('/')).join()";
    assert_eq!(browser.evaluate(totals).await, "2/3,1/1,4/5");

    // What is changed elsewhere shows without another load; what stays is the same element.
    browser.evaluate("window.kept = document.querySelector('[data-id=web1]')").await;
    site.send("PUT", "/host/host1/web4/front", &Value::Null).await;
    browser
        .until(&format!("{}.endsWith('web4 10.10.0.14')", text("article[data-key=front] .chip")))
        .await;
    site.send("POST", "/cen/make?wait=true", &json!(["spare"])).await;
    browser.until(&format!("{} === 'spare'", text("article[data-key=spare] .bridge"))).await;
    site.send("DELETE", "/host/host1/web2", &Value::Null).await;
    browser.until("!document.querySelector('[data-id=web2]')").await;
    site.send("DELETE", "/cin/net", &Value::Null).await;
    browser.until(&format!("{} === 'front'", text("article[data-key=front] .bridge"))).await;
    browser.until("!document.querySelector('section[data-cin=net]')").await;
    site.send("DELETE", "/cen/spare", &Value::Null).await;
    browser.until("document.querySelectorAll('article').length === 2").await;
    assert_eq!(browser.evaluate("document.querySelector('[data-id=db2]')").await, Value::Null);
    assert_eq!(browser.origins().await, json!([site.origin()]));
    browser.assert_quiet_but_for(&EXPECTED[..1]).await;
    site.stop().await;
}

#[tokio::test]
async fn a_container_is_shown_in_all_its_networks() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    site.make_lab().await;
    site.show(&mut browser, DESKTOP).await;
    browser.until("document.querySelectorAll('article').length === 3").await;
    let left_out = "document.querySelectorAll('.links path').length";
    browser.click("article[data-key=back] [data-id=web3]").await;
    browser.until("document.activeElement.id === 'detail-name'").await;
    assert_eq!(
        browser.evaluate("document.querySelectorAll('.chip[aria-current]').length").await,
        2
    );
    assert_eq!(browser.evaluate(left_out).await, 1, "a line joins its two places");
    let interfaces = text("#detail .members li");
    assert_eq!(
        browser.evaluate(&interfaces).await,
        "front 10.10.0.10 web3.0, back no address web3.1"
    );
    if let Some(directory) = std::env::var_os(PICTURES) {
        browser.screenshot(&Path::new(&directory).join("leviathan-desktop.png")).await;
    }
    // From thing to thing.
    browser.click("#detail .members button").await;
    browser.until("document.querySelector('#detail-name').textContent === 'front'").await;
    assert_eq!(browser.evaluate(left_out).await, 0);
    browser.click("section[data-cin=net] > h2 button").await;
    browser.until("document.querySelector('#detail-name').textContent === 'net'").await;
    browser
        .until(&format!("{interfaces}.startsWith('web3 10.10.0.10 front, web2 10.10.0.11 front')"))
        .await;
    browser.assert_quiet_but_for(&EXPECTED[..1]).await;
    site.stop().await;
}

#[tokio::test]
async fn a_restart_of_the_server_is_seen_and_survived() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    site.make_lab().await;
    site.show(&mut browser, DESKTOP).await;
    browser.until("document.querySelectorAll('article').length === 3").await;
    let stopped = site.stop().await;
    browser.until("!document.querySelector('#lost').hidden").await;
    let site = stopped.start().await;
    // The page still has the token.
    browser.until("document.body.dataset.connection === 'live'").await;
    site.send("DELETE", "/cen/spare", &Value::Null).await;
    browser.until("document.querySelectorAll('article').length === 2").await;
    browser.assert_quiet_but_for(&EXPECTED).await;
    site.stop().await;
}

/// The state that a host in memory does not have.
#[tokio::test]
async fn a_container_that_does_not_run_is_missing() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    browser.open(DESKTOP, &site.url()).await;
    let script = "import('./networks.js').then(({ Networks }) => { \
        const networks = new Networks(); \
        networks.apply({ whole: true, host: 'h', cins: {}, cens: { \
            a: { cenID: 'a', contIDs: ['x', 'y'], wire_type: 'bus', status: 'ready', missing: ['x'] }, \
            b: { cenID: 'b', contIDs: ['y', 'z'], wire_type: 'bus', status: 'pending' } }, \
            containers: { x: { cens: ['a'] }, y: { cens: ['a', 'b'] }, z: { cens: ['b'] } } }); \
        return [networks.stateIn('a', 'x'), networks.state('y'), networks.state('z'), networks.totals().containers]; })";
    let expected = json!(["missing", "wired", "idle", {"all": 3, "up": 1, "bad": 1, "between": 1}]);
    assert_eq!(browser.evaluate(script).await, expected);
    site.stop().await;
}

#[tokio::test]
async fn axe_finds_nothing() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    site.make_lab().await;
    for look in [DESKTOP, DARK, PHONE] {
        browser.open(look, &site.url()).await;
        browser.until("document.activeElement.id === 'secret'").await;
        browser.assert_accessible(&format!("locked, {look:?}")).await;
        sign_in(&mut browser, crate::site::TOKEN).await;
        browser.until("document.querySelectorAll('article').length === 3").await;
        browser.assert_accessible(&format!("the picture, {look:?}")).await;
        for (thing, what) in [
            ("[data-id=web3]", "container"),
            (".bridge", "segment"),
            ("h2 [data-kind=cin]", "network"),
        ] {
            browser.click(&format!("#picture {thing}")).await;
            browser.until("document.activeElement.id === 'detail-name'").await;
            browser.assert_accessible(&format!("{what}, {look:?}")).await;
            browser.click("#detail .danger:last-child").await;
            browser.until("document.querySelector('#confirm').open").await;
            browser.assert_accessible(&format!("deleting a {what}, {look:?}")).await;
            browser.press("Escape").await;
            browser.until("!document.querySelector('#confirm').open").await;
            browser.click(".close").await;
        }
        browser.click("#new").await;
        browser.until("document.querySelector('#new-cen')").await;
        browser.assert_accessible(&format!("the form, {look:?}")).await;
        browser.click(".close").await;
        browser.evaluate("document.querySelector('#filter').value = 'no such network'").await;
        browser
            .evaluate("document.querySelector('#filter').dispatchEvent(new Event('input'))")
            .await;
        browser.until("!document.querySelector('#empty').hidden").await;
        browser.assert_accessible(&format!("nothing found, {look:?}")).await;
        browser.offline(true).await;
        browser.until("!document.querySelector('#lost').hidden").await;
        browser.assert_accessible(&format!("disconnected, {look:?}")).await;
        browser.assert_quiet_but_for(&EXPECTED).await;
    }
    site.stop().await;
}
