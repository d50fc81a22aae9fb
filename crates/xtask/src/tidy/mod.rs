//! `tidy`: rules of the house that no lint knows. Each rule is a pure function from files to complaints.

mod cycles;
mod text;
mod walls;

use std::fmt::Write;

use crate::Report;
use crate::repository::{File, Repository};

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Complaint {
    path: String,
    /// From 1; 0 when the file as a whole is meant.
    line: usize,
    problem: String,
}

impl Complaint {
    fn new(path: &str, line: usize, problem: impl Into<String>) -> Complaint {
        Complaint { path: path.to_owned(), line, problem: problem.into() }
    }
}

/// Looks at everything.
pub(crate) fn run(repository: &Repository) -> anyhow::Result<Report> {
    let files = repository.files()?;
    let mut complaints = Vec::new();
    complaints.extend(text::without_a_head(&files));
    complaints.extend(text::trailing_blanks(&files));
    complaints.extend(text::open_ends(&files));
    complaints.extend(text::decisions_without_status(&files));
    complaints.extend(walls::dependencies(&files));
    complaints.extend(walls::pure_sources(&files));
    complaints.extend(cycles::new_ones(&files, cycles::KNOWN));
    complaints.sort();
    let mut text = String::new();
    for warning in text::long_files(&files) {
        say(&mut text, "warning", &warning);
    }
    for complaint in &complaints {
        say(&mut text, "error", complaint);
    }
    let _ = match complaints.len() {
        0 => writeln!(text, "tidy: {} files, nothing to complain about", files.len()),
        n => writeln!(text, "tidy: {n} complaints"),
    };
    Ok(Report { text, failed: !complaints.is_empty() })
}

fn say(text: &mut String, word: &str, complaint: &Complaint) {
    let Complaint { path, line, problem } = complaint;
    let place = if *line == 0 { path.clone() } else { format!("{path}:{line}") };
    let _ = writeln!(text, "{word}: {place}: {problem}");
}

/// The crate that a file belongs to, and its path inside of it: `crates/domain/src/name.rs` is `domain`, `src/name.rs`.
fn place(file: &File) -> Option<(&str, &str)> {
    file.path.strip_prefix("crates/")?.split_once('/')
}

/// A file of these contents, for the tests of the rules.
#[cfg(test)]
fn file(path: &str, text: &str) -> File {
    File { path: path.into(), text: text.into() }
}
