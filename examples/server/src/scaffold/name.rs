//! The name of a plugin, in every form it is needed in.

/// A name that a crate may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(String);

/// Words of Rust, and those it keeps for later.
const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final fn for \
    gen if impl in let loop macro match mod move mut override priv pub ref return self static struct super trait true try type \
    typeof unsafe unsized use virtual where while yield";
/// Words of C and C++ that a type cannot be called.
const KEYWORDS_OF_C: &str = "alignas alignof and asm auto bool case catch char class concept default delete double explicit export \
    float friend goto inline int long main mutable namespace new not nullptr operator or private protected public register \
    requires restrict short signed sizeof switch template this throw typedef typeid typename union unsigned using void volatile \
    xor";
/// Names that Cargo would stumble over, and that Windows has no files of.
const RESERVED: &str =
    "alloc aux build con core deps examples incremental nul prn proc-macro std test";
/// Names of crates that the generated code depends on.
const USED: &str =
    "poa-core poa-engine-local poa-plugin poa-testkit schemars serde serde-json tempfile tokio";

impl Name {
    pub(super) fn new(name: &str) -> Result<Self, String> {
        let mut rest = name.chars();
        let first = rest.next().is_some_and(|first| first.is_ascii_lowercase());
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if !first || !rest.all(known) || name.len() > 64 {
            return Err(format!(
                "`{name}` is not a valid crate name; start with a letter, continue with a-z, 0-9, - and _"
            ));
        }
        let hyphenated = name.replace('_', "-");
        let taken = [KEYWORDS, KEYWORDS_OF_C, RESERVED, USED];
        if taken.iter().any(|words| words.split_ascii_whitespace().any(|word| word == hyphenated)) {
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
        for name in ["", "2fast", "Store", "a b", "ä", "-a", "a/b", ".."] {
            assert!(Name::new(name).unwrap_err().contains("is not a valid crate name"), "{name}");
        }
        for name in ["match", "type", "async", "gen", "int", "proc_macro", "serde_json", "tempfile"]
        {
            let error = Name::new(name).unwrap_err();
            assert_eq!(
                error,
                format!("`{name}` is taken; choose another name, such as `my-{name}`")
            );
            Name::new(&format!("my-{name}")).unwrap();
        }
    }

    #[test]
    fn what_a_crate_needs_is_taken() {
        let manifests = [
            include_str!("../../templates/receiver.Cargo.toml"),
            include_str!("../../templates/handler.Cargo.toml"),
        ];
        for manifest in manifests.map(|text| text.parse::<toml::Table>().unwrap()) {
            for of in ["dependencies", "dev-dependencies"] {
                for name in manifest[of].as_table().unwrap().keys() {
                    assert!(Name::new(name).is_err(), "{name}");
                }
            }
        }
    }
}
