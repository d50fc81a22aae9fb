//! `gate`: builds the product as `.ci/run` does, and lets the harness count what a call executes (`crates/bench`, `gate`).

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

use crate::Report;
use crate::bench::build;
use crate::repository::Repository;

/// What is committed.
const FIGURES: &str = "docs/benchmarks/gate.json";

/// Counts. It returns only if it cannot begin: the harness takes this process's place.
pub(crate) fn run(repository: &Repository, words: &[&str]) -> anyhow::Result<Report> {
    let root = repository.root();
    let harness = build(root, "bench", "ferrovia-bench", "release")?;
    let gateway = build(root, "server", "ferrovia", "release")?;
    let error = Command::new(&harness)
        .arg("gate")
        .arg(format!("--gateway={}", gateway.display()))
        .arg(format!("--figures={}", root.join(FIGURES).display()))
        .arg(format!("--rustc={}", compiler()?))
        .args(words)
        .exec();
    Err(error).with_context(|| harness.display().to_string())
}

/// The compiler, as it names itself.
fn compiler() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("rustc cannot be started")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
