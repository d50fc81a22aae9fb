//! Golden transcripts: one text file tells one call, all four sides of it.
//!
//! ```text
//! # A streamed chat call asks for usage on the client's behalf
//!
//! Why this matters, in a few words.
//!
//! --- setup
//! provider = vllm
//! >>> client      POST /v1/chat/completions
//! authorization: Bearer sk-1
//!
//! {"model":"fast","stream":true}
//! >>> upstream    POST /v1/chat/completions
//!
//! {"model":"m","stream":true,"stream_options":{"include_usage":true}}
//! <<< upstream    200 text/event-stream
//!
//! data: [DONE]
//!
//!
//! <<< client      200 text/event-stream
//!
//! data: [DONE]
//!
//!
//! === changes     request.model, request.stream_options
//! === end         complete
//! ```
//!
//! # The format
//!
//! A file is UTF-8 lines. The first is `# ` and the title; prose follows, as long as no line is a marker. A
//! *marker* is a line that begins with `--- `, `>>> `, `<<< ` or `=== `; the sections come in this order:
//!
//! 1. `--- setup`, optional: lines `key = value`.
//! 2. `>>> client`: the request as the client sends it.
//! 3. `>>> upstream` and `<<< upstream`, any number of times (a retry, a second provider): what was asked
//!    of the upstream and what it answered. Either half may be missing.
//! 4. `<<< client`, optional: the answer as the client gets it.
//! 5. `=== name  value`, any number: what else is known of the call.
//!
//! What follows the name of a side on its marker line is its *head*: `POST /path`, or `200 content/type`.
//! Below it stand headers, `name: value`, then **a blank line**, then the body. Without a body there is no
//! blank line.
//!
//! A body is the bytes between that blank line and the next marker (or the end of the file), **less one final
//! line feed**, which belongs to the file. So a body that ends in a line feed is followed by one blank line, and
//! an event stream, which ends in two, by two blank lines.
//!
//! A header or body line that begins with `\` is *escaped*: that `\` is dropped, and in the rest `\\` is a
//! backslash, `\r` a carriage return and `\xNN` the byte NN. All other lines are taken as they stand, JSON's own
//! backslashes included. Only what could not stand for itself is escaped: lines that begin with `\` or look like
//! a marker, carriage returns, other control characters except tab, and bytes that are not UTF-8.
//!
//! [`Transcript::parse`] of what [`Display`](std::fmt::Display) writes is the same transcript, whatever its
//! bodies hold. In files that people write, `parse` also takes CR LF, blank lines between sections without
//! bodies, needless escapes and other spacing in marker lines; rewriting makes them uniform.

mod escape;
mod read;
mod side;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};

pub use side::Side;

/// One call as a text file tells it. The format is described in the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// What the file shows, one line.
    pub title: String,
    /// Why, in any number of lines; without blank lines at either end.
    pub prose: String,
    /// What must be configured for it, in order.
    pub setup: Vec<(String, String)>,
    /// `>>> client`.
    pub request: Side,
    /// What went to upstreams and came from them, in order.
    pub exchanges: Vec<Exchange>,
    /// `<<< client`.
    pub reply: Option<Side>,
    /// The `===` lines: name and value, in order.
    pub notes: Vec<(String, String)>,
}

/// One `>>> upstream` with its `<<< upstream`; at least one of them is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exchange {
    /// What the upstream was asked. `None` in a file whose produced half has not been written yet.
    pub request: Option<Side>,
    /// What it answered. `None` when it did not.
    pub reply: Option<Side>,
}

/// What is wrong with a transcript, and on which line (counted from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The line.
    pub line: usize,
    /// What is wrong there and what to write instead.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

impl Transcript {
    /// Reads a transcript.
    pub fn parse(text: &str) -> Result<Transcript, ParseError> {
        read::transcript(text)
    }

    /// A transcript of which only the client's request is known yet.
    pub fn new(title: &str, request: Side) -> Transcript {
        Transcript {
            title: title.to_owned(),
            prose: String::new(),
            setup: Vec::new(),
            request,
            exchanges: Vec::new(),
            reply: None,
            notes: Vec::new(),
        }
    }

    /// What the file was written from: title, prose, setup, the client's request and the upstream's answers.
    /// The rest is left out; a test produces it anew and compares.
    #[must_use]
    pub fn given(&self) -> Transcript {
        let answers = self.exchanges.iter().filter(|exchange| exchange.reply.is_some());
        let exchanges =
            answers.map(|exchange| Exchange { request: None, reply: exchange.reply.clone() }).collect();
        Transcript { exchanges, reply: None, notes: Vec::new(), ..self.clone() }
    }

    /// The value of a setup line.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.setup.iter().find(|(have, _)| have == key).map(|(_, value)| value.as_str())
    }

    /// The value of the first `===` line of this name.
    pub fn note(&self, name: &str) -> Option<&str> {
        self.notes.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// Replaces the `===` line of this name, or adds it at the end.
    pub fn set_note(&mut self, name: &str, value: &str) {
        match self.notes.iter_mut().find(|(have, _)| have == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.notes.push((name.to_owned(), value.to_owned())),
        }
    }

    /// The upstream's answers in order.
    pub fn upstream_replies(&self) -> impl Iterator<Item = &Side> {
        self.exchanges.iter().filter_map(|exchange| exchange.reply.as_ref())
    }
}

/// Reads every `*.txt` file below `directory`, in the order of their paths.
///
/// # Panics
/// When the directory cannot be read, holds no transcript, or holds one that cannot be parsed (all such are
/// named): a test that found nothing to test must not pass.
pub fn load_dir(directory: impl AsRef<Path>) -> Vec<(PathBuf, Transcript)> {
    let directory = directory.as_ref();
    let mut paths = Vec::new();
    collect(directory, &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no transcript (*.txt) in {}", directory.display());
    let (mut loaded, mut faults) = (Vec::new(), Vec::new());
    for path in paths {
        match load(&path) {
            Ok(transcript) => loaded.push((path, transcript)),
            Err(fault) => faults.push(fault),
        }
    }
    assert!(faults.is_empty(), "transcripts that cannot be read:\n{}", faults.join("\n"));
    loaded
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("cannot read the directory {}: {error}", directory.display()));
    for entry in entries {
        let path = entry
            .unwrap_or_else(|error| panic!("cannot read the directory {}: {error}", directory.display()))
            .path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            paths.push(path);
        }
    }
}

fn load(path: &Path) -> Result<Transcript, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Transcript::parse(&text).map_err(|error| format!("{}:{}: {}", path.display(), error.line, error.message))
}
