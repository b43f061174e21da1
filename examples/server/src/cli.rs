//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Takes metrics from agents and hands them to receivers that store, show or pass them on.
///
/// Ends with 0 after a drain that lost nothing, 3 when messages were lost, 2 for problems of the
/// configuration or the command line, 1 when something fails, and 130 or 143 on a second signal.
#[derive(Debug, Parser)]
#[command(name = "poa-server", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The configuration; ./poa.toml if that exists, else a built-in one
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What is logged, such as `debug` or `poa_core=trace,info`; RUST_LOG does the same
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// How it is logged, on stderr
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines to read
    Human,
    /// One JSON object per line
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the server; this is what happens without a command
    Run,
    /// Runs the built-in configuration and an agent that sends this machine's system metrics
    Demo(Demo),
    /// Tells everything that is wrong with a configuration, and touches nothing
    Check,
    /// Prints the JSON Schema of the configuration
    Schema,
    /// Prints the kinds of handlers and receivers there are, compiled in and loaded
    List,
    /// Tells what a shared library offers
    #[command(subcommand)]
    Plugin(Plugin),
    /// Writes a plugin to begin with, which builds, passes its tests and runs
    New(New),
    /// Manages the users in the data directory, also while the server runs
    #[command(subcommand)]
    User(User),
    /// Manages the dead letters in the data directory, also while the server runs
    #[command(subcommand)]
    Dlq(Dlq),
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// What it is to be
    #[arg(value_enum)]
    pub(crate) role: Role,
    /// Its name, as a crate may be called
    pub(crate) name: String,
    /// A script in Python, run as a child process, in place of a crate to be compiled in
    #[arg(long, group = "form")]
    exec: bool,
    /// A crate that is a shared library
    #[arg(long, group = "form")]
    dylib: bool,
    /// A shared library in C
    #[arg(long, group = "form")]
    c: bool,
    /// Where to write it; a directory of its name if missing
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
    /// Prints name, version, interface and kinds; loads the library, and calls none of its functions
    Inspect {
        /// The library
        file: PathBuf,
    },
    /// Runs the contract suite against a plugin of the configuration, whatever it is written in. It logs nothing unless told to
    Test(Test),
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Its name: the `x` of [receivers.x] or [handlers.x]
    pub(crate) name: String,
    /// For a receiver: prints the ids of the messages it has stored, one a line, oldest first. A shell runs it; $POA_DATA_DIR is
    /// the data directory
    #[arg(long, value_name = "COMMAND", required_unless_present = "send")]
    pub(crate) stored: Option<String>,
    /// For a handler: sends one message of type system_metrics to the endpoint $1, and ends with 0 if the answer was positive. A
    /// shell runs it
    #[arg(long, value_name = "COMMAND", conflicts_with = "stored")]
    pub(crate) send: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// Lists messages that could not be delivered
    Ls {
        /// Only those of this receiver
        #[arg(long, value_name = "NAME")]
        receiver: Option<String>,
    },
    /// Shows one with its data, as JSON
    Show {
        /// Its number in the list
        id: i64,
        /// Only the data, byte for byte as the agent sent it
        #[arg(long)]
        raw: bool,
    },
    /// Has messages delivered again: within a second by a running server, else after its next start
    Replay(Letters),
    /// Forgets messages for good
    Drop(Letters),
}

/// Which dead letters.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Letters {
    /// Their numbers in the list
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<i64>,
    /// Those of this receiver
    #[arg(long, value_name = "NAME")]
    pub(crate) receiver: Option<String>,
    /// All of them
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The directory for everything the server writes
    #[arg(long, value_name = "DIR", default_value = "poa-data")]
    pub(crate) data_dir: PathBuf,
    /// The port of the admin listener; REST listens two above it, auth three above it. 0: any free ports
    #[arg(long, value_name = "PORT", default_value_t = 4000, value_parser = clap::value_parser!(u16).range(..=65_530))]
    pub(crate) listen_base: u16,
    /// How many simulated agents send as well, some of which go away at times and return
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) agents: u16,
}

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Adds a user; prints the password if it was made up
    Add {
        /// The name; made up if missing
        name: Option<String>,
        /// A file that holds the password; made up if missing
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// The only agent the user may speak for
        #[arg(long, value_name = "ID")]
        agent_id: Option<String>,
    },
    /// Lists all users
    List,
    /// Lets a user neither log in nor speak
    Ban {
        /// The name
        name: String,
    },
    /// Takes a ban back
    Unban {
        /// The name
        name: String,
    },
    /// Deletes a user
    Delete {
        /// The name
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_config_may_stand_anywhere() {
        for args in
            [&["poa-server", "--config", "x"][..], &["poa-server", "check", "--config", "x"]]
        {
            let cli = Cli::try_parse_from(args).unwrap();
            assert_eq!(cli.config.as_deref(), Some(std::path::Path::new("x")));
        }
        let cli = Cli::try_parse_from(["poa-server"]).unwrap();
        assert!(cli.command.is_none() && cli.config.is_none());
    }
}
