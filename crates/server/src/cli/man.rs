//! `ferrovia man`: the man page, or that of a subcommand.

use std::io::Write;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, CommandFactory};

use super::{Cli, print};

/// What `ferrovia man` takes.
#[derive(Args)]
#[command(after_help = "ferrovia man | man -l -\nferrovia man doctor > ferrovia-doctor.1")]
pub(crate) struct Man {
    /// The subcommand whose page is wanted. Without it the page of `ferrovia` itself.
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

/// Prints the page.
pub(super) fn run(man: &Man) -> anyhow::Result<ExitCode> {
    let mut command = Cli::command();
    // names such as `ferrovia-doctor` and usage lines are worked out by this
    command.build();
    if let Some(name) = &man.command {
        let found = command.get_subcommands().find(|sub| sub.get_name() == name && !sub.is_hide_set());
        let sub = found.cloned().ok_or_else(|| anyhow!("there is no subcommand {name:?}"))?;
        let (display, version) = (format!("ferrovia-{name}"), env!("CARGO_PKG_VERSION"));
        command = sub.name(display).version(version);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).manual("Ferrovia").render(&mut page)?;
    print::out().write_all(&page)?;
    Ok(ExitCode::SUCCESS)
}
