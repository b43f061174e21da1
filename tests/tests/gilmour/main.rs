//! The page of a gateway in a real browser; its nodes are `poa-server gilmour listen`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod site;

use std::path::Path;

use poa_tests::{Browser, DARK, DESKTOP, PHONE};
use serde_json::json;
use site::{Site, TOKEN};

/// The directory for the picture of the documentation; without it none is taken.
const PICTURES: &str = "POA_TEST_SCREENSHOTS";
/// The first cells of all topics.
const TOPICS: &str =
    "[...document.querySelectorAll('#topics th')].map((cell) => cell.textContent).join()";
/// The states of the steps that are drawn.
const STEPS: &str =
    "[...document.querySelectorAll('.step')].map((step) => step.dataset.state).join()";

fn says(selector: &str, text: &str) -> String {
    format!("document.querySelector({selector:?}).textContent.includes({text:?})")
}

async fn write_into(browser: &mut Browser, id: &str, text: &str) {
    browser.evaluate(&format!("document.querySelector('#{id}').select()")).await;
    browser.write(text).await;
}

#[tokio::test]
async fn everything_can_be_done_by_keyboard() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    let _echo = site.serve("echo", "cat").await;
    let _log = site.hear("log.*").await;
    browser.open(DESKTOP, &site.page()).await;

    // Locked: a wrong token, then the right one.
    browser.until("document.activeElement.id === 'secret'").await;
    browser.write("wrong token").await;
    browser.press("Enter").await;
    browser.until("document.querySelector('#sign-in-error').textContent !== ''").await;
    browser.write(TOKEN).await;
    browser.press("Enter").await;
    browser.until(&format!("{TOPICS} === 'echo,log.*'")).await;

    // From a topic to a request, and its answer.
    browser.evaluate("document.querySelector('#topics button').focus()").await;
    browser.press("Enter").await;
    browser.until("document.activeElement.id === 'data'").await;
    browser.write(r#"{"digits":12345678901234567890}"#).await;
    browser.press("Tab").await;
    browser.press("Tab").await;
    browser.press("Enter").await;
    browser.until(&says("#verdict", "Code 200")).await;
    browser.until(&says("#answer", r#""digits":12345678901234567890"#)).await;
    browser.until("document.querySelector('#topics tr').cells[6].textContent === '1'").await;

    // A signal, by the arrows of the choice.
    browser.evaluate("document.querySelector('[name=kind]:checked').focus()").await;
    browser.press("ArrowRight").await;
    browser.until("document.querySelector('#for-timeout').hidden").await;
    write_into(&mut browser, "topic", "log.start").await;
    browser.press("Enter").await;
    browser.until(&says("#verdict", "Reached 1")).await;

    // What cannot be is told.
    write_into(&mut browser, "topic", "log.*").await;
    browser.press("Enter").await;
    browser.until(&says("#verdict", "`*` is for the topics of slots")).await;

    write_into(&mut browser, "filter", "ech").await;
    browser.until(&format!("{TOPICS} === 'echo'")).await;
    browser.assert_quiet_but_for(&["401 (Unauthorized)", "400 (Bad Request)"]).await;
    assert_eq!(browser.origins().await, json!([site.page().trim_end_matches('/')]));
    site.server.stop().await;
}

#[tokio::test]
async fn a_composition_is_drawn_while_it_is_evaluated() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    let gate = site.home.path().join("gate");
    let waiting = format!("while [ ! -e {} ]; do sleep 0.05; done; cat", gate.display());
    let _nodes = (site.serve("quick", "cat").await, site.serve("gated", &waiting).await);
    browser.open(DESKTOP, &site.page()).await;
    site.unlock(&mut browser).await;
    browser.evaluate("document.querySelector('[value=composition]').click()").await;
    let composition = json!({"pipe": [
        {"parallel": [{"requests": {"quick": ""}}, {"requests": {"gated": ""}}]},
        {"requests": {"missing": ""}},
        {"requests": {"quick": ""}},
    ]});
    let fill =
        format!("document.querySelector('#composition').value = {:?}", composition.to_string());
    browser.evaluate(&fill).await;
    browser.click("#send [type=submit]").await;
    // The pipe, the parallel steps in it, and what comes after them.
    browser.until(&format!("{STEPS} === 'running,running,ok,running,waiting,waiting'")).await;
    assert_eq!(
        browser.evaluate("document.querySelectorAll('#drawing > li > ul > li').length").await,
        3
    );
    if let Some(pictures) = std::env::var_os(PICTURES) {
        browser.screenshot(&Path::new(&pictures).join("gilmour.png")).await;
    }
    std::fs::write(&gate, "").unwrap();
    browser.until(&format!("{STEPS} === 'failed,ok,ok,ok,failed,waiting'")).await;
    browser.until(&says("#drawing > li > ul > li:last-child > .step", "not reached")).await;
    browser.until(&says("#verdict", "Code 404")).await;

    // A second one, stopped.
    std::fs::remove_file(&gate).unwrap();
    browser.click("#send [type=submit]").await;
    browser.until(&format!("{STEPS} === 'running,running,ok,running,waiting,waiting'")).await;
    browser.click("#stop").await;
    browser.until(&says("#verdict", "Stopped")).await;

    browser.evaluate("document.querySelector('#composition').value = '{}'").await;
    browser.click("#send [type=submit]").await;
    browser.until(&says("#verdict", "has no operator")).await;
    browser.assert_quiet_but_for(&["401 (Unauthorized)", "400 (Bad Request)"]).await;
    std::fs::write(&gate, "").unwrap();
    site.server.stop().await;
}

#[tokio::test]
async fn states_are_live_and_a_lost_server_is_told() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    let node = site.serve("echo", "cat").await;
    browser.open(DESKTOP, &site.page()).await;
    site.unlock(&mut browser).await;
    let state =
        |state: &str| format!("document.querySelector('#nodes tr')?.dataset.state === '{state}'");
    browser.until(&state("ok")).await;
    drop(node);
    browser.until(&state("dirty")).await;
    browser.until(&says("#announce", "is dirty")).await;
    browser.until(&says("#nodes .problem", "refused")).await;
    browser.offline(true).await;
    browser.until("document.body.dataset.connection === 'lost'").await;
    browser.offline(false).await;
    browser.until("document.body.dataset.connection === 'live'").await;
    let quiet = ["401 (Unauthorized)", "ERR_INTERNET_DISCONNECTED"];
    browser.assert_quiet_but_for(&quiet).await;
    site.server.stop().await;
}

