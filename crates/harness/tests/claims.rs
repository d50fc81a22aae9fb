//! Every claim, for its seeds and for what mutations make of them: the bounded form of what `cargo xtask fuzz` does for
//! as long as it is let.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use harness::{TARGETS, Target};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Mutations of each target's seeds that one run tries.
const CASES: u32 = 600;

/// No seed is longer: together they are to stay a few kilobytes.
const LONGEST: usize = 3 << 10;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

/// The seeds of a target, in the order of their names.
fn seeds(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = corpus().join(target.name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read(&path).expect("a seed");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn every_claim_holds_for_its_seeds() {
    for target in TARGETS {
        let seeds = seeds(target);
        assert!(seeds.len() >= 3, "`{}` has {} seeds", target.name, seeds.len());
        for (path, text) in seeds {
            assert!(text.len() <= LONGEST, "{} is too long for the repository", path.display());
            let held = catch_unwind(AssertUnwindSafe(|| (target.run)(&text)));
            assert!(held.is_ok(), "the claim does not hold for {}", path.display());
        }
    }
}

#[test]
fn every_claim_is_a_fuzz_target_and_every_corpus_belongs_to_one() {
    let manifest = std::fs::read_to_string(corpus().join("../Cargo.toml")).unwrap();
    for target in TARGETS {
        assert!(
            manifest.contains(&format!("name = \"{}\"", target.name)),
            "fuzz/Cargo.toml: {}",
            target.name
        );
    }
    for entry in std::fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(TARGETS.iter().any(|target| *name == *target.name), "{name:?} is no target");
    }
}

/// Words that mean something to one of the readers.
const WORDS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "\\",
    "\\u0065",
    "\\ud83d",
    "null",
    "true",
    "1e309",
    "-0",
    "0",
    "\n",
    "\r",
    "\n\n",
    "\r\r",
    "\r\n\r\n",
    "data: ",
    "event: error\n",
    "[DONE]",
    "\"usage\":",
    "\"error\":",
    "\"finish_reason\":\"stop\"",
    "\"model\":\"m\"",
    "\u{1e}",
    "..",
    "%2e",
    "%2F",
    "%5c",
    ";",
    "/",
    "//",
    "v1/",
    "${",
    "}",
    "\u{17f}",
    "\u{feff}",
];

#[derive(Clone, Debug)]
enum Change {
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Replace(usize, u8),
    Repeat(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let word = prop::sample::select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec());
    let bytes = prop::collection::vec(any::<u8>(), 1..4);
    let place = any::<usize>();
    prop_oneof![
        4 => (place, prop_oneof![4 => word, 1 => bytes]).prop_map(|(place, bytes)| Change::Insert(place, bytes)),
        2 => (place, 1..12usize).prop_map(|(place, length)| Change::Remove(place, length)),
        2 => (place, any::<u8>()).prop_map(|(place, byte)| Change::Replace(place, byte)),
        1 => (place, 1..40usize).prop_map(|(place, length)| Change::Repeat(place, length)),
    ]
}

fn changed(mut text: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let range = |place: usize, length: usize| {
            let start = place % (text.len() + 1);
            start..(start + length).min(text.len())
        };
        match change {
            Change::Insert(place, bytes) => {
                let at = range(*place, 0).start;
                text.splice(at..at, bytes.iter().copied());
            }
            Change::Remove(place, length) => drop(text.drain(range(*place, *length))),
            Change::Replace(place, byte) => {
                let range = range(*place, 1);
                text[range].fill(*byte);
            }
            Change::Repeat(place, length) => {
                let range = range(*place, *length);
                let (at, again) = (range.end, text[range].to_vec());
                text.splice(at..at, again);
            }
        }
    }
    text
}

/// Tries mutations of a target's seeds, the same in every run.
fn holds_for_mutations(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let seeds: Vec<Vec<u8>> = seeds(target).into_iter().map(|(_, text)| text).collect();
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let seed = 0..seeds.len();
    let strategy = (seed, prop::collection::vec(change(), 0..6));
    let outcome = runner.run(&strategy, |(seed, changes)| {
        let text = changed(seeds[seed].clone(), &changes);
        let held = catch_unwind(AssertUnwindSafe(|| (target.run)(&text)));
        prop_assert!(held.is_ok(), "`{}` does not hold for {:?}", name, String::from_utf8_lossy(&text));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_a_body_means_holds_for_mutations() {
    holds_for_mutations("peek");
}

#[test]
fn what_edits_mean_holds_for_mutations() {
    holds_for_mutations("splice");
}

#[test]
fn that_cuts_do_not_matter_to_a_stream_holds_for_mutations() {
    holds_for_mutations("stream");
}

#[test]
fn that_cuts_do_not_matter_to_a_large_reply_holds_for_mutations() {
    holds_for_mutations("large");
}

#[test]
fn that_looking_is_as_good_as_decoding_holds_for_mutations() {
    holds_for_mutations("look");
}

#[test]
fn what_replies_and_rerank_mean_holds_for_mutations() {
    holds_for_mutations("replies");
}

#[test]
fn that_no_path_leads_astray_holds_for_mutations() {
    holds_for_mutations("paths");
}

#[test]
fn what_a_selector_means_holds_for_mutations() {
    holds_for_mutations("selector");
}

#[test]
fn that_settings_load_or_are_reported_holds_for_mutations() {
    holds_for_mutations("settings");
}

#[test]
fn that_cuts_do_not_matter_to_a_form_holds_for_mutations() {
    holds_for_mutations("form");
}

#[test]
fn that_cuts_do_not_matter_to_an_answer_holds_for_mutations() {
    holds_for_mutations("answer");
}
