//! `ferrovia completions`: what a shell needs to complete our command line.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, print};

/// What `ferrovia completions` takes.
#[derive(Args)]
#[command(after_help = "bash:  source <(ferrovia completions bash)\n\
                        zsh:   ferrovia completions zsh > \"${fpath[1]}/_ferrovia\"\n\
                        fish:  ferrovia completions fish > ~/.config/fish/completions/ferrovia.fish")]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

/// Prints the shell's script.
pub(super) fn run(completions: &Completions) -> anyhow::Result<ExitCode> {
    // into memory first: the generator panics when its reader goes away
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Cli::command(), "ferrovia", &mut script);
    print::out().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
