use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time in a configuration, written `250ms`, `7s`, `1h 30m`.
///
/// ```
/// use poa_core::config::Duration;
///
/// /// A section of a configuration: `interval = "1m 30s"`.
/// #[derive(serde::Deserialize)]
/// struct Config {
///     interval: Duration,
/// }
///
/// let config: Config = serde_json::from_str(r#"{ "interval": "1m 30s" }"#)?;
/// assert_eq!(config.interval.get(), std::time::Duration::from_secs(90));
/// // A number alone would leave the unit to guesses.
/// assert!(serde_json::from_str::<Config>(r#"{ "interval": 90 }"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

impl Duration {
    /// A length of time in seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(std::time::Duration::from_secs(secs))
    }

    /// A length of time in milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// The length as a [`std::time::Duration`].
    #[must_use]
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|_| {
            serde::de::Error::custom(format!(
                "`{text}` is not a valid duration; write a number and a unit, such as \"250ms\", \"7s\" or \"1h\""
            ))
        })
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A length of time: a number and a unit, such as 250ms, 7s, 1h.",
            "examples": ["250ms", "7s", "1h"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Duration;

    #[test]
    fn reads_and_shows_units() {
        let read: Duration = serde_json::from_str(r#""250ms""#).unwrap();
        assert_eq!(read, Duration::from_millis(250));
        assert_eq!(Duration::from_secs(3600).to_string(), "1h");
    }

    #[test]
    fn a_bare_number_is_refused_with_the_cure() {
        let error = serde_json::from_str::<Duration>(r#""7""#).unwrap_err().to_string();
        assert!(
            error.contains("`7` is not a valid duration") && error.contains("\"7s\""),
            "{error}"
        );
    }
}
