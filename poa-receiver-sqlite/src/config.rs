use std::path::PathBuf;

use poa_core::config::{Duration, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A receiver that stores messages in an SQLite database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The database file, relative to `data_dir`. Its directory must exist; the file is created if missing, readable by its owner only.
    pub path: PathBuf,
    /// How long to wait for another program that holds the database locked. Keep it below the receiver's `timeout`.
    pub busy_timeout: Duration,
    /// How long rows are kept, such as `30d`. Older rows are removed in small steps while new ones are stored. Default: all rows are
    /// kept.
    pub retention: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self { path: "metrics.db".into(), busy_timeout: Duration::from_secs(5), retention: None }
    }
}

/// The longest wait that SQLite supports, in milliseconds.
const LONGEST_WAIT: u128 = i32::MAX as u128;

impl Config {
    /// The default configuration with another database file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// The same with another limit on the wait for a locked database.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: impl Into<Duration>) -> Self {
        self.busy_timeout = timeout.into();
        self
    }

    /// The same, removing rows that are older than this.
    #[must_use]
    pub fn retention(mut self, age: impl Into<Duration>) -> Self {
        self.retention = Some(age.into());
        self
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.path.file_name().is_none() {
            let path = self.path.display();
            let message =
                format!("`{path}` does not name a file; write one such as \"metrics.db\"");
            problems.push(Problem::new("path", message));
        }
        if self.busy_timeout.get().as_millis() > LONGEST_WAIT {
            let message = format!("`{}` is too long; write 24 days or less", self.busy_timeout);
            problems.push(Problem::new("busy_timeout", message));
        }
        if self.retention.is_some_and(|age| age.get().is_zero()) {
            let message = "must be greater than zero; write how long rows are kept, such as \"30d\", or leave it out";
            problems.push(Problem::new("retention", message));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::Config;
    use poa_core::config::Duration;

    fn problem_with(config: &Config) -> String {
        let problems: Vec<_> = config.problems().iter().map(ToString::to_string).collect();
        problems.join("\n")
    }

    #[test]
    fn the_default_has_no_problem() {
        assert_eq!(problem_with(&Config::default()), "");
    }

    #[test]
    fn problems_name_the_key_and_the_cure() {
        let text = problem_with(&Config::new(""));
        assert!(text.starts_with("path: `` does not name a file"), "{text}");
        assert!(problem_with(&Config::new("a/..")).contains("path: `a/..` does not name a file"));
        let text = problem_with(&Config::default().busy_timeout(Duration::from_secs(3_000_000)));
        assert!(text.starts_with("busy_timeout:") && text.contains("24 days"), "{text}");
        let text = problem_with(&Config::default().retention(Duration::from_secs(0)));
        assert!(text.starts_with("retention: must be greater than zero"), "{text}");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<Config>(r#"{"file":"x"}"#).unwrap_err().to_string();
        assert!(
            error.contains(
                "unknown field `file`, expected one of `path`, `busy_timeout`, `retention`"
            ),
            "{error}"
        );
    }
}
