//! The page of `poa-server demo`; the pictures of the documentation are taken here.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use poa_tests::{program, soon};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::browser::{Browser, DARK, DESKTOP, LAPTOP, PHONE};

/// The directory for the pictures; without it they are discarded.
const PICTURES: &str = "POA_TEST_SCREENSHOTS";
/// How long to wait for charts that are worth a picture: as long as they show.
const CHARTS: Duration = Duration::from_secs(15 * 60);
/// The same for the line of what comes in, which begins when the page is opened.
const LINE: Duration = Duration::from_secs(65);
/// Sorts by CPU where there are no headers to click on.
const BY_LOAD: &str = "(() => { const sort = document.querySelector('#sort'); sort.value = 'cpu'; \
    sort.dispatchEvent(new Event('change')); })()";
/// The agent in sight that has been active for longest, or the longest of all where none is in sight: it has most to show.
const STEADY: &str = "(() => { const rows = [...document.querySelectorAll('#rows tr[data-state=active]')]; \
    const seen = rows.filter((row) => row.getBoundingClientRect().bottom < innerHeight - 20); \
    (seen.at(-1) ?? rows.at(-1)).querySelector('button').click(); })()";

/// A demo with simulated agents, and the address of its page.
async fn demo(dir: &std::path::Path) -> (Child, String) {
    let mut command = Command::new(program());
    command.args(["demo", "--agents", "48", "--listen-base", "0", "--data-dir"]).arg(dir);
    let mut demo =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    loop {
        let line = soon("the demo tells its page", lines.next_line()).await.unwrap().unwrap();
        if let Some(page) = line.strip_prefix("Watch them at ") {
            let page = page.trim().to_owned();
            // The demo continues to print.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (demo, page);
        }
    }
}

#[tokio::test]
async fn the_demo_shows_its_agents() {
    let dir = tempfile::tempdir().unwrap();
    let (mut browser, (_demo, page)) = tokio::join!(Browser::start(), demo(dir.path()));
    let pictures = std::env::var_os(PICTURES).map(PathBuf::from);
    let taken = pictures.is_some();
    if taken {
        tokio::time::sleep(CHARTS).await;
    }
    let pictures = pictures.unwrap_or_else(|| dir.path().to_owned());
    let looks = [(DESKTOP, "desktop"), (LAPTOP, "laptop"), (DARK, "dark"), (PHONE, "phone")];
    for (look, name) in looks {
        browser.open(look, &page).await;
        browser.until("Number(document.querySelector('#states [data-state=active] span')?.textContent) > 24").await;
        browser.until("Number.parseFloat(document.querySelector('#rate').textContent) > 0").await;
        browser.until("document.querySelectorAll('#rows tr[data-state=active]').length > 5").await;
        if look.device == PHONE.device {
            // Few agents fit: those that have something to show.
            browser.evaluate(BY_LOAD).await;
        }
        if taken {
            tokio::time::sleep(LINE).await;
        }
        browser.screenshot(&pictures.join(format!("dashboard-{name}.png"))).await;
        browser.evaluate(STEADY).await;
        browser.until("document.querySelectorAll('.u-wrap').length === 5").await;
        browser.screenshot(&pictures.join(format!("dashboard-{name}-agent.png"))).await;
        browser.assert_quiet_but_for(&[]).await;
    }
}
