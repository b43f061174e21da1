//! Exchanges recorded with POA Backend, replayed in order with a real server; statuses are those of the
//! protocol.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::collections::HashMap;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use poa_tests::{Answer, Home, KEY, Request, Server, basic, claims, now, sign, token_of};
use serde_json::{Value, json};

/// Those who were there before the recording began.
const USERS: [(&str, &str); 9] = [
    ("alice", "alicepassword"),
    ("bob", "bobpassword"),
    ("carol", "with:colon:pw"),
    ("josé", "contraseña1"),
    ("resty", "restypassword"),
    ("banme", "banmepassword"),
    ("gone", "gonepassword"),
    ("jwtuser", "jwtpassword"),
    ("del1", "del1password"),
];

#[tokio::test]
async fn every_recorded_exchange_gets_the_status_of_the_protocol() {
    let lines = include_str!("fixtures/poa_http.jsonl").lines();
    let exchanges: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let home = Home::new();
    let replay = Replay::start(&home).await;
    for exchange in &exchanges {
        replay.replay(exchange).await;
    }
    assert_eq!(exchanges.len(), 199);
    replay.server.stop().await;
}

/// A server, and the tokens that the recording hands on from one exchange to a later one.
struct Replay {
    server: Server,
    tokens: HashMap<&'static str, String>,
}

impl Replay {
    async fn start(home: &Home) -> Self {
        let server = Server::start(home).await;
        for (name, password) in USERS {
            server.add_user(name, password, None).await;
        }
        let mut tokens = HashMap::new();
        for (user, password) in [USERS[0], USERS[4], USERS[5], USERS[8]] {
            tokens.insert(user, server.session(user, password).await);
        }
        Self { server, tokens }
    }

    async fn replay(&self, exchange: &Value) {
        let name = text(&exchange["name"]);
        self.prepare(name).await;
        let request = self.request(exchange);
        let answer = self.server.ask(text(&exchange["service"]), &request).await;
        assert_eq!(exchange["status"], answer.status, "{name}: {answer:?}");
        if let Some(body) = exchange["response_body"].as_str() {
            assert_eq!(answer.body, body, "{name}");
        }
        check_shape(exchange, &answer);
    }

