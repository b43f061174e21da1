//! A server with a gateway, and nodes that are commands.

use std::path::PathBuf;
use std::process::Stdio;

use poa_tests::{Browser, Home, Server, program, soon, sqlite};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

pub(crate) const TOKEN: &str = "a long token";

pub(crate) struct Site {
    pub(crate) home: Home,
    pub(crate) server: Server,
    token: PathBuf,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let home = Home::without_handlers(&format!(
            "[handlers.gilmour]\nkind = \"gilmour\"\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\nhealth_interval = \"100ms\"\n{}",
            sqlite("local", "metrics.db", "")
        ));
        let token = home.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        let server = Server::start(&home).await;
        Self { home, server, token }
    }

    /// The page.
    pub(crate) fn page(&self) -> String {
        format!("http://{}/", self.server.address("gilmour"))
    }

    /// Opens the page that a browser shows.
    pub(crate) async fn unlock(&self, browser: &mut Browser) {
        browser.until("document.activeElement.id === 'secret'").await;
        browser.write(TOKEN).await;
        browser.press("Enter").await;
        browser.until("document.body.dataset.connection === 'live'").await;
    }

    /// A node that serves a topic by this command, for as long as it is held.
    pub(crate) async fn serve(&self, topic: &str, command: &str) -> Child {
        self.listen(&[topic, "--service", "--exec", command]).await
    }

    /// A node that takes signals.
    pub(crate) async fn hear(&self, topic: &str) -> Child {
        self.listen(&[topic]).await
    }

    async fn listen(&self, args: &[&str]) -> Child {
        let mut command = Command::new(program());
        command.args(["gilmour", "listen"]).args(args).args(["--gateway", &self.page()]);
        command.arg("--token-file").arg(&self.token).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut node = command.kill_on_drop(true).spawn().unwrap();
        let mut errors = BufReader::new(node.stderr.take().unwrap()).lines();
        let line = soon("the node listens", errors.next_line()).await.unwrap().unwrap();
        assert!(line.contains("listening to"), "{line}");
        node
    }
}
