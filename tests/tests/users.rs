//! Tokens that admins list and revoke, over HTTP and from the command line: REST and WebSocket refuse them at once.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use futures_util::{SinkExt as _, StreamExt as _};
use poa_tests::{ADMIN, Home, Request, Server, basic, program, soon, sqlite, until};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

const BODY: &str = r#"{"id":"a","type":"system_metrics","data":{"cpu_load":1}}"#;

fn home() -> Home {
    let ws = "[handlers.ws]\nkind = \"ws\"\nlisten = \"127.0.0.1:0\"\n";
    Home::with(&(sqlite("local", "metrics.db", "") + ws))
}

async fn admin(server: &Server, method: &str, path: &str) -> poa_tests::Answer {
    let request = Request::new(method, path).header("authorization", &basic(ADMIN));
    server.ask("auth", &request).await
}

async fn status(server: &Server, token: &str) -> u16 {
    server.ask("rest", &Request::post("/data", token).json(BODY)).await.status
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(server: &Server, token: &str) -> Socket {
    let uri = format!("ws://{}", server.address("ws")).parse().unwrap();
    let header = format!("Bearer {token}").parse().unwrap();
    let client = ClientBuilder::from_uri(uri);
    let client = client.add_header("authorization".parse().unwrap(), header).unwrap();
    client.connect().await.unwrap().0
}

/// Sends a message; the answer, if the connection is still there.
async fn call(socket: &mut Socket) -> Option<String> {
    let call = BODY.replacen('{', r#"{"call":"data","#, 1);
    socket.send(Message::text(call)).await.ok()?;
    let answer = soon("an answer", socket.next()).await?.ok()?;
    answer.as_text().map(str::to_owned)
}

/// The id of a token, from the list.
async fn id_of(server: &Server, token: &str) -> String {
    let listed = admin(server, "GET", "/token").await.json();
    let mut ids = listed.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap());
    ids.find(|id| token.contains(id)).unwrap().to_owned()
}

#[tokio::test]
async fn a_token_that_an_admin_revokes_is_refused_at_once() {
    let home = home();
    let server = Server::start(&home).await;
    let kept = server.login().await;
    let token = server.session("agent-user", "agent-password").await;
    let (mut socket, mut other) = (connect(&server, &token).await, connect(&server, &kept).await);
    for socket in [&mut socket, &mut other] {
        assert!(call(socket).await.unwrap().contains("success"));
    }
    assert_eq!(status(&server, &token).await, 200);

    let id = id_of(&server, &token).await;
    assert_eq!(admin(&server, "DELETE", &format!("/token/{id}")).await.status, 204);
    assert_eq!(status(&server, &token).await, 401);
    let refused = call(&mut socket).await;
    assert!(refused.as_ref().is_none_or(|answer| !answer.contains("success")), "{refused:?}");
    assert_eq!(status(&server, &kept).await, 200);
    assert!(call(&mut other).await.unwrap().contains("success"));

    assert_eq!(admin(&server, "DELETE", "/user/agent-user/token").await.status, 204);
    assert_eq!(status(&server, &kept).await, 401);
    server.stop().await;
    // What was revoked stays revoked.
    let server = Server::start(&home).await;
    assert_eq!(status(&server, &token).await, 401);
    server.stop().await;
    let log = home.log();
    for line in ["user added", "token revoked", "all tokens revoked"] {
        let said = |entry: &&str| {
            entry.contains("poa_audit") && entry.contains(line) && entry.contains("127.0.0.1")
        };
        let entry = log.lines().find(said).unwrap_or_else(|| panic!("{line}: {log}"));
        assert!(entry.contains(ADMIN.0), "{entry}");
    }
}

/// `poa-server user` with these arguments; what it prints.
async fn user(home: &Home, args: &[&str]) -> String {
    let mut command = Command::new(program());
    command.arg("user").args(args).args(["--config", "poa.toml"]).current_dir(home.path());
    let output = command.env_remove("RUST_LOG").output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_command_line_lists_and_revokes_while_the_server_runs() {
    let home = home();
    let server = Server::start(&home).await;
    let token = server.login().await;
    let other = server.session("agent-user", "agent-password").await;
    // The server writes its list once a second.
    let listed = until("both tokens are listed", async || {
        let listed = user(&home, &["tokens", "agent-user"]).await;
        (listed.lines().count() == 2).then_some(listed)
    })
    .await;
    let id = listed.split_whitespace().find(|word| token.contains(word)).unwrap();
    assert!(listed.contains("127.0.0.1"), "{listed}");
    assert_eq!(user(&home, &["revoke", "--token", id]).await, "a token of agent-user is revoked\n");
    let refused = async |token: &str| (status(&server, token).await == 401).then_some(());
    until("the token is refused", async || refused(&token).await).await;
    assert_eq!(status(&server, &other).await, 200);
    assert_eq!(user(&home, &["revoke", "agent-user"]).await, "agent-user has no valid token\n");
    until("the other is refused", async || refused(&other).await).await;
    user(&home, &["ban", "agent-user"]).await;
    until("the log tells it", async || home.log().contains("user banned").then_some(())).await;
    assert!(home.log().contains("another process"), "{}", home.log());
    server.stop().await;
}
