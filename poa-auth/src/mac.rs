//! Fingerprints of passwords that are valid in this process only.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};

use crate::name::url_safe;

/// Creates and compares fingerprints under a random key that never leaves the process.
///
/// A fast hash would be wrong at rest, where it invites guessing. In memory it avoids keeping passwords as text, and
/// allows a comparison in constant time.
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

    /// Whether `tag` is the fingerprint of `password`. Takes the same time wherever they differ.
    pub(crate) fn matches(&self, tag: &str, password: &str) -> bool {
        crypto::verify(tag, password.as_bytes(), &self.verify, Algorithm::HS512).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::Mac;

    #[test]
    fn distinguishes_passwords_and_is_useless_elsewhere() {
        let mac = Mac::new();
        let tag = mac.tag("password");
        assert!(mac.matches(&tag, "password"));
        assert!(!mac.matches(&tag, "Password"));
        assert!(!mac.matches("no tag", "password"));
        assert!(!Mac::new().matches(&tag, "password"));
    }
}
