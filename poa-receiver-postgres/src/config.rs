use poa_core::config::{Duration, Problem, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::location::Location;
use crate::partition::Period;

/// What an operator writes in the section of a PostgreSQL receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The database: `postgres://user:password@host:5432/database`. Options follow a `?`, as in `?sslmode=verify-full&sslrootcert=ca.pem`.
    /// `sslmode` is `disable`, `prefer` (the default), `require`, `verify-ca` or `verify-full`.
    pub url: Secret,
    /// The schema that holds the tables. It is made if missing.
    #[serde(default = "public")]
    pub schema: String,
    /// What the names of the tables begin with, so that several hosts, or other applications, may share a schema.
    #[serde(default)]
    pub table_prefix: String,
    /// Whether the tables are divided by time, into one part for each `day` or `month` (UTC). Whether is decided when the tables are
    /// made; which of the two may change, for the parts that are made from then on.
    #[serde(default)]
    pub partition: Option<Period>,
    /// How long rows are kept: parts that have become older are dropped whole. Only with `partition`. Absent: for ever.
    #[serde(default)]
    pub retention: Option<Duration>,
    /// How long the server may take for one statement. Keep it below the receiver's `timeout`.
    #[serde(default = "half_a_minute")]
    pub statement_timeout: Duration,
}

fn public() -> String {
    "public".into()
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

/// PostgreSQL cuts longer names off, in bytes.
const LONGEST_NAME: usize = 63;
/// What the longest name adds to the prefix: `agent_activity`, or `system_stats` with the day of a part.
const LONGEST_ADDED: usize = "system_stats_p20260131".len();
/// The longest time that PostgreSQL can count, in milliseconds.
const LONGEST_TIMEOUT: u128 = i32::MAX as u128;

impl Config {
    /// The default configuration for this database.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            schema: public(),
            table_prefix: String::new(),
            partition: None,
            retention: None,
            statement_timeout: half_a_minute(),
        }
    }

    /// The same in another schema.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// The same with names of tables that begin with this.
    #[must_use]
    pub fn table_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.table_prefix = prefix.into();
        self
    }

    /// The same with tables that are divided by time.
    #[must_use]
    pub fn partition(mut self, period: Period) -> Self {
        self.partition = Some(period);
        self
    }

    /// The same, dropping what is older than this.
    #[must_use]
    pub fn retention(mut self, age: impl Into<Duration>) -> Self {
        self.retention = Some(age.into());
        self
    }

    /// The same with another bound on the time of a statement.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: impl Into<Duration>) -> Self {
        self.statement_timeout = timeout.into();
        self
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(message) = Location::parse(self.url.expose()) {
            problems.push(Problem::new("url", message));
        }
        problems.extend(name_problem("schema", &self.schema, 0));
        if !self.table_prefix.is_empty() {
            problems.extend(name_problem("table_prefix", &self.table_prefix, LONGEST_ADDED));
        }
        if self.retention.is_some() && self.partition.is_none() {
            let message = "rows can be dropped by age only when the tables are divided; write `partition = \"day\"` or \"month\" as well";
            problems.push(Problem::new("retention", message));
        }
        let timeout = self.statement_timeout.get().as_millis();
        if timeout == 0 || timeout > LONGEST_TIMEOUT {
            let message = format!("`{}` is not between 1ms and 24 days", self.statement_timeout);
            problems.push(Problem::new("statement_timeout", message));
        }
        problems
    }
}

fn name_problem(key: &str, name: &str, added: usize) -> Option<Problem> {
    let longest = LONGEST_NAME - added;
    let fits = !name.is_empty() && name.len() <= longest && !name.contains('\0');
    let message = || format!("`{name}` must have 1 to {longest} bytes, and no NUL character");
    (!fits).then(|| Problem::new(key, message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(config: &Config) -> String {
        let problems: Vec<_> = config.problems().iter().map(ToString::to_string).collect();
        problems.join("\n")
    }

    fn valid() -> Config {
        Config::new("postgres://u:secret@db/stats")
    }

    #[test]
    fn a_url_is_enough() {
        let config: Config =
            serde_json::from_str(r#"{"url":"postgres://u:secret@db/stats"}"#).unwrap();
        assert_eq!(config, valid());
        assert_eq!(problems(&config), "");
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn problems_name_the_key_and_the_cure() {
        let text = problems(&Config::new("mysql://u:secret@db"));
        assert!(text.starts_with("url: ") && !text.contains("secret"), "{text}");
        let text = problems(&valid().schema("").table_prefix("x".repeat(42)));
        assert!(text.contains("schema: `` must have 1 to 63 bytes"), "{text}");
        assert!(text.contains("must have 1 to 41 bytes"), "{text}");
        let text = problems(&valid().retention(Duration::from_secs(1)));
        assert!(
            text.starts_with("retention: ") && text.contains("`partition = \"day\"`"),
            "{text}"
        );
        let text = problems(&valid().statement_timeout(Duration::from_secs(0)));
        assert!(text.starts_with("statement_timeout: "), "{text}");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error =
            serde_json::from_str::<Config>(r#"{"url":"","tls":true}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `tls`, expected one of `url`, `schema`"), "{error}");
    }
}
