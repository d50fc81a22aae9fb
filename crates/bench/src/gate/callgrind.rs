//! What callgrind wrote: instructions of each function, and how often allocators were called.
//!
//! The format is described in Valgrind's manual, "Callgrind Format Specification". Names are written once and stand as
//! `(number)` afterwards.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;

/// Functions of the C library of which each call makes or moves an allocation.
const ALLOCATORS: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// What one run executed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Profile {
    /// Instructions of each function, without those that it called.
    pub(super) own: BTreeMap<String, u64>,
    /// Calls of each function.
    pub(super) calls: BTreeMap<String, u64>,
}

impl Profile {
    pub(super) fn read(path: &Path) -> anyhow::Result<Profile> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        Profile::parse(BufReader::new(file)).with_context(|| path.display().to_string())
    }

    fn parse(text: impl BufRead) -> anyhow::Result<Profile> {
        let mut names: BTreeMap<u64, String> = BTreeMap::new();
        let mut name = |written: &str| -> Option<String> {
            let (number, rest) = written.strip_prefix('(')?.split_once(')')?;
            let number = number.parse().ok()?;
            if let Some(name) = rest.strip_prefix(' ') {
                names.insert(number, name.to_owned());
            }
            names.get(&number).cloned()
        };
        let (mut profile, mut function, mut called) = (Profile::default(), String::new(), String::new());
        // the line behind `calls=` tells what the callee cost, which its own lines tell as well
        let mut of_callee = false;
        for line in text.split(b'\n') {
            // names of files may hold anything
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            if let Some(written) = line.strip_prefix("fn=") {
                function = name(written).context("a function without a name")?;
            } else if let Some(written) = line.strip_prefix("cfn=") {
                called = name(written).context("a function without a name")?;
            } else if let Some(calls) = line.strip_prefix("calls=") {
                let times = calls.split(' ').next().and_then(|times| times.parse::<u64>().ok());
                *profile.calls.entry(called.clone()).or_default() +=
                    times.context("calls without a number")?;
                of_callee = true;
            } else if line.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '*')) {
                let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok()).unwrap_or(0);
                if !std::mem::take(&mut of_callee) {
                    *profile.own.entry(function.clone()).or_default() += cost;
                }
            }
        }
        anyhow::ensure!(profile.instructions() > 0, "callgrind has counted nothing");
        Ok(profile)
    }

    /// All instructions of the process.
    pub(super) fn instructions(&self) -> u64 {
        self.own.values().sum()
    }

    /// How often memory was allocated or moved.
    pub(super) fn allocations(&self) -> u64 {
        ALLOCATORS.iter().filter_map(|name| self.calls.get(*name)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# callgrind format
events: Ir
fl=(1) a.rs
fn=(1) main
10 5
cfn=(2) malloc
calls=3 0
11 300
+1 7
fn=(2)
0 290
* 10
fn=(3) other
5 1
cfn=(2)
calls=2 0
5 200
totals: 313
";

    #[test]
    fn what_a_callee_costs_counts_once() {
        let profile = Profile::parse(TEXT.as_bytes()).unwrap();
        assert_eq!(profile.own["main"], 12);
        assert_eq!(profile.own["malloc"], 300);
        assert_eq!((profile.instructions(), profile.allocations()), (313, 5));
        assert_eq!(profile.calls.get("main"), None);
    }

    #[test]
    fn a_file_without_counts_is_an_error() {
        assert!(Profile::parse("events: Ir\n".as_bytes()).is_err());
        assert!(Profile::parse("fn=(7)\n1 1\n".as_bytes()).is_err());
    }
}
