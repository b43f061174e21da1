//! Fingerprints of passwords that are good in this process only.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};

use crate::name::url_safe;

/// Makes and compares fingerprints under a random key that never leaves the process.
///
/// A fast hash would be wrong at rest, where it invites guessing. In memory it spares a password from being kept as text,
/// and lets it be compared in constant time.
pub(crate) struct Mac {
    sign: EncodingKey,
    verify: DecodingKey,
}

/// The fingerprint of a password.
pub(crate) type Tag = String;

impl Mac {
    pub(crate) fn new() -> Self {
        let key = url_safe(64);
        Self {
            sign: EncodingKey::from_secret(key.as_bytes()),
            verify: DecodingKey::from_secret(key.as_bytes()),
        }
    }

    pub(crate) fn tag(&self, password: &str) -> Tag {
        crypto::sign(password.as_bytes(), &self.sign, Algorithm::HS512)
            .expect("HMAC takes any key and any text")
    }

    /// True when `tag` was made of `password`. Takes the same time wherever they differ.
    pub(crate) fn matches(&self, tag: &str, password: &str) -> bool {
        crypto::verify(tag, password.as_bytes(), &self.verify, Algorithm::HS512).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::Mac;

    #[test]
    fn tells_passwords_apart_and_means_nothing_elsewhere() {
        let mac = Mac::new();
        let tag = mac.tag("password");
        assert!(mac.matches(&tag, "password"));
        assert!(!mac.matches(&tag, "Password"));
        assert!(!mac.matches("no tag", "password"));
        assert!(!Mac::new().matches(&tag, "password"));
    }
}
