//! Tokens: JSON Web Tokens as defined in protocol section 3.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use poa_core::Timestamp;
use poa_core::auth::AuthError;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longer texts are not valid tokens, and their signatures are not checked.
const MAX_TOKEN: usize = 8 * 1024;
/// The part of the signature that identifies a token: 258 bits of a keyed hash of its content.
const FINGERPRINT: usize = 43;
const SECOND: i64 = 1_000_000;

#[derive(Serialize)]
struct Issued<'a> {
    aud: &'a str,
    exp: i64,
    iat: i64,
    iss: &'a str,
    jti: &'a str,
    nbf: i64,
    sub: &'a str,
    typ: &'a str,
}

/// The claims that are read. Times are NumericDates: seconds, possibly with a fraction.
#[derive(Deserialize)]
struct Read {
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    sub: String,
    typ: String,
}

/// The content of a token that was signed with our key, for us. It stays valid as long as the key does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    pub(crate) user: Box<str>,
    /// Microseconds since 1970.
    pub(crate) issued_at: i64,
    not_before: i64,
    pub(crate) expires_at: i64,
    /// Identifies the token in the list of banned ones, without revealing it.
    pub(crate) fingerprint: Box<str>,
}

impl Facts {
    /// Whether the token is valid at this time.
    pub(crate) fn check_time(&self, now: Timestamp) -> Result<(), AuthError> {
        let now = signed(now);
        if now >= self.expires_at {
            Err(AuthError::Expired)
        } else if now < self.not_before {
            Err(AuthError::Unauthorized)
        } else {
            Ok(())
        }
    }
}

/// Microseconds since 1970, as in the database.
pub(crate) fn signed(time: Timestamp) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// The second that a time in microseconds falls into.
pub(crate) const fn second_of(micros: i64) -> i64 {
    micros.div_euclid(SECOND)
}

/// Saturates: the latest possible time serves as well as any.
#[expect(clippy::cast_possible_truncation, reason = "casts from floats saturate")]
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}

/// Issues and reads tokens with one key.
pub(crate) struct Tokens {
    issuer: String,
    life: i64,
    sign: EncodingKey,
    verify: DecodingKey,
    validation: Validation,
}

