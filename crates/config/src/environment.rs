//! The process's environment and the `.env` file, as one.

use std::cell::RefCell;
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::dotenv;
use crate::report::{Finding, Origin, Severity};

/// One variable.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    /// The value as written, nothing expanded.
    pub(crate) value: String,
    pub(crate) origin: Origin,
    /// Whether `${NAME}` in the value stands for another variable: in `.env` only.
    pub(crate) expands: bool,
}

/// All variables; the real environment wins over `.env`, even with an empty value.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, Variable>,
    /// Variables that the YAML file refers to.
    pub(crate) referenced: RefCell<BTreeSet<String>>,
    /// What `.env` says in vain, because the real environment says otherwise.
    pub(crate) shadowed: BTreeMap<String, String>,
    /// Files that values were read from.
    pub(crate) files: RefCell<BTreeSet<PathBuf>>,
    /// What `${env:…}` and `${file:…}` have brought in: not to be shown in any message.
    pub(crate) brought: RefCell<BTreeSet<String>>,
}

impl Environment {
    /// The real environment alone, without what Kubernetes adds for the services of the namespace.
    pub(crate) fn new(variables: &[(String, String)]) -> Environment {
        let variables =
            variables.iter().filter(|(name, value)| !is_service_link(name, value)).map(|(name, value)| {
                let origin = Origin::Environment(name.clone());
                (name.clone(), Variable { value: value.clone(), origin, expands: false })
            });
        Environment { variables: variables.collect(), ..Environment::default() }
    }

    /// Adds what `.env` says, and reports what it says badly. No file is no problem.
    pub(crate) fn add_dotenv(&mut self, path: &Path, findings: &mut Vec<Finding>) {
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => Err(format!("the file cannot be read: {error}")),
        };
        let shown = Path::new(path.file_name().unwrap_or(path.as_os_str()));
        let mut error = |line, name: &str, problem: String, fix: &str| {
            findings.push(Finding {
                severity: Severity::Error,
                source: Origin::DotEnv { path: shown.into(), line, name: name.into() },
                setting: name.into(),
                problem,
                nearest: None,
                fix: fix.into(),
            });
        };
        let text = match text {
            Ok(text) => text,
            Err(problem) => return error(1, "", problem, "make it readable text, or remove it"),
        };
        let (entries, bad) = dotenv::parse(&text);
        for line in bad {
            error(line.line, "", line.problem, "write NAME=value, and begin comments with #");
        }
        let mut first: BTreeMap<String, usize> = BTreeMap::new();
        for entry in entries {
            if let Some(line) = first.get(&entry.name) {
                let problem = format!("{} is set a second time; line {line} has it already", entry.name);
                error(entry.line, &entry.name, problem, "keep one of the two lines");
                continue;
            }
            first.insert(entry.name.clone(), entry.line);
            let origin = Origin::DotEnv { path: shown.into(), line: entry.line, name: entry.name.clone() };
            let variable = Variable { value: entry.value, origin, expands: entry.expands };
            match self.variables.entry(entry.name) {
                Slot::Vacant(slot) => drop(slot.insert(variable)),
                Slot::Occupied(slot) => drop(self.shadowed.insert(slot.key().clone(), variable.value)),
            }
        }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name).filter(|v| !v.value.is_empty())
    }

    /// Every variable that is set and not empty, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Variable)> {
        self.variables.iter().filter(|(_, v)| !v.value.is_empty()).map(|(name, v)| (name.as_str(), v))
    }
}

/// Whether Kubernetes (or Docker's links) made this variable for a service, which may well be named `ferrovia` or `vllm`:
/// `FERROVIA_SERVICE_HOST`, `FERROVIA_PORT=tcp://10.0.0.1:8080`, `FERROVIA_PORT_8080_TCP_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let numbered = |(_, rest): (&str, &str)| {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
            rest.strip_prefix(protocol).is_some_and(|r| matches!(r, "" | "_PROTO" | "_PORT" | "_ADDR"))
        })
    };
    name.ends_with("_SERVICE_HOST")
        || name.split_once("_SERVICE_PORT").is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('_'))
        || name.ends_with("_PORT") && value.contains("://")
        || name.split_once("_PORT_").is_some_and(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_environment_wins_over_dotenv_and_both_are_placed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        std::fs::write(&path, "A=file\nB=file\nC=\nbroken\nB=again\n").unwrap();
        let mut environment = Environment::new(&[("A".into(), "real".into())]);
        let mut findings = Vec::new();
        environment.add_dotenv(&path, &mut findings);
        assert_eq!(environment.get("A").unwrap().value, "real");
        assert_eq!(environment.get("B").unwrap().value, "file");
        assert!(environment.get("C").is_none());
        let places: Vec<String> = findings.iter().map(|f| f.source.to_string()).collect();
        assert_eq!(places, [".env:4:1", ".env:5:1 B"]);
    }

    #[test]
    fn what_kubernetes_adds_for_a_service_is_no_setting() {
        for (name, value) in [
            ("FERROVIA_SERVICE_HOST", "10.0.0.1"),
            ("FERROVIA_SERVICE_PORT", "8080"),
            ("FERROVIA_SERVICE_PORT_HTTP", "8080"),
            ("FERROVIA_PORT", "tcp://10.0.0.1:8080"),
            ("FERROVIA_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("FERROVIA_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ] {
            assert!(is_service_link(name, value), "{name}");
        }
        for (name, value) in
            [("FERROVIA_PORT", "8080"), ("PORT", "80"), ("FERROVIA_PORT_X", "1"), ("FERROVIA_HOST", "::")]
        {
            assert!(!is_service_link(name, value), "{name}");
        }
    }
}