    /// Prepares the state between two recorded exchanges.
    async fn prepare(&self, next: &str) {
        match next {
            "session.reactivated_user" => {
                let request = Request::new("PATCH", "/user/dave");
                let request = request.header("authorization", &basic(poa_tests::ADMIN));
                let answer = self.server.ask("auth", &request.json(r#"{"active":true}"#)).await;
                assert_eq!(answer.status, 204);
            }
            "jwt.user_deleted.delete" => assert_eq!(self.ping("del1").await, 200),
            "jwt.user_recreated.old_token" => {
                assert_eq!(self.ping("del1").await, 401);
                // Tokens know seconds only: the new user must not be there in that of the old token.
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                self.server.add_user("del1", "del1password", None).await;
            }
            _ => {}
        }
    }

    async fn ping(&self, user: &str) -> u16 {
        let request = Request::post("/ping", &self.tokens[user]).json(r#"{"id":"jwt"}"#);
        self.server.ask("rest", &request).await.status
    }

    fn request(&self, exchange: &Value) -> Request {
        let mut request = Request::new(text(&exchange["method"]), text(&exchange["path"]));
        for header in exchange["headers"].as_array().unwrap() {
            let (name, value) = (text(&header[0]), text(&header[1]));
            request = request.header(name, &self.fill_in(exchange, value));
        }
        match body(exchange) {
            Some(body) => request.body(self.with_fresh_token(exchange, body)),
            None => request,
        }
    }

    /// A recorded header with tokens of this server.
    fn fill_in(&self, exchange: &Value, value: &str) -> String {
        let name = text(&exchange["name"]);
        if value.contains("{this token}") {
            return value.replace("{this token}", &self.this_token(exchange));
        }
        if name == "jwt.claims_not_object" {
            return format!("Bearer {}", token_of(&json!([1])));
        }
        let user = match name {
            name if name.starts_with("blacklist.user.") => "banme",
            "blacklist.token.ping_with_banned" => "alice",
            _ => "resty",
        };
        value
            .replace("{valid token}", &self.tokens[user])
            .replace("{expired token}", &token_of(&claims("resty", -1)))
    }

    /// The token of this exchange, as old as it was when it was recorded.
    fn this_token(&self, exchange: &Value) -> String {
        let (name, token) = (text(&exchange["name"]), &exchange["token"]);
        if name == "jwt.user_recreated.old_token" {
            return self.tokens["del1"].clone();
        }
        let offset = |value: &Value| value.as_str()?.strip_prefix("now")?.parse::<i64>().ok();
        let issued = offset(&token["claims"]["iat"]).unwrap();
        let mut claims = token["claims"].clone();
        for claim in ["exp", "iat", "nbf"] {
            claims[claim] = (now() + offset(&claims[claim]).unwrap() - issued).into();
        }
        let key = if name == "jwt.bad_signature" { "another key" } else { KEY };
        sign(&token["header"], &claims, key)
    }

    /// Recorded tokens in bodies are signed with a key that is not this server's.
    fn with_fresh_token(&self, exchange: &Value, body: Vec<u8>) -> Vec<u8> {
        if !String::from_utf8_lossy(&body).contains(r#""token": "eyJ"#) {
            return body;
        }
        let token = match text(&exchange["name"]) {
            "blacklist.token.expired" => token_of(&claims("alice", -10)),
            _ => self.tokens["alice"].clone(),
        };
        json!({ "token": token }).to_string().into()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn body(exchange: &Value) -> Option<Vec<u8>> {
    match &exchange["body"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        body if body["b64"].is_string() => {
            Some(BASE64_STANDARD.decode(text(&body["b64"])).unwrap())
        }
        body => Some(padded(exchange, body)),
    }
}

/// A large body, of which only size and hash were recorded.
fn padded(exchange: &Value, recorded: &Value) -> Vec<u8> {
    let of_data = exchange["path"] == "/data";
    let size = recorded["bytes"].as_u64().unwrap() as usize;
    let msgpack = exchange["headers"][0][1] == "application/msgpack";
    let body =
        if msgpack { padded_msgpack(of_data, 20_000_000) } else { padded_json(of_data, size) };
    assert_eq!(body.len(), size);
    let hash = digest::digest(&digest::SHA256, &body);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, recorded["sha256"], "{}", exchange["name"]);
    body
}

fn padded_json(of_data: bool, size: usize) -> Vec<u8> {
    let data = r#", "type": "ethereum_metrics", "data": {"type": "foo", "body": {}}"#;
    let data = if of_data { data } else { "" };
    let mut body = format!(r#"{{"id": "agent1"{data}, "pad": ""#).into_bytes();
    body.resize(size - 2, b'x');
    body.extend(br#""}"#);
    body
}

fn padded_msgpack(of_data: bool, padding: u32) -> Vec<u8> {
    let mut body = if of_data { b"\x84".to_vec() } else { b"\x82".to_vec() };
    body.extend(b"\xa2id\xa6agent1");
    if of_data {
        body.extend(b"\xa4type\xb0ethereum_metrics\xa4data\x82\xa4type\xa3foo\xa4body\x80");
    }
    body.extend(b"\xa3pad\xdb");
    body.extend(padding.to_be_bytes());
    body.resize(body.len() + padding as usize, b'x');
    body
}

/// Checks the shape of an answer, independently of the recording.
fn check_shape(exchange: &Value, answer: &Answer) {
    let name = text(&exchange["name"]);
    let method = text(&exchange["method"]);
    if answer.status != 204 {
        assert_eq!(answer.header("content-type"), Some("application/json"), "{name}");
    }
    match (answer.status, text(&exchange["path"])) {
        _ if method == "HEAD" => assert!(answer.header("allow").is_some(), "{name}"),
        (204, _) => assert_eq!(answer.body, "", "{name}"),
        (200, "/session") => assert!(answer.json()["token"].is_string(), "{name}"),
        (200, "/user") if method == "GET" => check_list(&answer.json()),
        (200, "/user") => {
            let made = answer.json();
            assert_eq!(made.as_object().unwrap().len(), 2, "{name}");
            assert!(made["user-name"].is_string() && made["password"].is_string(), "{name}");
        }
        (200, _) => assert_eq!(answer.body, r#"{"result":"success"}"#, "{name}"),
        (401, _) => {
            let said = ["unauthorized", "token_expired"].map(|why| json!({ "error": why }));
            assert!(said.contains(&answer.json()), "{name}: {answer:?}");
        }
        (status, _) => {
            let refusal = answer.json();
            assert!(refusal["error"].is_string() && refusal["message"].is_string(), "{name}");
            assert_eq!(answer.header("allow").is_some(), status == 405, "{name}");
        }
    }
}

fn check_list(users: &Value) {
    for user in users.as_array().unwrap() {
        assert_eq!(user.as_object().unwrap().len(), 3, "{user}");
        assert!(user["user"].is_string() && user["created_at"].is_string(), "{user}");
        assert!(user["active"].is_boolean(), "{user}");
    }
    assert!(users.as_array().unwrap().len() > USERS.len(), "{users}");
}
