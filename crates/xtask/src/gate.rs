//! `gate` and `soak`: build the product as `.ci/run` does, and let the harness count what a call executes, or make very
//! many (`crates/bench`).

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

use crate::Report;
use crate::bench::build;
use crate::repository::Repository;

/// What is committed.
const FIGURES: &str = "docs/benchmarks/gate.json";

/// Counts.
pub(crate) fn count(repository: &Repository, words: &[&str]) -> anyhow::Result<Report> {
    let figures = format!("--figures={}", repository.root().join(FIGURES).display());
    run(repository, &["gate", &figures, &format!("--rustc={}", compiler()?)], words)
}

/// Soaks.
pub(crate) fn soak(repository: &Repository, words: &[&str]) -> anyhow::Result<Report> {
    run(repository, &["soak"], words)
}

/// It returns only if it cannot begin: the harness takes this process's place.
fn run(repository: &Repository, ours: &[&str], words: &[&str]) -> anyhow::Result<Report> {
    let root = repository.root();
    let harness = build(root, "bench", "ferrovia-bench", "release")?;
    let gateway = build(root, "server", "ferrovia", "release")?;
    let gateway = format!("--gateway={}", gateway.display());
    let error = Command::new(&harness).args(ours).arg(gateway).args(words).exec();
    Err(error).with_context(|| harness.display().to_string())
}

/// The compiler, as it names itself.
fn compiler() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("rustc cannot be started")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
