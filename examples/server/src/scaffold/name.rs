//! The name of a plugin, in every form it is needed in.

/// A name that a crate may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(String);

/// Names that Cargo or the compiler would stumble over, and those of what the code depends on.
const TAKEN: [&str; 19] = [
    "alloc",
    "bytes",
    "core",
    "crate",
    "deps",
    "enum",
    "examples",
    "impl",
    "incremental",
    "poa-core",
    "poa-plugin",
    "poa-testkit",
    "schemars",
    "self",
    "serde",
    "serde-json",
    "std",
    "test",
    "tokio",
];

impl Name {
    pub(super) fn new(name: &str) -> Result<Self, String> {
        let mut rest = name.chars();
        let first = rest.next().is_some_and(|first| first.is_ascii_lowercase());
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if !first || !rest.all(known) || name.len() > 64 {
            return Err(format!(
                "`{name}` is no name of a crate; begin with a letter, go on with a-z, 0-9, - and _"
            ));
        }
        if TAKEN.contains(&&*name.replace('_', "-")) {
            return Err(format!("`{name}` is taken; choose another name, such as `my-{name}`"));
        }
        Ok(Self(name.to_owned()))
    }

    /// As it was given: the name of the crate.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// As the name of a library and of a kind.
    pub(super) fn snake(&self) -> String {
        self.0.replace('-', "_")
    }

    /// As the name of a type.
    pub(super) fn pascal(&self) -> String {
        let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
        let words = self.0.split(['-', '_']).filter(|word| !word.is_empty());
        words.map(capital).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_three_forms() {
        let name = Name::new("my-store_2").unwrap();
        assert_eq!(name.as_str(), "my-store_2");
        assert_eq!(name.snake(), "my_store_2");
        assert_eq!(name.pascal(), "MyStore2");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "2fast", "Store", "a b", "ä", "-a", "a/b", "..", "serde_json", "core"] {
            assert!(Name::new(name).is_err(), "{name}");
        }
    }
}
