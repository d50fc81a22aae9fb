//! What is wrong with a configuration, said once, for everything at once.

use std::fmt;
use std::path::PathBuf;

/// Where a value, or a mistake, was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody wrote it: the built-in default.
    Default,
    /// A YAML file. Line and column count from 1.
    File {
        /// The file, as it was named or found.
        path: PathBuf,
        /// Line, from 1; 0 when the file as a whole is meant.
        line: usize,
        /// Column in characters, from 1; 0 when the file as a whole is meant.
        column: usize,
    },
    /// A `.env` file.
    DotEnv {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The variable; empty when the line is none.
        name: String,
    },
    /// A variable of the process's environment.
    Environment(String),
    /// A command-line flag, named by the setting's dotted path.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line: 0, .. } => write!(f, "{}", path.display()),
            Origin::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Origin::DotEnv { path, line, name } if name.is_empty() => {
                write!(f, "{}:{line}:1", path.display())
            }
            Origin::DotEnv { path, line, name } => write!(f, "{}:{line}:1 {name}", path.display()),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::Flag(path) => write!(f, "flag {path}"),
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The gateway does not start.
    Error,
    /// The gateway starts without it.
    Warning,
}

/// One thing that is wrong, where, and what to do about it. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it stops the start.
    pub severity: Severity,
    /// Where it was written.
    pub source: Origin,
    /// The setting at fault, as a dotted path or a variable's name.
    pub setting: String,
    /// What is wrong.
    pub problem: String,
    /// The nearest right name, if there is one near.
    pub nearest: Option<String>,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.source)?;
        if !self.setting.is_empty() && !self.source.to_string().ends_with(&self.setting) {
            write!(f, ": {}", self.setting)?;
        }
        write!(f, "\n    {}", self.problem)?;
        if let Some(nearest) = &self.nearest {
            write!(f, "\n    did you mean `{nearest}`?")?;
        }
        if !self.fix.is_empty() {
            write!(f, "\n    fix: {}", self.fix)?;
        }
        Ok(())
    }
}

/// Everything that was found, errors first. At least one of them stops the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// All findings, errors first, each group in reading order.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many of the findings stop the start.
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|f| f.severity == Severity::Error).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.errors();
        let warnings = self.findings.len() - errors;
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        write!(f, "The configuration has {errors} error{}", plural(errors))?;
        if warnings > 0 {
            write!(f, " and {warnings} warning{}", plural(warnings))?;
        }
        f.write_str(":")?;
        for (i, finding) in self.findings.iter().enumerate() {
            write!(f, "\n\n{:>3}. {finding}", i + 1)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// The candidate most like `word`, if one is near enough to be what was meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let plain_word = plain(word);
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| {
            let distance =
                if plain(candidate) == plain_word { 0 } else { strsim::damerau_levenshtein(word, candidate) };
            (distance, candidate)
        })
        // as many slips as letters are no likeness
        .filter(|(distance, candidate)| {
            !candidate.is_empty() && *distance <= allowed && *distance < word.chars().count()
        })
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["port", "base_path", "master_key"];
        assert_eq!(nearest("prot", names), Some("port".into()));
        assert_eq!(nearest("masterKey", names), Some("master_key".into()));
        assert_eq!(nearest("zebra", names), None);
    }

    #[test]
    fn a_report_numbers_its_findings_and_says_where() {
        let finding = Finding {
            severity: Severity::Error,
            source: Origin::File { path: "config.yaml".into(), line: 4, column: 3 },
            setting: "server.prot".into(),
            problem: "no such setting".into(),
            nearest: Some("server.port".into()),
            fix: "rename it".into(),
        };
        let warning = Finding {
            severity: Severity::Warning,
            source: Origin::Environment("X".into()),
            setting: "X".into(),
            ..finding.clone()
        };
        let text = Report { findings: vec![finding, warning] }.to_string();
        assert_eq!(
            text,
            "The configuration has 1 error and 1 warning:\n\n  1. error: config.yaml:4:3: server.prot\n    no such setting\n    \
             did you mean `server.port`?\n    fix: rename it\n\n  2. warning: environment variable X\n    no such setting\n    \
             did you mean `server.port`?\n    fix: rename it"
        );
    }
}
