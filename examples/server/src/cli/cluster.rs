//! The commands about a cluster.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Receivers {
    /// Lists every receiver of the cluster: which nodes hold it, and its backlog
    #[command(alias = "ls")]
    List {
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Forgets a receiver: removes its cursors, and discards its backlog
    Forget {
        /// The name of the receiver
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Shows the stream, its replicas and its receivers
    Status {
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bus {
    /// Moves the backlogs in the log of the data directory, and the users, into the cluster; the server must be stopped. Can be repeated
    Migrate,
}
