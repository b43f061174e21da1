//! Networks of this host.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Further demos.
#[derive(Debug, Subcommand)]
pub(crate) enum DemoOf {
    /// Container networks, in namespaces of their own: needs no privilege, and leaves nothing behind
    Leviathan(NetworkDemo),
}

#[derive(Debug, Args)]
pub(crate) struct NetworkDemo {
    /// The port to listen on, on 127.0.0.1; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    pub(crate) port: u16,
    /// The socket between the two processes of the demo
    #[arg(long, hide = true, requires = "at")]
    pub(crate) inside: Option<PathBuf>,
    /// The address at which the demo is reached from outside
    #[arg(long, hide = true)]
    pub(crate) at: Option<String>,
}

/// The meaning of container ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Resolver {
    /// Network namespaces made with `ip netns add`
    Netns,
    /// Containers of Docker
    Docker,
}

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
    /// The meaning of container ids
    #[arg(long, value_enum, default_value_t = Resolver::Netns)]
    pub(crate) resolver: Resolver,
    /// The socket of the Docker daemon, with `--resolver docker`
    #[arg(long, value_name = "SOCKET", default_value = poa_leviathan::docker::SOCKET)]
    pub(crate) docker_socket: PathBuf,
    /// The host id
    #[arg(long, default_value = "host1")]
    pub(crate) host: String,
    /// Joins two members by a direct wire in place of a bridge
    #[arg(long)]
    pub(crate) auto_wiring: bool,
}
