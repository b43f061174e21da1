use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes in a configuration, written `64KiB`, `8MB`, or as a plain number of bytes.
///
/// ```
/// use poa_core::config::Size;
///
/// /// A section of a configuration: `max_body = "64KiB"`.
/// #[derive(serde::Deserialize)]
/// struct Config {
///     max_body: Size,
/// }
///
/// let config: Config = serde_json::from_str(r#"{ "max_body": "64KiB" }"#)?;
/// assert_eq!(config.max_body.get(), 65_536);
/// assert_eq!(config.max_body.to_string(), "64.0 KiB");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// This many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytesize::ByteSize(self.0).display().iec().fmt(f)
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a size such as \"64KiB\" or a number of bytes")]
enum Written<'a> {
    Bytes(u64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map(|size: bytesize::ByteSize| Self(size.0)).map_err(|_| {
                serde::de::Error::custom(format!(
                    "`{text}` is not a valid size; write a number and a unit, such as \"64KiB\" or \"8MB\""
                ))
            }),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl schemars::JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "integer"],
            "minimum": 0,
            "description": "A number of bytes, with or without a unit, such as 64KiB, 8MB, 4096.",
            "examples": ["64KiB", "8MB"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn reads_units_and_numbers() {
        assert_eq!(serde_json::from_str::<Size>(r#""64KiB""#).unwrap(), Size::bytes(65_536));
        assert_eq!(serde_json::from_str::<Size>(r#""8MB""#).unwrap(), Size::bytes(8_000_000));
        assert_eq!(serde_json::from_str::<Size>("17").unwrap(), Size::bytes(17));
    }

    #[test]
    fn refuses_with_the_cure() {
        let error = serde_json::from_str::<Size>(r#""many""#).unwrap_err().to_string();
        assert!(error.contains("`many` is not a valid size"), "{error}");
        let error = serde_json::from_str::<Size>("-1").unwrap_err().to_string();
        assert!(error.contains("a size such as"), "{error}");
    }
}
