//! Tokens and credentials that tests make themselves.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

use crate::KEY;

/// Seconds since 1970.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs().cast_signed()
}

/// The value of an `Authorization` header.
#[must_use]
pub fn basic((name, password): (&str, &str)) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")))
}

/// Claims that are valid from now on for this long, in seconds.
#[must_use]
pub fn claims(user: &str, life: i64) -> Value {
    json!({
        "aud": "poa_backend", "iss": "poa_backend", "typ": "access", "sub": user,
        "jti": format!("00000000-0000-4000-8000-{:012}", now()),
        "iat": now(), "nbf": now() - 1, "exp": now() + life,
    })
}

/// A token with these claims, signed by the server's key.
#[must_use]
pub fn token_of(claims: &Value) -> String {
    sign(&json!({"alg": "HS512", "typ": "JWT"}), claims, KEY)
}

/// A token of any header and claims, as bad as they may be. `alg` decides how it is signed; anything but HS384 and HS512
/// leaves it unsigned.
#[must_use]
pub fn sign(header: &Value, claims: &Value, key: &str) -> String {
    let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let algorithm = match header["alg"].as_str() {
        Some("HS512") => Algorithm::HS512,
        Some("HS384") => Algorithm::HS384,
        _ => return format!("{message}."),
    };
    let key = EncodingKey::from_secret(key.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, algorithm).unwrap();
    format!("{message}.{signature}")
}
