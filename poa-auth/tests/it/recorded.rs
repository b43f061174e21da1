//! Recorded exchanges with the original, replayed in order; statuses are those of the protocol.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use poa_core::auth::{AuthError, Authenticator as _};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{Answer, KEY, Request, Served, add, claims, now, sign, sign_512};

#[derive(Deserialize)]
struct Exchange {
    name: String,
    service: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Body,
    status: u16,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    Text(String),
    Base64 { b64: String },
    None,
}

impl Body {
    fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.clone().into_bytes()),
            Self::Base64 { b64 } => Some(STANDARD.decode(b64).unwrap()),
            Self::None => None,
        }
    }
}

fn exchanges() -> Vec<Exchange> {
    let lines = include_str!("../fixtures/poa_http.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A server with the users that the recording presupposes.
struct Replay {
    served: Served,
    /// Tokens that the recording passes from one exchange to a later one.
    tokens: HashMap<&'static str, String>,
}

impl Replay {
    async fn start() -> Self {
        let served = Served::start().await;
        for (user, password) in [
            ("alice", "alicepassword"),
            ("bob", "bobpassword"),
            ("carol", "with:colon:pw"),
            ("josé", "contraseña1"),
            ("banme", "banmepassword"),
            ("gone", "gonepassword"),
            ("del1", "del1password"),
        ] {
            add(&served.auth, user, password).await;
        }
        let mut tokens = HashMap::new();
        for user in ["alice", "banme", "del1"] {
            tokens.insert(user, sign_512(&claims(user)));
        }
        let banned = served.auth.login("alice", "alicepassword").await.unwrap();
        tokens.insert("banned", banned);
        Self { served, tokens }
    }

    /// The actions between two recorded exchanges.
    async fn prepare(&self, next: &str) {
        match next {
            "session.reactivated_user" => {
                let answer = self.served.admin("PATCH", "/user/dave", r#"{"active":true}"#).await;
                assert_eq!(answer.status, 204);
            }
            "jwt.user_recreated.old_token" => {
                let body = r#"{"user-name":"del1","password":"del1password"}"#;
                assert_eq!(self.served.admin("POST", "/user", body).await.status, 200);
            }
            _ => {}
        }
    }

    /// The token of this exchange, issued again: the recorded ones are signed with another key.
    fn token(&self, name: &str) -> String {
        let of = |user: &str| self.tokens[user].clone();
        let with = |claim: &str, value: Value| {
            let mut claims = claims("alice");
            claims[claim] = value;
            claims
        };
        match name {
            "jwt.expired" | "blacklist.token.expired" => {
                sign_512(&with("exp", (now() - 10).into()))
            }
            "jwt.wrong_aud" => sign_512(&with("aud", "someone_else".into())),
            "jwt.no_aud" => sign_512(&without("aud")),
            "jwt.no_sub" => sign_512(&without("sub")),
            "jwt.sub_number" => sign_512(&with("sub", 5.into())),
            "jwt.bad_signature" => bad_signature(),
            "jwt.HS384_same_key" => sign(&Header::new(Algorithm::HS384), &claims("alice")),
            "jwt.alg_none" => unsigned("none"),
            "jwt.alg_none_upper" => unsigned("NONE"),
            "jwt.extra_header" => extra_header(),
            "jwt.dots" => "..".to_owned(),
            "jwt.claims_not_object" => sign_512(&json!([1])),
            "jwt.user_recreated.old_token" => of("del1"),
            name if name.starts_with("blacklist.user.") => of("banme"),
            name if name.starts_with("blacklist.token.") => of("banned"),
            name if name.starts_with("session.") => of("alice"),
            other => panic!("which token is that of {other}?"),
        }
    }

    async fn replay(&self, exchange: &Exchange) {
        self.prepare(&exchange.name).await;
        match &*exchange.service {
            "auth" => self.replay_auth(exchange).await,
            // The REST handler calls `verify`, and answers accordingly.
            _ => self.replay_rest(exchange),
        }
    }

    fn replay_rest(&self, exchange: &Exchange) {
        let name = &exchange.name;
        let verified = self.served.auth.verify(&self.token(name));
        assert_eq!(verified.is_ok(), exchange.status == 200, "{name}: {verified:?}");
        let expired = matches!(verified, Err(AuthError::Expired));
        assert_eq!(expired, name == "jwt.expired", "{name}");
    }

    async fn replay_auth(&self, exchange: &Exchange) {
        let mut request = Request::new(&exchange.method, &exchange.path);
        for (name, value) in &exchange.headers {
            request = match value.strip_suffix("{valid token}") {
                Some(scheme) => {
                    request.header(name, &format!("{scheme}{}", self.token(&exchange.name)))
                }
                None => request.header(name, value),
            };
        }
        if let Some(mut body) = exchange.body.bytes() {
            if String::from_utf8_lossy(&body).contains(r#""token": "eyJ"#) {
                body = json!({"token": self.token(&exchange.name)}).to_string().into();
            }
            request = request.body(body);
        }
        let answer = request.send(self.served.addr).await;
        assert_eq!(answer.status, exchange.status, "{}: {answer:?}", exchange.name);
        self.check_shape(exchange, &answer);
    }

    fn check_shape(&self, exchange: &Exchange, answer: &Answer) {
        match (answer.status, &*exchange.method, &*exchange.path) {
            (204, ..) => assert_eq!(answer.body, ""),
            (200, "POST", "/session") => {
                let token = answer.json()["token"].as_str().unwrap().to_owned();
                assert!(self.served.auth.verify(&token).is_ok(), "{}", exchange.name);
            }
            (200, "POST", "/user") => {
                let made = answer.json();
                assert_eq!(made.as_object().unwrap().len(), 2);
                assert!(made["user-name"].is_string() && made["password"].is_string());
            }
            (200, "GET", "/user") => assert!(answer.json().as_array().unwrap().len() > 5),
            (200, ..) => assert_eq!(answer.json(), json!({"result": "success"})),
            (401, ..) => assert_eq!(answer.body, r#"{"error":"unauthorized"}"#),
            _ => {
                let refusal = answer.json();
                assert!(refusal["error"].is_string() && refusal["message"].is_string());
            }
        }
    }
}

fn without(claim: &str) -> Value {
    let mut claims = claims("alice");
    claims.as_object_mut().unwrap().remove(claim);
    claims
}

fn bad_signature() -> String {
    let key = EncodingKey::from_secret(KEY.to_uppercase().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims("alice"), &key).unwrap()
}

fn unsigned(algorithm: &str) -> String {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header = json!({"alg": algorithm, "typ": "JWT"}).to_string();
    let claims = claims("alice").to_string();
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

fn extra_header() -> String {
    let mut header = Header::new(Algorithm::HS512);
    header.kid = Some("../../etc/passwd".to_owned());
    sign(&header, &claims("alice"))
}

#[tokio::test]
async fn every_recorded_exchange_gets_the_status_of_the_protocol() {
    let exchanges = exchanges();
    let replay = Replay::start().await;
    for exchange in &exchanges {
        replay.replay(exchange).await;
    }
    let auth = exchanges.iter().filter(|exchange| exchange.service == "auth").count();
    assert_eq!((auth, exchanges.len()), (69, 85));
}