#[tokio::test]
async fn axe_finds_nothing() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    let node = site.serve("echo", "cat").await;
    let _log = site.hear("log.*").await;
    drop(node);
    for look in [DESKTOP, DARK, PHONE] {
        browser.open(look, &site.page()).await;
        browser.until("!document.querySelector('#locked').hidden").await;
        browser.assert_accessible(&format!("locked, {look:?}")).await;
        site.unlock(&mut browser).await;
        browser.until("document.querySelector('#nodes [data-state=dirty]') !== null").await;
        browser.assert_accessible(&format!("the lists, {look:?}")).await;
        browser.evaluate("document.querySelector('[value=composition]').click()").await;
        browser.click("#send [type=submit]").await;
        browser.until(&says("#verdict", "Code 404")).await;
        browser.assert_accessible(&format!("a composition, {look:?}")).await;
        browser.evaluate("document.querySelector('#filter').value = 'no such node'").await;
        browser
            .evaluate("document.querySelector('#filter').dispatchEvent(new Event('input'))")
            .await;
        browser.until("!document.querySelector('#no-nodes').hidden").await;
        browser.assert_accessible(&format!("nothing, {look:?}")).await;
        browser.offline(true).await;
        browser.until("!document.querySelector('#lost').hidden").await;
        browser.assert_accessible(&format!("disconnected, {look:?}")).await;
        browser.offline(false).await;
        browser
            .assert_quiet_but_for(&[
                "401 (Unauthorized)",
                "404 (Not Found)",
                "ERR_INTERNET_DISCONNECTED",
            ])
            .await;
    }
    site.server.stop().await;
}
