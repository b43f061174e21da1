//! A Chromium that a test drives, by way of `tests/browser/driver.mjs`.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::{PATIENCE, soon};

/// One browser with one page. It ends with this.
#[derive(Debug)]
pub struct Browser {
    _driver: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// The kind of page to open.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// `desktop`, `laptop` or `phone`.
    pub device: &'static str,
    /// `light` or `dark`.
    pub scheme: &'static str,
}

/// A window of 1440 by 900.
pub const DESKTOP: Look = Look { device: "desktop", scheme: "light" };
/// A window of 1280 by 800.
pub const LAPTOP: Look = Look { device: "laptop", scheme: "light" };
/// A window of 1440 by 900, in dark colours.
pub const DARK: Look = Look { device: "desktop", scheme: "dark" };
/// A phone.
pub const PHONE: Look = Look { device: "phone", scheme: "light" };

impl Browser {
    /// Starts a browser.
    pub async fn start() -> Self {
        for variable in ["POA_TEST_CHROMIUM", "POA_TEST_NODE_MODULES"] {
            assert!(
                std::env::var_os(variable).is_some(),
                "set POA_TEST_CHROMIUM to the program of a Chromium and POA_TEST_NODE_MODULES to a node_modules with \
                 playwright-core and axe-core, or run `cargo xtask test`"
            );
        }
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/driver.mjs");
        let mut command = Command::new("node");
        command.arg(driver).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut driver =
            command.spawn().unwrap_or_else(|error| panic!("cannot run `node`: {error}"));
        let commands = driver.stdin.take().unwrap();
        let answers = BufReader::new(driver.stdout.take().unwrap()).lines();
        Self { _driver: driver, commands, answers }
    }

    async fn ask(&mut self, command: Value) -> Value {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        // The driver gives up by itself, and says why, before this does.
        let line = self.answers.next_line();
        let line = tokio::time::timeout(PATIENCE * 2, line).await;
        let line = line.unwrap_or_else(|_| panic!("no answer to {command}")).unwrap();
        let answer: Value = serde_json::from_str(&line.expect("the driver runs")).unwrap();
        assert!(answer.get("error").is_none(), "{}\n{command}", answer["error"].as_str().unwrap());
        answer["value"].clone()
    }

    /// Opens this address in a new page, and in a new session of its own.
    pub async fn open(&mut self, look: Look, url: &str) {
        let Look { device, scheme } = look;
        self.ask(json!({"command": "page", "device": device, "scheme": scheme})).await;
        self.ask(json!({"command": "open", "url": url})).await;
    }

    /// The same in a page whose clock can be put forward.
    pub async fn open_with_clock(&mut self, url: &str) {
        self.ask(json!({"command": "page", "clock": true})).await;
        self.ask(json!({"command": "open", "url": url})).await;
    }

    /// The value of an expression in the page.
    pub async fn evaluate(&mut self, script: &str) -> Value {
        self.ask(json!({"command": "evaluate", "script": script})).await
    }

    /// The value of an expression, once it is true.
    pub async fn until(&mut self, script: &str) -> Value {
        soon(script, self.ask(json!({"command": "until", "script": script}))).await
    }

    /// Presses and releases a key.
    pub async fn press(&mut self, key: &str) {
        self.ask(json!({"command": "press", "key": key})).await;
    }

    /// Types a text.
    pub async fn write(&mut self, text: &str) {
        self.ask(json!({"command": "type", "text": text})).await;
    }

    /// Clicks on the first element of a selector.
    pub async fn click(&mut self, selector: &str) {
        self.ask(json!({"command": "click", "selector": selector})).await;
    }

    /// Takes the network away, or gives it back.
    pub async fn offline(&mut self, offline: bool) {
        self.ask(json!({"command": "offline", "offline": offline})).await;
    }

    /// Puts the page's clock forward.
    pub async fn forward(&mut self, milliseconds: u64) {
        self.ask(json!({"command": "forward", "milliseconds": milliseconds})).await;
    }

    /// Writes a picture of what is in sight.
    pub async fn screenshot(&mut self, path: &Path) {
        self.ask(json!({"command": "screenshot", "path": path})).await;
    }

    /// The processor time of the main thread in a second, in milliseconds, which does not depend on other load of the
    /// machine: the median of this many seconds. And the heap, in bytes.
    pub async fn cost(&mut self, seconds: u64) -> Value {
        self.ask(json!({"command": "cost", "seconds": seconds})).await
    }

    /// Panics when axe-core finds something wrong.
    pub async fn assert_accessible(&mut self, what: &str) {
        let found = self.ask(json!({"command": "axe"})).await;
        assert_eq!(found, json!([]), "{what}");
    }

    /// Panics when the console has an error or a warning, violations of the policy included, other than these.
    pub async fn assert_quiet_but_for(&mut self, expected: &[&str]) {
        let said = self.ask(json!({"command": "complaints"})).await;
        let said = said.as_array().unwrap().iter().map(|line| line.as_str().unwrap());
        let unexpected: Vec<_> =
            said.filter(|line| !expected.iter().any(|known| line.contains(known))).collect();
        assert!(unexpected.is_empty(), "{unexpected:#?}");
    }

    /// The servers that were asked for anything.
    pub async fn origins(&mut self) -> Value {
        self.ask(json!({"command": "origins"})).await
    }
}
