//! Requests and signals by topic.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Gilmour {
    /// Sends a request, and prints the data of its reply; exit code 1 unless its code is from 200 to 299
    Request(Calling),
    /// Sends a signal, and prints how many subscriptions it reached
    Signal(Calling),
    /// Prints signals, or with --service requests, until it is interrupted
    Listen(Listening),
}

#[derive(Debug, Args)]
pub(crate) struct Calling {
    /// The topic
    pub(crate) topic: String,
    /// The data: JSON, or a text where it is not; null without it
    pub(crate) data: Option<String>,
    /// Refuses data that is not JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// How long the reply may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) way: Way,
}

#[derive(Debug, Args)]
pub(crate) struct Listening {
    /// The topic; of signals also a pattern such as `log.*`
    pub(crate) topic: String,
    /// Answers requests instead of taking signals: with their own data, or as --exec says
    #[arg(long)]
    pub(crate) service: bool,
    /// The exclusion group: of all listeners in it, one gets a message
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// A shell command for each message: the data is its standard input, its standard output is the
    /// reply. Exit code 65 refuses the data (code 422), any other but 0 is a failure (500)
    #[arg(long, value_name = "COMMAND")]
    pub(crate) exec: Option<String>,
    #[command(flatten)]
    pub(crate) way: Way,
}

#[derive(Debug, Args)]
pub(crate) struct Way {
    /// The gateway, a handler of kind `gilmour`
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) gateway: String,
    /// A file that holds the token of the gateway
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// A Redis server in place of the gateway, such as redis://127.0.0.1:6379
    #[arg(long, value_name = "URL", conflicts_with_all = ["gateway", "token_file", "nats"])]
    pub(crate) redis: Option<String>,
    /// NATS servers in place of the gateway, such as nats://127.0.0.1:4222, with commas between them
    #[arg(long, value_name = "URLS", conflicts_with_all = ["gateway", "token_file"])]
    pub(crate) nats: Option<String>,
}
