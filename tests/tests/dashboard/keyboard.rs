//! The page without a mouse, and without eyes.

use serde_json::json;

use crate::browser::{Browser, DARK, DESKTOP, PHONE, Rows};
use crate::site::{SECRET, Site};

/// The names of the agents, from top to bottom.
const LISTED: &str =
    "[...document.querySelectorAll('#rows tr')].map((row) => row.dataset.id).join()";

#[tokio::test]
async fn everything_can_be_done_by_keyboard() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    for (agent, load) in [("alpha", 20), ("beta", 90), ("gamma", 50)] {
        site.send(agent, "system_metrics", "statistics", json!({"cpu_load": load})).await;
    }
    site.speak("delta").await;
    browser.open(DESKTOP, &site.url()).await;

    // Locked: a wrong secret, then the right one.
    browser.until("document.activeElement.id === 'secret'").await;
    browser.write("wrong").await;
    browser.press("Enter").await;
    browser.until("document.querySelector('#sign-in-error').textContent === 'Wrong secret.'").await;
    browser.write(SECRET).await;
    browser.press("Enter").await;
    browser.until("document.querySelectorAll('#rows tr').length === 4").await;

    // Sorted by CPU, both ways.
    browser.evaluate("document.querySelector('th.c-cpu button').focus()").await;
    browser.press("Enter").await;
    browser.until(&format!("{LISTED} === 'beta,gamma,delta,alpha'")).await;
    let sorted = "[...document.querySelectorAll('th[aria-sort]')].map((th) => th.textContent + th.ariaSort).join()";
    assert_eq!(browser.evaluate(sorted).await, "CPUdescending");
    browser.press("Space").await;
    browser.until(&format!("{LISTED} === 'alpha,delta,gamma,beta'")).await;
    assert_eq!(browser.evaluate(sorted).await, "CPUascending");

    // Filtered, also by what an agent says of itself.
    browser.evaluate("document.querySelector('#filter').focus()").await;
    browser.write("NODE OF").await;
    browser.until(&format!("{LISTED} === 'delta'")).await;
    browser.press("Control+A").await;
    browser.press("Delete").await;
    browser.until(&format!("{LISTED} === 'alpha,delta,gamma,beta'")).await;

    // From row to row, into the details, and back to where one was.
    browser.evaluate("document.querySelector('#rows button').focus()").await;
    browser.press("ArrowDown").await;
    browser.press("Enter").await;
    browser.until("document.activeElement.id === 'detail-name'").await;
    assert_eq!(browser.evaluate("document.activeElement.textContent").await, "delta");
    let charts =
        "[...document.querySelectorAll('.plot[aria-label]')].map((plot) => plot.ariaLabel)[0]";
    let said = browser.until(charts).await;
    assert_eq!(said, "Chart of the last 15 minutes. Now: CPU 30 %, Memory 13 %, Disk 17 %");
    browser.press("Escape").await;
    browser.until("document.activeElement.textContent === 'delta'").await;
    assert_eq!(browser.evaluate("document.querySelector('#detail').hidden").await, true);
    // The wrong secret and the first visit without a cookie.
    browser.assert_quiet_but_for(&["401 (Unauthorized)"]).await;
    site.server.stop().await;
}

#[tokio::test]
async fn who_is_on_a_row_stays_on_it_wherever_it_goes() {
    const AGENTS: usize = 60;
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    let load = |agent: usize, load: usize| {
        json!({"id": format!("agent-{agent:02}"), "type": "system_metrics",
            "data": {"type": "statistics", "body": {"cpu_load": load}}})
    };
    site.call("/data", (0..AGENTS).map(|agent| load(agent, agent)).collect()).await;
    browser.open(DESKTOP, &site.page()).await;
    browser.until("document.querySelector('#all').textContent === '60'").await;
    browser.click("th.c-cpu button").await;
    browser.until(&format!("{LISTED}.startsWith('agent-59,agent-58')")).await;
    browser.evaluate("document.querySelector('#rows button').focus()").await;

    // From the top to the bottom, which is out of sight.
    site.call("/data", json!([load(59, 0), load(0, 1)])).await;
    let row = "document.activeElement.closest('tr')";
    browser.until(&format!("{row}?.ariaRowIndex === '61'")).await;
    assert_eq!(browser.evaluate(&format!("{row}.dataset.id")).await, "agent-59");
    browser.press("ArrowUp").await;
    browser.until(&format!("{row}?.ariaRowIndex === '60'")).await;
    let in_sight = "document.querySelector('#scroller').getBoundingClientRect().bottom - \
        document.activeElement.getBoundingClientRect().bottom";
    assert!(browser.evaluate(in_sight).await.as_f64().unwrap() > 0.0, "it can be seen");

    // An agent that is not listed any more cannot be held on to.
    browser.evaluate("document.querySelector('#filter').value = 'agent-07'").await;
    browser.evaluate("document.querySelector('#filter').dispatchEvent(new Event('input'))").await;
    browser.until("document.activeElement.id === 'scroller'").await;
    browser.assert_quiet_but_for(&[]).await;
    site.server.stop().await;
}

