//! The bundled poa server: the plugins of this repository behind one command line.

mod cli;
mod contract;
mod demo;
mod dlq;
mod embedded;
mod failure;
mod files;
mod logs;
mod output;
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
use failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(failure) = logs::start(&cli) {
        return failure.report();
    }
    match act(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(),
    }
}

fn act(cli: Cli) -> Result<u8, Failure> {
    let config = cli.config.as_deref();
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => on_runtime(serve::serve(embedded::source(config))),
        Command::Demo(options) => on_runtime(demo::demo(options)),
        Command::Check => serve::check(config),
        Command::Schema => {
            let kinds = embedded::source(config).kinds(&registry::registry())?;
            output::say(format_args!("{:#}", poa_host::schema(&kinds.registry)));
            Ok(0)
        }
        Command::List => plugin::list(&embedded::source(config)),
        Command::Plugin(cli::Plugin::Inspect { file }) => plugin::inspect(&file),
        Command::Plugin(cli::Plugin::Test(options)) => {
            on_runtime(contract::test(embedded::source(config), options))
        }
        Command::New(options) => scaffold::new(&options),
        Command::Dlq(command) => dlq::dlq(&command, &embedded::source(config)),
        Command::User(command) => on_runtime(user::user(command, embedded::source(config))),
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
