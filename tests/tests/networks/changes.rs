//! Networks are made and destroyed from the page.

use poa_tests::{Browser, DESKTOP};

use crate::site::{Site, sign_in, text};

/// Answers what the page asks before it cuts something.
async fn decide(browser: &mut Browser, asked: &str, button: &str) {
    browser.until("document.querySelector('#confirm').open").await;
    let question = browser.evaluate("document.querySelector('#confirm').innerText").await;
    assert!(question.as_str().unwrap().contains(asked), "{asked}: {question}");
    browser.click(button).await;
    browser.until("!document.querySelector('#confirm').open").await;
}

async fn fill(browser: &mut Browser, field: &str, words: &str) {
    browser.click(field).await;
    browser.press("Control+A").await;
    browser.write(words).await;
}

const CHIPS: &str = "article[data-key=lan] .chip";
const STATUS: &str = "document.querySelector('article[data-key=lan]').dataset.status";
const ERROR: &str = "document.querySelector('#detail [role=alert]').textContent";

#[tokio::test]
async fn a_network_comes_grows_and_goes() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    browser.open(DESKTOP, &site.url()).await;
    sign_in(&mut browser, "another token").await;
    browser.until("document.querySelector('#sign-in-error').textContent === 'Wrong secret.'").await;
    sign_in(&mut browser, crate::site::TOKEN).await;
    browser.until("!document.querySelector('#empty').hidden").await;

    browser.click("#new").await;
    fill(&mut browser, "#new-cen", "lan").await;
    fill(&mut browser, "#new-members", "c1, c2").await;
    fill(&mut browser, "#new-cin", "net").await;
    browser.press("Enter").await;
    browser.until("document.querySelector('#detail-name').textContent === 'lan'").await;
    browser.until(&format!("{} === 'c1 10.10.0.11, c2 10.10.0.10'", text(CHIPS))).await;

    // A member more, a member less.
    fill(&mut browser, "#join", "c3").await;
    browser.press("Enter").await;
    browser.until(&format!("{}.endsWith('c3 10.10.0.12')", text(CHIPS))).await;
    browser.until("document.querySelector('#join').value === ''").await;
    browser.click("#detail [aria-label=\"Remove c2\"]").await;
    decide(&mut browser, "Remove c2 from lan?", "#confirm-yes").await;
    browser.until(&format!("{} === 'c1 10.10.0.11, c3 10.10.0.12'", text(CHIPS))).await;

    // The server's refusal is shown: the IP network is over it.
    browser.click("#do-destroy").await;
    decide(&mut browser, "This interrupts the traffic of c1, c3.", "#confirm-yes").await;
    browser.until(&format!("{ERROR}.includes('net')")).await;
    assert_eq!(browser.evaluate(STATUS).await, "ready");
    browser.click("#picture [data-kind=cin]").await;
    browser.until("document.querySelector('#detail-name').textContent === 'net'").await;
    browser.click("#do-delete").await;
    decide(&mut browser, "Delete net?", "#confirm-yes").await;
    browser.until(&format!("{} === 'c1, c3'", text(CHIPS))).await;

    // Asked, and then not done; then done.
    browser.click("#picture .bridge").await;
    browser.until("document.querySelector('#detail-name').textContent === 'lan'").await;
    browser.click("#do-destroy").await;
    decide(&mut browser, "Destroy lan?", "#confirm button").await;
    assert_eq!(browser.evaluate(STATUS).await, "ready");
    browser.click("#do-destroy").await;
    decide(&mut browser, "Destroy lan?", "#confirm-yes").await;
    browser.until(&format!("{STATUS} === 'pending'")).await;
    browser.click("#do-make").await;
    browser.until(&format!("{STATUS} === 'ready'")).await;
    browser.click("#do-delete").await;
    decide(&mut browser, "The definition is removed.", "#confirm-yes").await;
    browser.until("!document.querySelector('article')").await;
    browser.assert_quiet_but_for(&["401 (Unauthorized)", "409 (Conflict)"]).await;
    site.stop().await;
}

#[tokio::test]
async fn a_form_changes_nothing_that_exists_and_shows_what_is_wrong() {
    let (site, mut browser) = tokio::join!(Site::start(), Browser::start());
    site.make_lab().await;
    site.show(&mut browser, DESKTOP).await;
    browser.until("document.querySelectorAll('article').length === 3").await;
    browser.click("#new").await;
    for (name, message) in [
        ("front", "front exists already"),
        ("a name of too many", "a name of too many"),
        ("abcdefghijklmnopq", "abcdefghijklmnopq"),
    ] {
        fill(&mut browser, "#new-cen", name).await;
        browser.press("Enter").await;
        browser.until(&format!("{ERROR}.includes('{message}')")).await;
    }
    let members = text("article[data-key=front] .chip .name");
    assert_eq!(
        browser
            .evaluate(&members.replace(
                "[...element.children].map((part) => part.textContent).filter(Boolean).join(' ')",
                "element.textContent"
            ))
            .await,
        "web1, web2, web3"
    );
    assert_eq!(browser.evaluate("document.querySelectorAll('article').length").await, 3);
    browser.assert_quiet_but_for(&["401 (Unauthorized)", "422 (Unprocessable Entity)"]).await;
    site.stop().await;
}
