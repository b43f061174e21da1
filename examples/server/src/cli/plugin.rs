//! The commands for plugin authors.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct New {
    /// The role of the plugin
    #[arg(value_enum)]
    pub(crate) role: Role,
    /// The name of the plugin, which must be valid for a crate
    pub(crate) name: String,
    /// Writes a Python script that runs as a child process, instead of a crate to compile in
    #[arg(long, group = "form")]
    exec: bool,
    /// Writes a crate that is a shared library
    #[arg(long, group = "form")]
    dylib: bool,
    /// Writes a shared library in C
    #[arg(long, group = "form")]
    c: bool,
    /// The directory to write to; the default has the name of the plugin
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Brings messages in
    Handler,
    /// Takes messages out
    Receiver,
}

/// How a plugin comes to its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Compiled in.
    Crate,
    /// As a child process.
    Exec,
    /// As a shared library in Rust.
    Dylib,
    /// As a shared library in C.
    C,
}

impl New {
    pub(crate) fn form(&self) -> Form {
        match (self.exec, self.dylib, self.c) {
            (true, ..) => Form::Exec,
            (_, true, _) => Form::Dylib,
            (.., true) => Form::C,
            _ => Form::Crate,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Prints the name, version, interface and kinds of a library without calling its functions
    Inspect {
        /// The library
        file: PathBuf,
    },
    /// Runs the contract suite against a plugin of the configuration, in any language. Logs nothing unless --log is given
    Test(Test),
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The name of the plugin: the `x` of [receivers.x] or [handlers.x]
    pub(crate) name: String,
    /// For a receiver: a shell command that prints the ids of the stored messages, one a line, oldest first. $POA_DATA_DIR is
    /// the data directory
    #[arg(long, value_name = "COMMAND", required_unless_present = "send")]
    pub(crate) stored: Option<String>,
    /// For a handler: a shell command that sends one message of type system_metrics to the endpoint $1, and exits with 0 if the
    /// answer is positive
    #[arg(long, value_name = "COMMAND", conflicts_with = "stored")]
    pub(crate) send: Option<String>,
}
