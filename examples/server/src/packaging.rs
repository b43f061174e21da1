//! The commands for those who package the program.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::give;

/// Prints the completions for a shell.
pub(crate) fn completions(shell: Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "poa-server", &mut script);
    give(&script);
    Ok(0)
}

/// Prints the manual page.
pub(crate) fn man() -> Result<u8, Failure> {
    let mut page = Vec::new();
    let render = render(&mut page);
    render.map_err(|error| Failure::new("cannot write the manual page", error))?;
    give(&page);
    Ok(0)
}

/// The whole program on one page: the options, then each command.
fn render(page: &mut Vec<u8>) -> std::io::Result<()> {
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(page)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        section(sub, page)?;
        for inner in sub.get_subcommands().filter(|inner| inner.get_name() != "help") {
            section(inner, page)?;
        }
    }
    Ok(())
}

fn section(command: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    use std::io::Write as _;
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_uppercase();
    writeln!(page, ".SH \"{name}\"")?;
    let man = clap_mangen::Man::new(command.clone());
    man.render_description_section(page)?;
    man.render_options_section(page)
}
