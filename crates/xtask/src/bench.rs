//! `bench`: builds what is shipped and what measures it, and lets the latter begin (`crates/bench`,
//! `docs/benchmarks.md`).

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::Report;
use crate::repository::Repository;

/// The page that `--publish` writes into, and the folder of its charts.
const PAGE: &str = "docs/benchmarks.md";
const CHARTS: &str = "docs/benchmarks";

/// What of the command line is ours; the rest is the harness's.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    /// Cargo's profile for the gateway.
    profile: Option<String>,
    /// A gateway that was built already.
    gateway: Option<PathBuf>,
    publish: bool,
    rest: Vec<String>,
}

impl Asked {
    fn parse(words: &[&str]) -> anyhow::Result<Asked> {
        let mut asked = Asked::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (flag, written) =
                word.split_once('=').map_or((*word, None), |(flag, value)| (flag, Some(value)));
            let mut value = || {
                let value = written.or_else(|| words.next().copied());
                value.with_context(|| format!("{flag} needs a value"))
            };
            match flag {
                "--profile" => asked.profile = Some(value()?.to_owned()),
                "--gateway" => asked.gateway = Some(value()?.into()),
                "--publish" => asked.publish = true,
                _ => asked.rest.push((*word).to_owned()),
            }
        }
        Ok(asked)
    }

    /// The harness's command line.
    fn words(&self, gateway: &Path, root: &Path) -> Vec<String> {
        let mut words = vec!["measure".to_owned(), format!("--gateway={}", gateway.display())];
        if self.publish {
            // the vendor's shape has a part of its own on the page
            let vendor = self.rest.iter().any(|word| word == "--vendor");
            let json = if vendor { "vendor.json" } else { "figures.json" };
            words.push(format!("--json={}", root.join(CHARTS).join(json).display()));
            words.push(format!("--charts={}", root.join(CHARTS).display()));
            words.push(format!("--page={}", root.join(PAGE).display()));
        }
        words.extend(self.rest.iter().cloned());
        words
    }
}

/// Measures. It returns only if it cannot begin: the harness takes this process's place, so that whoever interrupts it
/// reaches the one who has to clean up.
pub(crate) fn run(repository: &Repository, words: &[&str]) -> anyhow::Result<Report> {
    let asked = Asked::parse(words)?;
    let root = repository.root();
    let harness = build(root, "bench", "ferrovia-bench", "release")?;
    if asked.rest.iter().any(|word| word == "--help") {
        return Err(Command::new(&harness).arg("--help").exec().into());
    }
    let profile = asked.profile.as_deref().unwrap_or("dist");
    let gateway = match &asked.gateway {
        Some(gateway) => std::fs::canonicalize(gateway).with_context(|| gateway.display().to_string())?,
        None => build(root, "server", "ferrovia", profile)?,
    };
    let error = Command::new(&harness).args(asked.words(&gateway, root)).exec();
    Err(error).with_context(|| harness.display().to_string())
}

/// Builds a package by itself, with its own features and no others, and tells where its program is.
pub(crate) fn build(root: &Path, package: &str, program: &str, profile: &str) -> anyhow::Result<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--profile", profile, "--package", package, "--bin", program])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("`{program}` cannot be built with the profile {profile}");
    }
    executable(&String::from_utf8_lossy(&output.stdout), program)
        .with_context(|| format!("cargo did not say where `{program}` is"))
}

/// Where a program is, out of what cargo tells while it builds.
fn executable(messages: &str, program: &str) -> Option<PathBuf> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut of_it = artifacts.filter(|artifact| artifact["target"]["name"] == program);
    of_it.find_map(|artifact| Some(PathBuf::from(artifact["executable"].as_str()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ours_goes_to_the_harness() {
        let asked =
            Asked::parse(&["--profile", "release", "--only", "S1", "--gateway=/g", "--publish"]).unwrap();
        assert_eq!(
            (asked.profile.as_deref(), asked.gateway.as_deref()),
            (Some("release"), Some(Path::new("/g")))
        );
        let words = asked.words(Path::new("/g"), Path::new("/r"));
        assert_eq!(words[..2], ["measure", "--gateway=/g"]);
        assert!(words.contains(&"--page=/r/docs/benchmarks.md".to_owned()), "{words:?}");
        assert!(words.contains(&"--json=/r/docs/benchmarks/figures.json".to_owned()), "{words:?}");
        assert_eq!(words[5..], ["--only", "S1"]);
        assert!(Asked::parse(&["--gateway"]).unwrap_err().to_string().contains("--gateway needs a value"));
    }

    #[test]
    fn a_flag_of_the_harness_keeps_its_value() {
        let asked = Asked::parse(&["--vendor", "--json", "x", "--publish"]).unwrap();
        assert_eq!(asked.rest, ["--vendor", "--json", "x"]);
        let words = asked.words(Path::new("g"), Path::new("/r"));
        assert!(words.contains(&"--json=/r/docs/benchmarks/vendor.json".to_owned()), "{words:?}");
    }

    #[test]
    fn cargo_tells_where_a_program_is() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"bench\"},\"executable\":null}\n",
            "not json\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"ferrovia\"},\"executable\":\"/t/ferrovia\"}\n",
        );
        assert_eq!(executable(messages, "ferrovia"), Some("/t/ferrovia".into()));
        assert_eq!(executable(messages, "bench"), None);
    }
}