impl Tokens {
    pub(crate) fn new(issuer: &str, key: &str, life: Duration) -> Self {
        let mut validation = Validation::new(Algorithm::HS512);
        validation.set_audience(&[issuer]);
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["aud", "exp", "iss", "sub"]);
        validation.leeway = 0;
        // Time is checked on each use of the token, so it is not checked here.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self {
            issuer: issuer.to_owned(),
            life: i64::try_from(life.as_secs()).unwrap_or(i64::MAX),
            sign: EncodingKey::from_secret(key.as_bytes()),
            verify: DecodingKey::from_secret(key.as_bytes()),
            validation,
        }
    }

    /// A token for `user`, valid from now on. `since` is the first second whose tokens are valid for that user.
    pub(crate) fn issue(&self, user: &str, now: Timestamp, since: i64) -> String {
        // A user added again within the second of its deletion gets tokens of the next second, so that no token of the old user can
        // be mistaken for one of the new user. `since` is even later if the clock stepped back after the user was added. The tokens
        // are valid by the current clock.
        let now = second_of(signed(now));
        let iat = now.max(since);
        let jti = Uuid::new_v4().to_string();
        let claims = Issued {
            aud: &self.issuer,
            exp: now.saturating_add(self.life),
            iat,
            iss: &self.issuer,
            jti: &jti,
            nbf: now - 1,
            sub: user,
            typ: "access",
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims, &self.sign)
            .expect("strings and numbers always encode, and HMAC takes any key")
    }

    /// The content of a token, if it was signed with our key, for us, to grant access.
    pub(crate) fn read(&self, token: &str) -> Option<Facts> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let claims =
            jsonwebtoken::decode::<Read>(token, &self.verify, &self.validation).ok()?.claims;
        let (_, signature) = token.rsplit_once('.')?;
        (claims.typ == "access").then_some(Facts {
            user: claims.sub.into(),
            issued_at: micros(claims.iat),
            not_before: claims.nbf.map_or(i64::MIN, micros),
            expires_at: micros(claims.exp),
            fingerprint: signature.get(..FINGERPRINT)?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "a key of some length, though not as long as it should be";
    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_250_000);

    fn tokens() -> Tokens {
        Tokens::new("poa_backend", KEY, Duration::from_secs(3600))
    }

    fn claims() -> Value {
        json!({
            "aud": "poa_backend", "iss": "poa_backend", "typ": "access", "sub": "alice", "jti": "x",
            "iat": 1_800_000_000, "nbf": 1_799_999_999, "exp": 1_800_003_600,
        })
    }

    fn signed_with(header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(KEY.as_bytes())).unwrap()
    }

    fn read(claims: &Value) -> Option<Facts> {
        tokens().read(&signed_with(&Header::new(Algorithm::HS512), claims))
    }

    fn with(name: &str, value: Value) -> Value {
        let mut changed = claims();
        changed[name] = value;
        changed
    }

    fn without(name: &str) -> Value {
        let mut changed = claims();
        changed.as_object_mut().unwrap().remove(name);
        changed
    }

    #[test]
    fn reads_what_it_issued() {
        let facts = tokens().read(&tokens().issue("josé", NOW, 0)).unwrap();
        assert_eq!(&*facts.user, "josé");
        assert_eq!(facts.issued_at, 1_800_000_000 * SECOND);
        assert_eq!(facts.not_before, 1_799_999_999 * SECOND);
        assert_eq!(facts.expires_at, 1_800_003_600 * SECOND);
    }

    #[test]
    fn issues_exactly_the_claims_of_the_protocol() {
        let token = tokens().issue("alice", NOW, 0);
        let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
        let mut next = || serde_json::from_slice::<Value>(&parts.next().unwrap()).unwrap();
        assert_eq!(next(), json!({"alg": "HS512", "typ": "JWT"}));
        let mut issued = next();
        let jti: Uuid = issued["jti"].as_str().unwrap().parse().unwrap();
        assert_eq!(jti.get_version_num(), 4);
        issued["jti"] = "x".into();
        assert_eq!(issued, claims());
    }

    #[test]
    fn a_missing_or_wrong_claim_invalidates_the_token() {
        assert!(read(&claims()).is_some());
        for name in ["aud", "iss", "typ", "sub", "iat", "exp"] {
            assert_eq!(read(&without(name)), None, "{name}");
            assert_eq!(read(&with(name, Value::Null)), None, "{name}");
            assert_eq!(read(&with(name, json!({}))), None, "{name}");
        }
        for name in ["aud", "iss", "typ"] {
            assert_eq!(read(&with(name, "other".into())), None, "{name}");
        }
        assert_eq!(read(&with("sub", 5.into())), None);
        assert_eq!(read(&with("nbf", "soon".into())), None);
        assert_eq!(read(&json!([1])), None);
    }

    #[test]
    fn optional_claims_may_be_missing_and_times_may_have_fractions() {
        assert_eq!(read(&without("nbf")).unwrap().check_time(NOW).ok(), Some(()));
        assert!(read(&without("jti")).is_some());
        assert_eq!(read(&with("exp", 1.5.into())).unwrap().expires_at, 1_500_000);
        assert_eq!(read(&with("exp", 1e15.into())).unwrap().expires_at, i64::MAX);
    }

    #[test]
    fn only_hs512_is_accepted_and_other_header_fields_are_ignored() {
        let mut header = Header::new(Algorithm::HS512);
        header.kid = Some("any".to_owned());
        assert!(tokens().read(&signed_with(&header, &claims())).is_some());
        for algorithm in [Algorithm::HS256, Algorithm::HS384] {
            assert_eq!(tokens().read(&signed_with(&Header::new(algorithm), &claims())), None);
        }
        let body = URL_SAFE_NO_PAD.encode(claims().to_string());
        for none in ["none", "None", "NONE"] {
            let header = URL_SAFE_NO_PAD.encode(json!({"alg": none, "typ": "JWT"}).to_string());
            assert_eq!(tokens().read(&format!("{header}.{body}.")), None);
        }
    }

    #[test]
    fn texts_that_are_not_tokens_are_refused() {
        let good = signed_with(&Header::new(Algorithm::HS512), &claims());
        let other = Tokens::new("poa_backend", "another key", Duration::from_secs(1));
        assert_eq!(other.read(&good), None);
        for text in [
            "",
            ".",
            "..",
            "...",
            "a.b.c",
            &good[..good.len() - 1],
            &format!("{good}A"),
            &format!("{good}."),
        ] {
            assert_eq!(tokens().read(text), None, "{text}");
        }
        assert_eq!(tokens().read(&"a".repeat(MAX_TOKEN + 1)), None);
    }

    #[test]
    fn a_signature_has_one_encoding_so_a_ban_cannot_be_evaded() {
        let good = signed_with(&Header::new(Algorithm::HS512), &claims());
        let (front, last) = good.split_at(good.len() - 1);
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=";
        for other in alphabet.chars().filter(|c| !last.contains(*c)) {
            assert_eq!(tokens().read(&format!("{front}{other}")), None, "{other}");
        }
    }

    #[test]
    fn time_is_checked_to_the_microsecond() {
        let facts = read(&claims()).unwrap();
        let at = |micros| facts.check_time(Timestamp::from_micros(micros));
        assert!(matches!(at(1_799_999_998_999_999), Err(AuthError::Unauthorized)));
        assert!(at(1_799_999_999_000_000).is_ok());
        assert!(at(1_800_003_599_999_999).is_ok());
        assert!(matches!(at(1_800_003_600_000_000), Err(AuthError::Expired)));
    }

    /// A user was added while the clock was two hours ahead.
    #[test]
    fn a_new_token_is_valid_although_the_clock_stepped_back() {
        let since = 1_800_007_200;
        let facts = tokens().read(&tokens().issue("alice", NOW, since)).unwrap();
        assert!(second_of(facts.issued_at) >= since);
        assert!(facts.check_time(NOW).is_ok());
        // Its lifetime is that of any other.
        assert_eq!(facts.expires_at, 1_800_003_600 * SECOND);
    }

    #[test]
    fn a_token_of_the_next_second_is_valid_in_this_one() {
        let facts = tokens().read(&tokens().issue("alice", NOW, 1_800_000_001)).unwrap();
        assert_eq!(facts.issued_at, 1_800_000_001 * SECOND);
        assert!(facts.check_time(NOW).is_ok());
    }
}
