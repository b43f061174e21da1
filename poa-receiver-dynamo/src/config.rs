use poa_core::BuildContext;
use poa_core::config::{Duration, Problem, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Stores Ethereum blocks in DynamoDB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The table. Its partition key is `msg_type` and its sort key `msg_time`, both strings.
    pub table: String,
    /// Whether to create the table, with on-demand billing, when it is missing.
    #[serde(default)]
    pub create_table: bool,
    /// Whether every `msg_time` contains the message id. Set it on each of several hosts that write to the same table.
    /// Otherwise the first host of a table uses times without an id, and the others detect that and add it.
    #[serde(default)]
    pub shared: bool,
    /// The AWS region. The default comes from the environment, the AWS profile or the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The URL of a DynamoDB other than that of the region, such as DynamoDB Local.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The id of an access key. The default comes from the usual chain of AWS: environment, profile, container,
    /// machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// The secret of that access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
    /// The time limit for the answer to one request, and for writing a batch, including what DynamoDB throttles,
    /// before the rest is postponed. At most a fifth of the receiver's `timeout`.
    #[serde(default = "default_request_timeout")]
    pub request_timeout: Duration,
}

fn default_request_timeout() -> Duration {
    Duration::from_secs(10)
}

/// The most time that a call can take, in multiples of `request_timeout`, with some margin: it starts requests for
/// one, waits for the last answer for another, and then checks the table to attribute an error.
const STEPS: u32 = 5;

impl Config {
    /// A table in the region and with the credentials from the environment.
    pub fn new(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            create_table: false,
            shared: false,
            region: None,
            endpoint: None,
            access_key_id: None,
            secret_access_key: None,
            request_timeout: default_request_timeout(),
        }
    }

    /// Creates the table when it is missing.
    #[must_use]
    pub fn create_table(mut self) -> Self {
        self.create_table = true;
        self
    }

    /// Adds the message id to every `msg_time`, as the other hosts that write to the table do.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Sets the AWS region.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Sets the URL.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Sets the access key.
    #[must_use]
    pub fn access_key(mut self, id: impl Into<String>, secret: Secret) -> Self {
        self.access_key_id = Some(id.into());
        self.secret_access_key = Some(secret);
        self
    }

    /// Sets the time limit for an answer and for the retries of throttled requests.
    #[must_use]
    pub fn request_timeout(mut self, timeout: impl Into<Duration>) -> Self {
        self.request_timeout = timeout.into();
        self
    }

    /// Limits `request_timeout` so that a call fits into the time that the host allows. Otherwise the host would drop
    /// the receiver with its record of stored items, and a slow table would never finish a batch.
    pub(crate) fn within(mut self, cx: &BuildContext) -> Self {
        let most = cx.call_timeout().map(|timeout| Duration::from(timeout / STEPS));
        if let Some(most) = most.filter(|most| *most < self.request_timeout) {
            let (given, name) = (self.request_timeout, cx.name());
            tracing::warn!(
                receiver = name,
                "`request_timeout` is {given}, more than a fifth of `timeout`; using {most}; raise `timeout` of `receivers.{name}`, or lower `request_timeout`"
            );
            self.request_timeout = most;
        }
        self
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        let found = [self.table_problem(), self.endpoint_problem(), self.key_problem()];
        let mut problems: Vec<_> = found.into_iter().flatten().collect();
        if self.region.as_deref() == Some("") {
            problems.push(Problem::new("region", "is empty; write one such as \"us-east-1\""));
        }
        if self.request_timeout.get().is_zero() {
            let message = "is too short for an answer; write one such as \"10s\"";
            problems.push(Problem::new("request_timeout", message));
        }
        problems
    }

    /// The rule is DynamoDB's: 3 to 255 of these characters.
    fn table_problem(&self) -> Option<Problem> {
        let name = &self.table;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let valid = (3..=255).contains(&name.len()) && name.bytes().all(allowed);
        let message = format!(
            "`{name}` is not a valid table name; write 3 to 255 of a-z, A-Z, 0-9, _, - and ."
        );
        (!valid).then(|| Problem::new("table", message))
    }

    fn endpoint_problem(&self) -> Option<Problem> {
        let url = self.endpoint.as_ref()?;
        let valid = url.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        let message =
            format!("`{url}` is not a valid URL; write one such as \"http://127.0.0.1:8000\"");
        (!valid).then(|| Problem::new("endpoint", message))
    }

    fn key_problem(&self) -> Option<Problem> {
        let (missing, given) = match (&self.access_key_id, &self.secret_access_key) {
            (None, Some(_)) => ("access_key_id", "secret_access_key"),
            (Some(_), None) => ("secret_access_key", "access_key_id"),
            _ => return None,
        };
        let message = format!("is missing, but `{given}` is set; set both or neither");
        Some(Problem::new(missing, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem_with(config: &Config) -> String {
        let problems: Vec<_> = config.problems().iter().map(ToString::to_string).collect();
        problems.join("\n")
    }

    #[test]
    fn what_the_examples_show_has_no_problem() {
        let config = Config::new("netstat_prod")
            .region("us-east-1")
            .endpoint("http://127.0.0.1:8000")
            .access_key("key", Secret::new("secret"));
        assert_eq!(problem_with(&config), "");
        assert_eq!(problem_with(&Config::new("a.b-C_3")), "");
    }

    #[test]
    fn problems_name_the_key_and_the_cure() {
        let mut config = Config::new("a b").endpoint("127.0.0.1:8000").region("");
        config.access_key_id = Some("key".into());
        let text = problem_with(&config.request_timeout(Duration::from_secs(0)));
        for line in [
            "table: `a b` is not a valid table name; write 3 to 255 of",
            "endpoint: `127.0.0.1:8000` is not a valid URL; write one such as",
            "secret_access_key: is missing, but `access_key_id` is set",
            "region: is empty; write one",
            "request_timeout: is too short for an answer; write one",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_request_has_a_fifth_of_the_time_of_a_call() {
        let cx = BuildContext::detached("blocks", "unused");
        let asked = |seconds| Config::new("abc").request_timeout(Duration::from_secs(seconds));
        assert_eq!(asked(100).within(&cx), asked(100));
        let cx = cx.with_call_timeout(std::time::Duration::from_secs(60));
        assert_eq!(asked(100).within(&cx), asked(12));
        assert_eq!(asked(10).within(&cx), asked(10));
    }

    #[test]
    fn the_secret_does_not_show() {
        let config = Config::new("blocks").access_key("key", Secret::new("hunter2"));
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_table_must_be_named_and_unknown_keys_are_refused() {
        let error = |json| serde_json::from_str::<Config>(json).unwrap_err().to_string();
        assert!(error("{}").contains("missing field `table`"));
        assert!(error(r#"{"table":"abc","tabel":"x"}"#).contains("unknown field `tabel`"));
    }
}
