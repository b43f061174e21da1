//! The bundled poa server: the plugins of this repository behind one command line.

mod bus;
mod check;
mod cli;
mod cluster;
mod context;
mod contract;
mod db;
mod demo;
mod dlq;
mod embedded;
mod failure;
mod files;
mod first;
mod gilmour;
mod leviathan;
mod live;
mod logs;
mod output;
mod packaging;
mod plugin;
#[cfg(test)]
mod reference;
mod registry;
mod scaffold;
mod serve;
mod user;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use cli::{Cli, Command};
use context::Context;
use failure::Failure;
use logs::Logs;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    if (cli.init || first::is_first()) && matches!(cli.command, None | Some(Command::Run)) {
        return match first::watch_over_server() {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                output::aside(format_args!(
                    "poa-server: cannot run the server in a process of its own: {error}"
                ));
                ExitCode::FAILURE
            }
        };
    }
    let logs = match Logs::new(cli.log_format) {
        Ok(logs) => logs,
        Err(error) => {
            output::aside(format_args!("poa-server: cannot start the thread that logs: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match logs.start(&cli).and_then(|()| act(cli, &logs)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(&logs),
    }
}

/// Prints help, or the mistake in the command line.
fn explain(error: &clap::Error) -> ExitCode {
    let json = std::env::args().any(|arg| arg == "json" || arg == "--log-format=json");
    if json && error.use_stderr() {
        output::aside(logs::as_json("ERROR", error.to_string().trim_end()));
    } else {
        // Without a place to print to, the exit code has to do.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn act(cli: Cli, logs: &Logs) -> Result<u8, Failure> {
    let cx = Context { config: cli.config.as_deref(), logs };
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => on_runtime(serve::serve(cx.source(), logs)),
        Command::Demo(options) => on_runtime(demo::demo(options, logs)),
        Command::Check(options) => on_runtime(check::check(options, cx)),
        Command::Schema => {
            let kinds = cx.source().kinds(&registry::registry())?;
            output::say(format_args!("{:#}", poa_host::schema(&kinds.registry)));
            Ok(0)
        }
        Command::List => plugin::list(&cx.source()),
        Command::Plugin(cli::Plugin::Inspect { file }) => plugin::inspect(&file),
        Command::Plugin(cli::Plugin::Test(options)) => {
            on_runtime(contract::test(cx.source(), options))
        }
        Command::New(options) => scaffold::new(&options),
        Command::Dlq(args) => dlq::dlq(&args, cx),
        Command::User(args) => on_runtime(user::user(args, cx)),
        Command::Db(command) => on_runtime(db::db(command, cx)),
        Command::Receivers(command) => on_runtime(cluster::receivers(command, cx.source())),
        Command::Cluster(command) => on_runtime(cluster::cluster(command, cx.source())),
        Command::Bus(cli::Bus::Migrate) => on_runtime(bus::migrate(cx)),
        Command::Plan(options) => live::plan(&options, cx),
        Command::Reload(options) => live::reload(&options, cx),
        Command::Tap(options) => live::tap(&options, cx),
        Command::Top(options) => live::top(&options, cx),
        Command::Graph(options) => serve::graph(&cx.source(), options),
        Command::Completions { shell } => packaging::completions(shell),
        Command::Man => packaging::man(),
        Command::Gilmour(command) => on_runtime(gilmour::gilmour(command)),
        Command::Leviathan(command) => on_runtime(leviathan::leviathan(command)),
    }
}

fn on_runtime(work: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    files::raise_limit();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new("cannot start threads", error))?;
    let outcome = runtime.block_on(work);
    // A thread that hangs in a system call must not keep the program from ending.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}
