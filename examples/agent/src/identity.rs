//! The agent id, and the credentials.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// The longest agent id the protocol allows, in bytes (POA Protocol, section 1).
const MAX_ID_BYTES: usize = 256;

/// The name by which the server knows this agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentId(String);

/// The reason why a text is not a valid [`AgentId`].
#[derive(Debug, thiserror::Error)]
#[error("an agent id must have 1 to {MAX_ID_BYTES} bytes and no control characters")]
pub struct AgentIdError;

impl AgentId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentId {
    type Err = AgentIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = !text.is_empty() && text.len() <= MAX_ID_BYTES;
        if fits && !text.contains(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err(AgentIdError)
        }
    }
}

/// A user name and a password. The password is never displayed, not even by `Debug`.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    password: String,
}

/// The reason why a user name and a password cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The name is empty, or contains a colon, which ends the name in Basic credentials, or a control character.
    #[error("a user name must not be empty or contain a colon or control characters")]
    UserName,
    /// There is no password.
    #[error("the password is empty")]
    NoPassword,
}

impl Credentials {
    /// The credentials of a user of the auth server.
    ///
    /// # Errors
    /// If they cannot be sent as Basic credentials.
    pub fn new(
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Self, CredentialsError> {
        let (user, password) = (user.into(), password.into());
        if user.is_empty() || user.contains(|c: char| c == ':' || c.is_control()) {
            return Err(CredentialsError::UserName);
        }
        if password.is_empty() {
            return Err(CredentialsError::NoPassword);
        }
        Ok(Self { user, password })
    }

    /// The user name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn basic(&self) -> HeaderValue {
        let encoded = STANDARD.encode(format!("{}:{}", self.user, self.password));
        let mut value = HeaderValue::try_from(format!("Basic {encoded}"))
            .expect("base64 is a valid header value");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_held_to_the_protocol() {
        for bad in ["", "a\nb", "a\0", &"x".repeat(257)] {
            assert!(bad.parse::<AgentId>().is_err(), "{bad:?}");
        }
        for good in ["a", "Knoten 7 ü", &"x".repeat(256)] {
            assert_eq!(good.parse::<AgentId>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn credentials_that_cannot_be_sent_are_refused() {
        assert!(matches!(Credentials::new("a:b", "p"), Err(CredentialsError::UserName)));
        assert!(matches!(Credentials::new("", "p"), Err(CredentialsError::UserName)));
        assert!(matches!(Credentials::new("a", ""), Err(CredentialsError::NoPassword)));
    }

    #[test]
    fn the_password_shows_in_no_debug_text() {
        let credentials = Credentials::new("alice", "alicepassword").unwrap();
        let shown = format!("{credentials:?} {:?}", credentials.basic());
        assert!(shown.contains("alice") && !shown.contains("alicepassword"), "{shown}");
        assert!(!shown.contains("YWxp"), "{shown}");
        assert_eq!(credentials.basic(), "Basic YWxpY2U6YWxpY2VwYXNzd29yZA==");
    }
}
