//! `fuzz`: builds the targets of `fuzz/` and lets each search for a while.
//!
//! What is found along the way stays under `fuzz/target`, so that the seeds in the repository stay few; an input that
//! breaks a claim is kept and named.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::Report;
use crate::repository::Repository;

/// How long a target searches if nobody says.
const SECONDS: u64 = 60;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    seconds: u64,
    /// None means all.
    targets: Vec<String>,
}

impl Asked {
    fn parse(words: &[&str]) -> anyhow::Result<Asked> {
        let mut asked = Asked { seconds: SECONDS, targets: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some("seconds") => {
                    let value = words.next().context("--seconds needs a number")?;
                    asked.seconds = value.parse().with_context(|| format!("--seconds {value}"))?;
                }
                Some(other) => bail!("`fuzz` knows no --{other}; there is --seconds N"),
                None => asked.targets.push((*word).to_owned()),
            }
        }
        Ok(asked)
    }
}

/// Searches.
pub(crate) fn run(repository: &Repository, words: &[&str]) -> anyhow::Result<Report> {
    let asked = Asked::parse(words)?;
    let folder = repository.root().join("fuzz");
    let mut targets = Vec::new();
    for entry in fs::read_dir(folder.join("corpus")).context("fuzz/corpus")? {
        targets.push(entry?.file_name().to_string_lossy().into_owned());
    }
    targets.sort();
    if let Some(unknown) = asked.targets.iter().find(|name| !targets.contains(name)) {
        bail!("there is no target `{unknown}`; there are {}", targets.join(", "));
    }
    if !asked.targets.is_empty() {
        targets.retain(|name| asked.targets.contains(name));
    }
    build(&folder)?;
    let mut report = Report { text: String::new(), failed: false };
    for target in &targets {
        let figures = search(&folder, target, asked.seconds)?;
        report.failed |= figures.found.is_some();
        let _ = writeln!(report.text, "{target:10}{figures}");
    }
    Ok(report)
}

/// Without sanitizers: there is no unsafe code in what is searched, and the targets build with any compiler then.
fn build(folder: &Path) -> anyhow::Result<()> {
    let status = Command::new("cargo-fuzz")
        .args(["fuzz", "build", "--fuzz-dir", ".", "--sanitizer", "none"])
        .current_dir(folder)
        .status()
        .context("cargo-fuzz cannot be started (cargo install cargo-fuzz)")?;
    if !status.success() {
        bail!("the targets cannot be built");
    }
    Ok(())
}

/// What a search came to.
#[derive(Debug, Default, PartialEq)]
struct Figures {
    executions: u64,
    /// Coverage counters that were reached.
    edges: u64,
    /// The input that broke the claim.
    found: Option<String>,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>12} executions, {:>6} edges", self.executions, self.edges)?;
        match &self.found {
            Some(path) => write!(f, ", BROKEN by fuzz/{path}: add it to fuzz/corpus once it is mended"),
            None => Ok(()),
        }
    }
}

fn search(folder: &Path, target: &str, seconds: u64) -> anyhow::Result<Figures> {
    let found = folder.join("target/found").join(target);
    let artifacts = folder.join("artifacts").join(target);
    for path in [&found, &artifacts] {
        fs::create_dir_all(path).with_context(|| path.display().to_string())?;
    }
    let program =
        folder.join(format!("target/{}-unknown-linux-gnu/release/{target}", std::env::consts::ARCH));
    let output = Command::new(&program)
        .args([&found, &folder.join("corpus").join(target)])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-dict={}", folder.join("words.dict").display()))
        .args(["-max_len=2048", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"])
        .stdout(Stdio::null())
        .output()
        .with_context(|| program.display().to_string())?;
    let mut figures = read(&String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        figures.found.get_or_insert_with(|| format!("an unknown input: it ended with {}", output.status));
    }
    figures.found = figures.found.map(|path| path.replace(&format!("{}/", folder.display()), ""));
    Ok(figures)
}

/// Reads what libFuzzer tells.
fn read(text: &str) -> Figures {
    let mut figures = Figures::default();
    for line in text.lines() {
        if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
            figures.executions = number.trim().parse().unwrap_or(0);
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            figures.found = Some(path.trim().to_owned());
        } else if let Some((_, rest)) = line.split_once(" cov: ") {
            let edges = rest.split(' ').next().and_then(|number| number.parse().ok());
            figures.edges = figures.edges.max(edges.unwrap_or(0));
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_times_are_understood() {
        let asked = Asked::parse(&["peek", "--seconds", "5", "look"]).unwrap();
        assert_eq!(asked, Asked { seconds: 5, targets: vec!["peek".into(), "look".into()] });
        assert!(Asked::parse(&["--seconds"]).is_err());
        assert!(Asked::parse(&["--what"]).is_err());
    }

    #[test]
    fn what_libfuzzer_tells_is_read() {
        let text = "#2\tINITED cov: 50 ft: 51 corp: 1/1b\n#9\tNEW    cov: 71 ft: 80\n\
            artifact_prefix='a/'; Test unit written to a/crash-1\nstat::number_of_executed_units: 42\n";
        assert_eq!(read(text), Figures { executions: 42, edges: 71, found: Some("a/crash-1".into()) });
    }
}
