//! Networks of this host.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Leviathan {
    /// Brings the networks of a document on the host
    Up(Networks),
    /// Takes the networks of a document off the host
    Down(Networks),
    /// Shows where the networks of a document are, and what of them is missing on the host
    Status(Networks),
    /// Shows what `up` would do, and changes nothing
    Plan {
        #[command(flatten)]
        networks: Networks,
        /// The plan of `down`
        #[arg(long)]
        down: bool,
        /// As shell commands
        #[arg(long)]
        commands: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Networks {
    /// JSON with `cenList`, and optionally `cins`
    pub(crate) file: PathBuf,
    /// The data directory of a server whose networks these are; without it, what is known is kept beside the document
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The directory of named network namespaces
    #[arg(long, value_name = "DIR", default_value = "/run/netns")]
    pub(crate) netns_dir: PathBuf,
    /// The host id
    #[arg(long, default_value = "host1")]
    pub(crate) host: String,
    /// Joins two members by a direct wire in place of a bridge
    #[arg(long)]
    pub(crate) auto_wiring: bool,
}
