//! What the binary prints of itself: it alone knows its command line, its settings and its metrics.

use std::process::Command;

use anyhow::{Context, bail};

use crate::repository::Repository;

/// Runs `ferrovia` with these words, and gives what it prints.
pub(super) fn prints(repository: &Repository, words: &[&str]) -> anyhow::Result<String> {
    // the cargo that runs us, so that a toolchain chosen for us holds for it as well
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--package", "server", "--bin", "ferrovia", "--"])
        .args(words)
        .current_dir(repository.root())
        .output()
        .context("cargo cannot be run")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`ferrovia {}` failed ({}):\n{said}", words.join(" "), output.status);
    }
    String::from_utf8(output.stdout).context("what ferrovia prints is not UTF-8")
}
