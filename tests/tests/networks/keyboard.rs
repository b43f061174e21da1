//! The page without a mouse.

use poa_tests::{Browser, DESKTOP, PHONE};

use crate::site::{Site, text};

const FOCUS: &str = "document.activeElement.dataset.id ?? document.activeElement.id";

async fn until_focus(browser: &mut Browser, id: &str) {
    browser.until(&format!("({FOCUS}) === '{id}'")).await;
}

#[tokio::test]
async fn everything_can_be_done_by_keyboard() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    site.make_lab().await;
    site.show(&mut browser, DESKTOP).await;
    browser.until("document.querySelectorAll('article').length === 3").await;

    // Filtered by an address.
    browser.evaluate("document.querySelector('#filter').focus()").await;
    browser.write("10.10.0.13").await;
    browser.until("document.querySelectorAll('article').length === 1").await;
    browser.press("Control+A").await;
    browser.press("Delete").await;
    browser.until("document.querySelectorAll('article').length === 3").await;

    // From thing to thing, from segment to segment, into the details and back.
    browser.evaluate("document.querySelector('#picture button').focus()").await;
    until_focus(&mut browser, "net").await;
    for (key, id) in [
        ("ArrowDown", "front"),
        ("ArrowDown", "web1"),
        ("ArrowRight", "back"),
        ("ArrowRight", "spare"),
        ("ArrowRight", "spare"),
        ("ArrowLeft", "back"),
        ("ArrowDown", "web3"),
    ] {
        browser.press(key).await;
        until_focus(&mut browser, id).await;
    }
    browser.press("Enter").await;
    until_focus(&mut browser, "detail-name").await;
    browser.press("Escape").await;
    until_focus(&mut browser, "web3").await;

    // Something is made, and what is asked is answered.
    browser.evaluate("document.querySelector('[data-id=spare]').focus()").await;
    browser.press("Enter").await;
    until_focus(&mut browser, "detail-name").await;
    browser.evaluate("document.querySelector('#do-make').focus()").await;
    browser.press("Enter").await;
    browser.until(&format!("{} === 'spare'", text("article[data-key=spare] .bridge"))).await;
    browser.evaluate("document.querySelector('#do-destroy').focus()").await;
    browser.press("Enter").await;
    browser.until("document.querySelector('#confirm').open").await;
    assert_eq!(browser.evaluate("document.activeElement.value").await, "no", "the safe answer");
    browser.press("Tab").await;
    browser.press("Enter").await;
    browser
        .until(&format!("{} === 'spare pending'", text("article[data-key=spare] .bridge")))
        .await;
    let told = "document.querySelector('#announce').textContent === '2 of 3 segments are ready'";
    browser.until(told).await;
    browser.assert_quiet_but_for(&["401 (Unauthorized)"]).await;
    site.stop().await;
}

#[tokio::test]
async fn who_is_on_something_that_goes_is_not_lost() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    site.make_lab().await;
    site.show(&mut browser, DESKTOP).await;
    browser.until("document.querySelectorAll('article').length === 3").await;
    browser.evaluate("document.querySelector('[data-id=db2]').focus()").await;
    site.send("PUT", "/host/host1/db0/spare", &serde_json::Value::Null).await;
    browser.until("document.querySelector('[data-id=db0]')").await;
    until_focus(&mut browser, "db2").await;
    site.send("DELETE", "/host/host1/db2", &serde_json::Value::Null).await;
    until_focus(&mut browser, "scroller").await;
    site.stop().await;
}

#[tokio::test]
async fn on_a_phone_the_details_take_the_place_of_the_picture() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    site.make_lab().await;
    site.show(&mut browser, PHONE).await;
    browser.until("document.querySelectorAll('article').length === 3").await;
    let wide = "document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(browser.evaluate(wide).await, true, "nothing is out of sight to the side");
    browser.click("[data-id=db2]").await;
    until_focus(&mut browser, "detail-name").await;
    assert_eq!(
        browser.evaluate("document.querySelector('#picture').checkVisibility()").await,
        false
    );
    browser.click(".close").await;
    until_focus(&mut browser, "db2").await;
    site.stop().await;
}
