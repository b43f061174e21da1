//! The rules for user names, and generated names and passwords.

use argon2::password_hash::rand_core::{OsRng, RngCore as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The longest name, in bytes.
const MAX_NAME: usize = 255;
/// The length of generated names, as the original's.
const GENERATED_NAME: usize = 8;
/// The length of generated passwords: 90 random bits.
const GENERATED_PASSWORD: usize = 15;

/// The reason why a text is not a valid user name. The text continues "the name".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.rule())]
#[non_exhaustive]
pub enum InvalidName {
    /// The name is empty.
    Empty,
    /// The name consists of white space only.
    Blank,
    /// The name has more than 255 bytes.
    TooLong,
    /// The name holds a colon, which ends the name in Basic credentials.
    Colon,
    /// The name holds a control character.
    ControlCharacter,
}

impl InvalidName {
    /// The violated rule, to be read after the name of the field: `must not be empty`.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Empty => "must not be empty",
            Self::Blank => "must not consist of white space only",
            Self::TooLong => "must have at most 255 bytes",
            Self::Colon => "must not hold a colon",
            Self::ControlCharacter => "must not hold control characters",
        }
    }
}

/// Checks a name against the rules of protocol section 3.
pub(crate) fn check_name(name: &str) -> Result<(), InvalidName> {
    if name.is_empty() {
        Err(InvalidName::Empty)
    } else if name.len() > MAX_NAME {
        Err(InvalidName::TooLong)
    } else if name.trim().is_empty() {
        Err(InvalidName::Blank)
    } else if name.contains(':') {
        Err(InvalidName::Colon)
    } else if name.chars().any(char::is_control) {
        Err(InvalidName::ControlCharacter)
    } else {
        Ok(())
    }
}

/// A generated name. It starts with a letter or digit, so that no command line mistakes it for an
/// option.
pub(crate) fn generate_name() -> String {
    loop {
        let name = url_safe(GENERATED_NAME);
        if name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return name;
        }
    }
}

/// A generated password.
pub(crate) fn generate_password() -> String {
    url_safe(GENERATED_PASSWORD)
}

/// `length` random characters of the URL-safe Base64 alphabet, 6 bits each, from the system's generator.
pub(crate) fn url_safe(length: usize) -> String {
    let mut bytes = vec![0; length.div_ceil(4) * 3];
    OsRng.fill_bytes(&mut bytes);
    let mut text = URL_SAFE_NO_PAD.encode(bytes);
    text.truncate(length);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_valid_exactly_when_every_rule_holds(name in prop_oneof![".*", "[a-zé:\u{1}\u{85}]{0,300}"]) {
            let valid = (1..=255).contains(&name.len())
                && !name.contains(':')
                && !name.contains(char::is_control);
            prop_assert_eq!(check_name(&name).is_ok(), valid);
        }

        #[test]
        fn any_length_can_be_generated(length in 0usize..100) {
            let text = url_safe(length);
            prop_assert_eq!(text.len(), length);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        }
    }

    #[test]
    fn the_length_counts_bytes() {
        assert_eq!(check_name(&"é".repeat(128)), Err(InvalidName::TooLong));
        assert_eq!(check_name(&"é".repeat(127)), Ok(()));
    }

    #[test]
    fn generated_names_and_passwords_follow_the_rules() {
        for _ in 0..200 {
            let (name, password) = (generate_name(), generate_password());
            assert_eq!((name.len(), password.len()), (8, 15));
            assert!(check_name(&name).is_ok() && !name.starts_with('-'));
        }
        assert_ne!(generate_password(), generate_password());
    }
}
