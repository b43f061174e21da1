//! How the program ends when it cannot do what it was asked.

use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;

use poa_host::{Chain, Problems, ServerError};

use crate::logs::Logs;

/// The lines to print at the end, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    lines: Vec<String>,
    code: u8,
}

impl Failure {
    /// Something failed while the program ran.
    pub(crate) fn new(what: impl Display, error: impl Error + 'static) -> Self {
        Self::because(format!("{what}: {}", Chain(&error)))
    }

    /// Something failed while the program ran, and this is all there is to say.
    pub(crate) fn because(line: impl Display) -> Self {
        Self { lines: vec![format!("poa-server: {line}")], code: 1 }
    }

    /// True when these words are in what is said.
    pub(crate) fn mentions(&self, words: &str) -> bool {
        self.lines.iter().any(|line| line.contains(words))
    }

    /// The same with one more thing to say.
    pub(crate) fn and(mut self, line: impl Display) -> Self {
        self.lines.push(format!("poa-server: {line}"));
        self
    }

    /// The same with another exit code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Says it on stderr.
    pub(crate) fn report(&self, logs: &Logs) -> ExitCode {
        self.lines.iter().for_each(|line| logs.say("ERROR", line));
        ExitCode::from(self.code)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self { lines: problems.lines().collect(), code: 2 }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let code = error.exit_code();
        match error {
            ServerError::Config(problems) => problems.into(),
            error => Self { code, ..Self::because(Chain(&error)) },
        }
    }
}
