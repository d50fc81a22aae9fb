//! `ferrovia version`: which version this is.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::print;

/// What `ferrovia version` takes.
#[derive(Args)]
pub(crate) struct Version {
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// The commit that was built, if the builder said so.
const COMMIT: Option<&str> = option_env!("FERROVIA_COMMIT");

/// Prints the version.
pub(super) fn run(version: &Version) -> anyhow::Result<ExitCode> {
    let number = env!("CARGO_PKG_VERSION");
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    if version.json {
        print::json(&json!({
            "app": "ferrovia",
            "version": number,
            "commit": COMMIT,
            "os": os,
            "arch": arch,
            "build": build,
        }))?;
    } else {
        let commit = COMMIT.map(|commit| format!("commit {commit}, ")).unwrap_or_default();
        writeln!(print::out(), "ferrovia {number} ({commit}{os} {arch}, {build} build)")?;
    }
    Ok(ExitCode::SUCCESS)
}
