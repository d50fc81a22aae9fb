//! Claims about code that reads what strangers send, each a function of some bytes that panics when it does not hold.
//! Nothing here is shipped.
//!
//! The same functions are the fuzz targets (`fuzz/`, `cargo xtask fuzz`), are run over the seeds in `fuzz/corpus` and
//! over mutations of them by the ordinary tests, and are where an input that once broke something stays a test: as
//! one more file in the corpus.
//!
//! Inputs are readable: a first line says what shall be tried, where there is a choice; the rest is the text itself.

mod answer;
mod form;
mod large;
mod look;
mod paths;
mod peek;
mod replies;
mod selector;
mod settings;
mod splice;
mod stream;
mod truth;

/// A claim with a name: that of its fuzz target and of the folder of its seeds.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Panics if the claim does not hold for this input.
    pub run: fn(&[u8]),
}

/// Every claim.
pub const TARGETS: &[Target] = &[
    Target { name: "peek", run: peek::run },
    Target { name: "splice", run: splice::run },
    Target { name: "stream", run: stream::run },
    Target { name: "large", run: large::run },
    Target { name: "look", run: look::run },
    Target { name: "replies", run: replies::run },
    Target { name: "paths", run: paths::run },
    Target { name: "selector", run: selector::run },
    Target { name: "form", run: form::run },
    Target { name: "answer", run: answer::run },
    Target { name: "settings", run: settings::run },
];

/// Runs a claim by its name.
///
/// # Panics
/// When it does not hold, or there is none of this name.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no target `{name}`")).run)(input);
}

/// The first line of an input, without its end, and what follows it.
fn headed(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, b""),
    }
}

/// The parts of an input, between bytes that no text needs (ASCII's "record separator").
fn parts(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|byte| *byte == 0x1e)
}

/// The dialect that a letter of a first line means.
fn dialect(letter: Option<&u8>) -> domain::Dialect {
    match letter {
        Some(b'p') => domain::Dialect::Completions,
        Some(b'r') => domain::Dialect::Responses,
        Some(b'm') => domain::Dialect::Messages,
        Some(b'f') => domain::Dialect::Foreign,
        _ => domain::Dialect::Chat,
    }
}

/// Gives every line feed its carriage return.
fn with_returns(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 32);
    for (at, byte) in text.iter().enumerate() {
        if *byte == b'\n' && (at == 0 || text[at - 1] != b'\r') {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}

/// The text in pieces whose lengths the bytes of `cuts` are.
fn cut<'a>(mut text: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in cuts {
        let (piece, rest) = text.split_at(usize::from(*length).min(text.len()));
        pieces.push(piece);
        text = rest;
    }
    pieces.push(text);
    pieces
}
