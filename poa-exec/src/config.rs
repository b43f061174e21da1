//! The configuration of receivers and handlers alike.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use poa_core::config::{Duration, Problem, Secret, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::process::Command;

/// A plugin that runs as a child process.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The program and its arguments, such as `["python3", "store.py"]`. No shell interprets it. A program without a
    /// slash is looked up in `PATH`.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// The working directory of the program, which relative paths in `command` start at. The default is the directory
    /// of the host.
    pub directory: Option<PathBuf>,
    /// Environment variables. Of the variables of the host it inherits only a few without secrets, such as `PATH`, `HOME`,
    /// `LANG` and `TZ`.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// The names of more variables of the host that it inherits, such as `["PYTHONPATH"]`.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// Options passed to it as JSON when it starts.
    #[serde(default)]
    pub options: Options,
    /// The time limit for it to report that it is ready.
    #[serde(default = "default_start_timeout")]
    pub start_timeout: Duration,
    /// The time limit for it to exit after it was told to stop. Then it is sent SIGTERM, and a second later it is
    /// killed.
    #[serde(default = "default_stop_timeout")]
    pub stop_timeout: Duration,
    /// The longest line it can write.
    #[serde(default = "default_max_line")]
    pub max_line: Size,
}

const fn default_start_timeout() -> Duration {
    Duration::from_secs(10)
}

const fn default_stop_timeout() -> Duration {
    Duration::from_secs(3)
}

const fn default_max_line() -> Size {
    Size::bytes(16 << 20)
}

/// Variables of the host that a child gets. None of them holds a secret.
const PASSED: [&str; 14] = [
    "HOME",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "PATH",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "SYSTEMROOT",
    "TEMP",
    "TMPDIR",
    "TZ",
    "USER",
];

impl Config {
    /// The defaults for this program with its arguments.
    #[must_use]
    pub fn new<A: Into<String>>(command: impl IntoIterator<Item = A>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            directory: None,
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            options: Options::default(),
            start_timeout: default_start_timeout(),
            stop_timeout: default_stop_timeout(),
            max_line: default_max_line(),
        }
    }

    /// Adds an option that is passed to the child.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.options.0.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.command.first().is_none_or(String::is_empty) {
            let cure =
                "is empty; write the program and its arguments as [\"python3\", \"plugin.py\"]";
            problems.push(Problem::new("command", cure));
        }
        for (name, bound) in
            [("start_timeout", self.start_timeout), ("stop_timeout", self.stop_timeout)]
        {
            if bound.get().is_zero() {
                problems.push(Problem::new(name, "must be greater than zero"));
            }
        }
        let names = self.env.keys().map(|name| ("env", name));
        for (key, name) in names.chain(self.pass_env.iter().map(|name| ("pass_env", name))) {
            if name.is_empty() || name.contains(['=', '\0']) {
                let message = format!("`{name}` is not a valid name of a variable");
                problems.push(Problem::new(key, message));
            }
        }
        problems
    }

    /// The name of the child in messages: without arguments, which can contain a secret.
    pub(crate) fn shown(&self) -> String {
        let script = self.command.get(1).filter(|argument| !argument.starts_with('-'));
        self.command.first().into_iter().chain(script).cloned().collect::<Vec<_>>().join(" ")
    }

    /// Whether the child gets this variable of the host.
    fn passes(&self, name: &OsStr) -> bool {
        let Some(name) = name.to_str() else { return false };
        PASSED.contains(&name)
            || name.starts_with("LC_")
            || self.pass_env.iter().any(|more| more == name)
    }

    /// The command of the child.
    pub(crate) fn command(&self) -> Command {
        let program = self.command.first().map_or("", String::as_str);
        // Systems differ in the directory that a relative program is looked up in, so it is resolved here.
        let mut command = match &self.directory {
            Some(directory) if program.contains('/') => Command::new(directory.join(program)),
            _ => Command::new(program),
        };
        command.args(self.command.iter().skip(1));
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| self.passes(name)));
        command.envs(self.env.iter().map(|(name, value)| (name, value.expose())));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }
}

/// A table that is passed on unchanged. Its values never appear in logs.
#[derive(Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Options(pub Map<String, Value>);

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_found_without_starting_anything() {
        let text = r#"{"command": [], "env": {"A=B": "x"}, "stop_timeout": "0s"}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        let problems: Vec<_> = config.problems().iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "command: is empty; write the program and its arguments as [\"python3\", \"plugin.py\"]",
                "stop_timeout: must be greater than zero",
                "env: `A=B` is not a valid name of a variable",
            ]
        );
    }

    #[test]
    fn nothing_secret_shows() {
        let mut config = Config::new(["tool", "--password=hunter2"]).option("token", "hunter2");
        config.env.insert("KEY".to_owned(), Secret::new("hunter2"));
        assert_eq!(config.shown(), "tool");
        let shown = format!("{:?} {:?}", config.options, config.env);
        assert_eq!(shown, r#"{"token"} {"KEY": [redacted]}"#);
    }
}
