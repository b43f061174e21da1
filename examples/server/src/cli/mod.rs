//! The command line.

mod cluster;
mod data;
mod gilmour;
mod leviathan;
mod live;
mod plugin;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use cluster::{Bus, Cluster, Receivers};
pub(crate) use data::{Db, Dlq, DlqArgs, Letters, Place, User, UserArgs};
pub(crate) use gilmour::{Calling, Gilmour, Listening, Way};
pub(crate) use leviathan::{DemoOf, Leviathan, NetworkDemo, Networks, Resolver};
pub(crate) use live::{Graph, GraphFormat, PlanArgs, Reload, Tap, Top};
pub(crate) use plugin::{Form, New, Plugin, Role, Test};

/// The version and the commit it is built from.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("POA_COMMIT"), ")");

/// Collects metrics from agents and delivers them, without loss, to stores and dashboards.
///
/// Exit codes: 0 after an orderly stop that lost nothing; 3 if messages were lost or a plugin did not stop in time; 2 if the
/// configuration or the command line is wrong; 1 if something fails; 130 or 143 after a second signal.
#[derive(Debug, Parser)]
#[command(name = "poa-server", version = VERSION)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The configuration, a file or a directory of .toml files; the default is ./poa.toml if it exists, else a built-in one
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// The log lines to write, such as `debug` or `poa_core=trace,info`; the default is $RUST_LOG
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// The format of the log, on stderr
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,
    /// Runs the server in a process of its own, and collects the processes that others leave behind; always done as process 1
    #[arg(long, hide = true)]
    pub(crate) init: bool,
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
    /// Runs the server; the default command
    Run,
    /// Runs the built-in configuration, and an agent that sends the system metrics of this machine
    Demo(Demo),
    /// Reports every problem in a configuration, and changes nothing
    Check(Check),
    /// Prints the JSON Schema of the configuration
    Schema,
    /// Prints the kinds of handlers and receivers, compiled in and loaded
    List,
    /// Inspects and tests plugins
    #[command(subcommand)]
    Plugin(Plugin),
    /// Creates a plugin project that builds, passes its tests and runs
    New(New),
    /// Manages the users in the data directory, or in the cluster with `engine = "nats"`, also while servers run
    User(UserArgs),
    /// Manages the dead letters in the data directory, also while the server runs
    Dlq(DlqArgs),
    /// Sends requests and signals by topic, and listens to them: by a gateway, or straight over Redis or NATS
    #[command(subcommand)]
    Gilmour(Gilmour),
    /// Joins named network namespaces of this host into networks, without a running server
    #[command(subcommand)]
    Leviathan(Leviathan),
    /// Compacts SQLite files, and divides tables in PostgreSQL by time
    #[command(subcommand)]
    Db(Db),
    /// Lists or forgets the receivers of a cluster, with `engine = "nats"`
    #[command(subcommand)]
    Receivers(Receivers),
    /// Shows the stream and the receivers of a cluster, with `engine = "nats"`
    #[command(subcommand)]
    Cluster(Cluster),
    /// Moves a server from the log of one machine to a cluster, with `engine = "nats"`
    #[command(subcommand)]
    Bus(Bus),
    /// Prints what a reload would start, stop, replace and leave alone
    Plan(PlanArgs),
    /// Reloads the configuration of the running server, and waits for the result
    Reload(Reload),
    /// Prints messages of the running server as they are delivered, sampled, one JSON object per line
    Tap(Tap),
    /// Shows a live table of the running server: agents by rate, and handlers and receivers with their backlogs
    Top(Top),
    /// Draws the configuration: handlers, the bus and receivers
    Graph(Graph),
    /// Prints the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Prints the manual page
    Man,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Check {
    /// Leaves out what depends on this machine: certificates, programs, directories, addresses
    #[arg(long)]
    pub(crate) no_environment: bool,
    /// Does not load the libraries under `[[plugins]]`; their sections are not checked
    #[arg(long)]
    pub(crate) no_plugins: bool,
    /// Runs in the child process of another check
    #[arg(long, hide = true)]
    pub(crate) in_child: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Demo {
    #[command(subcommand)]
    pub(crate) of: Option<DemoOf>,
    /// The directory for everything the server writes
    #[arg(long, value_name = "DIR", default_value = "poa-data")]
    pub(crate) data_dir: PathBuf,
    /// The port of the admin listener; REST listens two above it, auth three above it. 0: any free ports
    #[arg(long, value_name = "PORT", default_value_t = 4000, value_parser = clap::value_parser!(u16).range(..=65_530))]
    pub(crate) listen_base: u16,
    /// How many simulated agents also send; some go away at times and return. With --nodes, 20 unless given
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) agents: u16,
    /// Runs a cluster instead: so many NATS servers, two front ends, two receiver nodes and a fleet, to kill one of them. The servers
    /// listen 40 above the port of --listen-base and further
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(3..=5))]
    pub(crate) nodes: Option<u16>,
    /// The program of the NATS servers, 2.15 or newer; the default is `nats-server` in PATH
    #[arg(long, value_name = "PATH", requires = "nodes")]
    pub(crate) nats_server: Option<PathBuf>,
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
    fn the_config_may_be_anywhere() {
        for args in
            [&["poa-server", "--config", "x"][..], &["poa-server", "check", "--config", "x"]]
        {
            let cli = Cli::try_parse_from(args).unwrap();
            assert_eq!(cli.config.as_deref(), Some(std::path::Path::new("x")));
        }
        let cli = Cli::try_parse_from(["poa-server"]).unwrap();
        assert!(cli.command.is_none() && cli.config.is_none());
    }

    #[test]
    fn the_old_spellings_work_and_are_not_shown() {
        for args in [&["user", "delete", "x"][..], &["dlq", "ls"], &["dlq", "drop", "1"]] {
            assert!(Cli::try_parse_from([&["poa-server"], args].concat()).is_ok(), "{args:?}");
        }
        let help = |name: &str| {
            let mut command = Cli::command();
            command.find_subcommand_mut(name).unwrap().render_help().to_string()
        };
        assert!(!help("user").contains("delete") && !help("dlq").contains("drop"));
    }
}