#[tokio::test]
async fn on_a_phone_the_details_take_the_place_of_the_list() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    for (agent, load) in [("alpha", 20), ("beta", 90)] {
        site.send(agent, "system_metrics", "statistics", json!({"cpu_load": load})).await;
    }
    browser.open(PHONE, &site.page()).await;
    browser.until(&format!("{LISTED}.length === 10")).await;
    browser.evaluate("document.querySelector('#sort').value = 'cpu'").await;
    browser.evaluate("document.querySelector('#sort').dispatchEvent(new Event('change'))").await;
    browser.until(&format!("{LISTED} === 'beta,alpha'")).await;
    browser.click("#direction").await;
    browser.until(&format!("{LISTED} === 'alpha,beta'")).await;

    browser.click("tr[data-id=beta] button").await;
    browser.until("document.activeElement.id === 'detail-name'").await;
    let reachable =
        "document.querySelector('#rows button').checkVisibility({ visibilityProperty: true })";
    assert_eq!(
        browser.evaluate(reachable).await,
        false,
        "the focus must not get behind the details"
    );
    browser.click(".close").await;
    browser.until("document.activeElement.textContent === 'beta'").await;
    assert_eq!(browser.evaluate(reachable).await, true);
    browser.assert_quiet_but_for(&[]).await;
    site.server.stop().await;
}

#[tokio::test]
async fn axe_finds_nothing() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    let _pings = site.keep_alive("active");
    for agent in ["active", "inactive", "unknown"] {
        site.speak(agent).await;
    }
    site.ping("inactive").await;
    site.bye("inactive").await;
    for look in [DESKTOP, DARK, PHONE] {
        browser.open(look, &site.url()).await;
        browser.until("!document.querySelector('#locked').hidden").await;
        browser.assert_accessible(&format!("locked, {look:?}")).await;
        browser.open(look, &site.page()).await;
        browser.until_state("active", "active").await;
        browser.assert_accessible(&format!("the list, {look:?}")).await;
        browser.evaluate("document.querySelector('#states [data-state=unknown]').click()").await;
        browser.evaluate("document.querySelector('#filter').value = 'no such agent'").await;
        browser
            .evaluate("document.querySelector('#filter').dispatchEvent(new Event('input'))")
            .await;
        browser.until("!document.querySelector('#no-agents').hidden").await;
        browser.assert_accessible(&format!("no agents, {look:?}")).await;
        browser.evaluate("document.querySelector('#states button').click()").await;
        browser.evaluate("document.querySelector('#filter').value = ''").await;
        browser
            .evaluate("document.querySelector('#filter').dispatchEvent(new Event('input'))")
            .await;
        for agent in ["active", "inactive", "unknown"] {
            browser.click(&format!("tr[data-id={agent}] button")).await;
            browser.until("document.querySelectorAll('.u-wrap').length === 5").await;
            browser.assert_accessible(&format!("{agent}, {look:?}")).await;
            browser.click(".close").await;
        }
        browser.offline(true).await;
        browser.until("!document.querySelector('#lost').hidden").await;
        browser.assert_accessible(&format!("disconnected, {look:?}")).await;
        browser
            .assert_quiet_but_for(&["ERR_INTERNET_DISCONNECTED", "WebSocket connection to"])
            .await;
    }
    site.server.stop().await;
}
