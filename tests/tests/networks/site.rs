//! A server with networks, and requests that change them.

use poa_tests::{Browser, Client, Home, Look, Request, Server, free_port, sqlite};
use serde_json::{Value, json};

/// A token with characters that a subprotocol cannot have.
pub(crate) const TOKEN: &str = "a/token with=all (sorts)";

/// A server that keeps its port and its networks over a restart.
pub(crate) struct Site {
    home: Home,
    pub(crate) server: Server,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let port = free_port();
        let home = Home::with(&format!(
            "[handlers.networks]\nkind = \"leviathan\"\nexecutor = \"record\"\n\
             listen = \"127.0.0.1:{port}\"\ntoken = \"{TOKEN}\"\n{}",
            sqlite("local", "metrics.db", "")
        ));
        Self::on(home).await
    }

    async fn on(home: Home) -> Self {
        let server = Server::start(&home).await;
        Self { home, server }
    }

    /// Stops the server.
    pub(crate) async fn stop(self) -> Stopped {
        self.server.stop().await;
        Stopped(self.home)
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.server.address("networks"))
    }

    /// The page.
    pub(crate) fn url(&self) -> String {
        format!("{}/leviathan/", self.origin())
    }

    /// Opens the page with the token.
    pub(crate) async fn show(&self, browser: &mut Browser, look: Look) {
        browser.open(look, &self.url()).await;
        sign_in(browser, TOKEN).await;
        browser.until("document.body.dataset.connection === 'live'").await;
    }

    /// Sends a request that must succeed.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) {
        send(&mut self.client().await, method, path, body).await;
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.server.address("networks")).await.unwrap()
    }

    /// Two segments with a container in both, joined by an IP network, and a third alone.
    pub(crate) async fn make_lab(&self) {
        let cens = json!({"cenList": [
            {"cenID": "front", "containerIDs": ["web1", "web2", "web3"]},
            {"cenID": "back", "containerIDs": ["web3", "db1"]},
            {"cenID": "spare", "containerIDs": ["db1", "db2"]},
        ]});
        self.send("POST", "/cen/import", &cens).await;
        self.send("POST", "/cen/make?wait=true", &json!(["front", "back"])).await;
        self.send("POST", "/cin/import", &json!({"net": ["front", "back"]})).await;
        self.send("POST", "/cin/make?wait=true", &json!(["net"])).await;
    }
}

pub(crate) async fn send(client: &mut Client, method: &str, path: &str, body: &Value) {
    let request = Request::new(method, path).header("authorization", &format!("Bearer {TOKEN}"));
    let answer = client.exchange(&request.json(&body.to_string()).bytes()).await.unwrap();
    assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
}

/// Writes a token into the form.
pub(crate) async fn sign_in(browser: &mut Browser, token: &str) {
    browser.until("document.activeElement.id === 'secret'").await;
    browser.write(token).await;
    browser.press("Enter").await;
}

/// The text of an element, with a space between its parts.
pub(crate) fn text(selector: &str) -> String {
    format!(
        "[...document.querySelectorAll('{selector}')].map((element) => [...element.children].map((part) => part.textContent).filter(Boolean).join(' ')).join(', ')"
    )
}

/// A server that can be started again.
pub(crate) struct Stopped(Home);

impl Stopped {
    pub(crate) async fn start(self) -> Site {
        Site::on(self.0).await
    }
}
