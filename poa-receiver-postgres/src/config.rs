use poa_core::config::{Duration, Problem, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::location::Location;
use crate::partition::Period;

/// A receiver that stores messages in a PostgreSQL database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The database: `postgres://user:password@host:5432/database`. Options follow a `?`, as in `?sslmode=verify-full&sslrootcert=ca.pem`.
    /// `sslmode` is `disable`, `allow`, `prefer` (the default), `require`, `verify-ca` or `verify-full`.
    pub url: Secret,
    /// The password, used verbatim: no character needs to be written as `%XX`. The default is the password in `url`, or in the file that
    /// the option `passfile` of `url` names.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The schema of the tables. It is created if it is missing.
    #[serde(default = "public")]
    pub schema: String,
    /// A prefix for the names of the tables, so that several hosts or other applications can share a schema.
    #[serde(default)]
    pub table_prefix: String,
    /// Divides new tables by time, into one part for each `day` or `month` (UTC). The period can be changed, which affects parts that are
    /// created from then on. `poa-server db partition` divides existing tables.
    #[serde(default)]
    pub partition: Option<Period>,
    /// How long rows are kept, such as `30d`. From tables divided by time, whole parts are dropped; from others, older rows are removed in
    /// small steps while new ones are stored. Default: all rows are kept.
    #[serde(default)]
    pub retention: Option<Duration>,
    /// The time limit for one statement. Keep it below the receiver's `timeout`.
    #[serde(default = "half_a_minute")]
    pub statement_timeout: Duration,
}

fn public() -> String {
    "public".into()
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

/// The length at which PostgreSQL truncates names, in bytes.
const LONGEST_NAME: usize = 63;
/// The longest suffix to the prefix: `agent_activity`, or `system_stats` with the day of a part.
const LONGEST_ADDED: usize = "system_stats_p20260131".len();
/// The longest time that PostgreSQL supports, in milliseconds.
const LONGEST_TIMEOUT: u128 = i32::MAX as u128;

impl Config {
    /// The default configuration for this database.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            password: None,
            schema: public(),
            table_prefix: String::new(),
            partition: None,
            retention: None,
            statement_timeout: half_a_minute(),
        }
    }

    /// The same with this password, which needs no encoding.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password));
        self
    }

    /// The same in another schema.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// The same with names of tables that start with this prefix.
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

    /// The same, removing rows that are older than this.
    #[must_use]
    pub fn retention(mut self, age: impl Into<Duration>) -> Self {
        self.retention = Some(age.into());
        self
    }

    /// The same with another time limit for a statement.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: impl Into<Duration>) -> Self {
        self.statement_timeout = timeout.into();
        self
    }

    /// The address of the database, with the password.
    ///
    /// # Errors
    /// A text that names the problem of the URL, without any part of it.
    pub(crate) fn location(&self) -> Result<Location, String> {
        let mut location = Location::parse(self.url.expose())?;
        if let Some(password) = &self.password {
            if location.driver.get_password().is_some() {
                return Err(
                    "the password is given twice; remove it here, or remove the key `password`"
                        .into(),
                );
            }
            location.driver.password(password.expose());
        }
        Ok(location)
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(message) = self.location() {
            problems.push(Problem::new("url", message));
        }
        problems.extend(name_problem("schema", &self.schema, 0));
        if !self.table_prefix.is_empty() {
            problems.extend(name_problem("table_prefix", &self.table_prefix, LONGEST_ADDED));
        }
        if self.retention.is_some_and(|age| age.get().is_zero()) {
            let message = "must be greater than zero; write how long rows are kept, such as \"30d\", or leave it out";
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
        let text = problems(&valid().retention(Duration::from_secs(0)));
        assert!(text.starts_with("retention: must be greater than zero"), "{text}");
        let text = problems(&valid().password("hunter2"));
        assert!(
            text.contains("the password is given twice") && !text.contains("hunter2"),
            "{text}"
        );
        let text = problems(&valid().statement_timeout(Duration::from_secs(0)));
        assert!(text.starts_with("statement_timeout: "), "{text}");
    }

    #[test]
    fn a_password_of_its_own_needs_no_encoding() {
        let config = Config::new("postgres://u@db/stats").password("s3cr@/%?Horse");
        assert_eq!(problems(&config), "");
        let location = config.location().unwrap();
        assert_eq!(location.driver.get_password(), Some(&b"s3cr@/%?Horse"[..]));
        assert!(!format!("{config:?} {location:?}").contains("Horse"));
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error =
            serde_json::from_str::<Config>(r#"{"url":"","tls":true}"#).unwrap_err().to_string();
        assert!(
            error.contains("unknown field `tls`, expected one of `url`, `password`, `schema`"),
            "{error}"
        );
    }
}
