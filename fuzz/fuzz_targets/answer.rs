//! `crates/harness/src/answer.rs`, as a fuzz target.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| harness::run("answer", input));
