//! Rules of the auth endpoints that no recording shows.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use poa_tests::{ADMIN, Answer, Home, Request, Server, basic, claims, token_of};
use serde_json::{Value, json};
use tokio::task::JoinSet;

async fn admin(server: &Server, method: &str, path: &str, body: &str) -> Answer {
    let request = Request::new(method, path).header("authorization", &basic(ADMIN));
    server.ask("auth", &if body.is_empty() { request } else { request.json(body) }).await
}

async fn ping(server: &Server, token: &str) -> u16 {
    server.ask("rest", &Request::post("/ping", token).json(r#"{"id":"a"}"#)).await.status
}

#[tokio::test]
async fn what_users_may_be_called() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let long = "n".repeat(255);
    let longer = "n".repeat(256);
    let mut wrong = Vec::new();
    for (field, value, status) in [
        ("user-name", json!(long), 200),
        ("user-name", json!(long), 409),
        ("user-name", json!(longer), 422),
        ("user-name", json!("tab\there"), 422),
        ("user-name", json!(5), 422),
        ("user-name", json!("a/b c?d#e%"), 200),
        ("user-name", json!("ü"), 200),
        ("password", json!("seven77"), 422),
        ("password", json!("ümläüt77"), 200),
        ("password", json!(12_345_678), 422),
        ("agent-id", json!("an agent"), 200),
        ("agent-id", json!(""), 422),
        ("agent-id", json!("i".repeat(257)), 422),
        ("agent-id", json!(5), 422),
        ("something-else", json!(5), 200),
    ] {
        let body = json!({ field: value }).to_string();
        let answer = admin(&server, "POST", "/user", &body).await;
        if answer.status != status {
            wrong.push(format!("{body}: not {status}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    for (path, status) in [
        ("/user/%C3%BC", 204),
        ("/user/a%2Fb%20c%3Fd%23e%25", 204),
        ("/user/a%2Fb%20c%3Fd%23e%25", 404),
        ("/user/%ff", 404),
        ("/user/%zz", 404),
        ("/user/", 404),
        ("/user/a/b", 404),
    ] {
        let answer = admin(&server, "DELETE", path, "").await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn one_name_is_given_once() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let address = server.address("auth").to_owned();
    let mut admins = JoinSet::new();
    for _ in 0..8 {
        let address = address.clone();
        admins.spawn(async move {
            let request = Request::new("POST", "/user").header("authorization", &basic(ADMIN));
            let request = request.json(r#"{"user-name":"one"}"#).bytes();
            let mut client = poa_tests::Client::connect(&address).await.unwrap();
            client.exchange(&request).await.unwrap().status
        });
    }
    let mut statuses = admins.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn what_is_made_up_works() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let made = admin(&server, "POST", "/user", "{}").await.json();
    let text = |key: &str| made[key].as_str().unwrap();
    let (name, password) = (text("user-name"), text("password"));
    assert_eq!((name.len(), password.len()), (8, 15));
    let url_safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(name.chars().chain(password.chars()).all(url_safe), "{made}");
    let token = server.session(name, password).await;
    assert_eq!(ping(&server, &token).await, 200);
}

#[tokio::test]
async fn a_change_takes_effect_on_the_next_request() {
    let home = Home::new();
    let server = Server::start(&home).await;
    server.add_user("alice", "alice-password", None).await;
    let token = server.session("alice", "alice-password").await;
    for round in 0..20 {
        assert_eq!(ping(&server, &token).await, 200, "round {round}");
        let answer = admin(&server, "PATCH", "/user/alice", r#"{"active":false}"#).await;
        assert_eq!(answer.status, 204);
        assert_eq!(ping(&server, &token).await, 401, "round {round}");
        let answer = admin(&server, "PATCH", "/user/alice", r#"{"active":true}"#).await;
        assert_eq!(answer.status, 204);
    }
    let other = server.session("alice", "alice-password").await;
    let body = json!({"token": token}).to_string();
    assert_eq!(admin(&server, "POST", "/blacklist/token", &body).await.status, 200);
    assert_eq!(ping(&server, &token).await, 401);
    assert_eq!(ping(&server, &other).await, 200, "one token is banned, not its user");
    assert_eq!(admin(&server, "DELETE", "/user/alice", "").await.status, 204);
    assert_eq!(ping(&server, &other).await, 401);
}

#[tokio::test]
async fn bans_survive_a_restart() {
    let home = Home::new();
    let server = Server::start(&home).await;
    server.add_user("alice", "alice-password", None).await;
    let token = server.session("alice", "alice-password").await;
    let other = server.session("alice", "alice-password").await;
    let body = json!({"token": token}).to_string();
    assert_eq!(admin(&server, "POST", "/blacklist/token", &body).await.status, 200);
    server.kill().await;
    let server = Server::start(&home).await;
    assert_eq!(ping(&server, &token).await, 401);
    assert_eq!(ping(&server, &other).await, 200);
}

#[tokio::test]
async fn fields_paths_and_methods() {
    let home = Home::new();
    let server = Server::start(&home).await;
    server.add_user("alice", "alice-password", None).await;
    let foreign = token_of(&claims("nobody", 60));
    let token = |token: &str| json!({ "token": token }).to_string();
    let cases = [
        ("PATCH", "/user/alice", r#"{"active":"yes"}"#.to_owned(), 422),
        ("PATCH", "/user/alice", r#"{"active":null}"#.to_owned(), 422),
        ("PATCH", "/user/alice", "{}".to_owned(), 422),
        ("PATCH", "/user/alice", "[true]".to_owned(), 422),
        ("POST", "/blacklist/token", token("x"), 404),
        ("POST", "/blacklist/token", token(&foreign), 404),
        ("POST", "/blacklist/token", r#"{"token":5}"#.to_owned(), 422),
        ("POST", "/blacklist/user", r#"{"user":"admin1"}"#.to_owned(), 404),
        ("POST", "/blacklist/user", r#"["alice"]"#.to_owned(), 422),
        ("POST", "/user", format!("[{}]", "{}"), 422),
        ("POST", "/blacklist", "{}".to_owned(), 404),
        ("GET", "/session", String::new(), 405),
        ("PUT", "/user", "{}".to_owned(), 405),
        ("GET", "/user/alice", String::new(), 405),
        ("GET", "/blacklist/user", String::new(), 405),
    ];
    let mut wrong = Vec::new();
    for (method, path, body, status) in cases {
        let answer = admin(&server, method, path, &body).await;
        if answer.status != status || answer.header("allow").is_some() != (status == 405) {
            wrong.push(format!("{method} {path} {body}: not {status}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_token_says_what_the_protocol_says() {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    let home = Home::new();
    let server = Server::start(&home).await;
    let token = server.login().await;
    let parts: Vec<&str> = token.split('.').collect();
    let part = |index: usize| -> Value {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[index]).unwrap()).unwrap()
    };
    let (header, claims) = (part(0), part(1));
    assert_eq!(header, json!({"alg": "HS512", "typ": "JWT"}));
    for (claim, expected) in
        [("aud", "poa_backend"), ("iss", "poa_backend"), ("typ", "access"), ("sub", "agent-user")]
    {
        assert_eq!(claims[claim], expected, "{claims}");
    }
    let time = |claim: &str| claims[claim].as_i64().unwrap();
    assert_eq!((time("nbf"), time("exp")), (time("iat") - 1, time("iat") + 3600), "{claims}");
    assert_eq!(claims["jti"].as_str().unwrap().len(), 36, "{claims}");
}
