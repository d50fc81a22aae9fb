//! `ferrovia reference`, hidden: pages of the reference that only this binary can print. `cargo xtask generate` asks.

mod commands;
mod figures;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::print;

/// What `ferrovia reference` takes.
#[derive(Args)]
pub(crate) struct Reference {
    /// The page.
    page: Page,
}

#[derive(Clone, Copy, ValueEnum)]
enum Page {
    /// The command line.
    Cli,
    /// What `/metrics` shows.
    Metrics,
}

/// Prints the page.
pub(super) fn run(reference: &Reference) -> anyhow::Result<ExitCode> {
    let page = match reference.page {
        Page::Cli => commands::page(),
        Page::Metrics => figures::page()?,
    };
    print::out().write_all(page.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
