//! How fast the scanners are, in gigabytes per second: `cargo bench -p dialect --bench scan`.
//!
//! Prints, judges nothing: times differ from machine to machine.

use std::hint::black_box;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dialect::body::Body;
use dialect::edit::Edit;
use dialect::json::scan::scan;
use dialect::json::top_level::TopLevel;

const EACH: Duration = Duration::from_millis(100);

fn main() -> io::Result<()> {
    let prose = chat(&"The quick brown fox jumps over the lazy dog, and says so.\\n".repeat(20), 80);
    let code =
        chat(&"    if let Some(x) = map.get(\\\"key\\\") { return Ok(\\\"done\\\"); }\\n".repeat(20), 80);
    let picture = chat(&format!("data:image/png;base64,{}", "iVBORw0KGgoAAAANSUhEUgAA".repeat(400)), 10);
    let small = chat("Say hello.", 1);
    let tokens = format!("{{\"model\":\"m\",\"prompt\":[{}]}}", vec!["31415"; 20_000].join(","));
    let embedding = format!(
        "{{\"object\":\"list\",\"data\":[{{\"embedding\":[{}]}}],\"usage\":{{\"prompt_tokens\":3}}}}",
        vec!["-0.017439683899283409"; 5_000].join(",")
    );
    for (name, text) in [
        ("chat, small", &small),
        ("chat, prose", &prose),
        ("chat, code with many quotes", &code),
        ("chat, pictures", &picture),
        ("token ids", &tokens),
        ("embedding", &embedding),
    ] {
        writeln!(io::stdout(), "{name}, {} bytes", text.len())?;
        let bytes = Bytes::from(text.clone());
        let edits = [Edit::set("model", "\"other\"")];
        measure("std::str::from_utf8", &bytes, |text| {
            black_box(std::str::from_utf8(text).is_ok());
        })?;
        measure("serde_json::Value", &bytes, |text| {
            black_box(serde_json::from_slice::<serde_json::Value>(text).is_ok());
        })?;
        measure("serde_json, ignoring", &bytes, |text| {
            black_box(serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok());
        })?;
        measure("scan", &bytes, |text| {
            black_box(scan(text).is_ok());
        })?;
        measure("read and set the model", &bytes, |text| {
            let body = Body::read(text.clone()).expect("it is JSON");
            black_box(body.apply(&edits));
        })?;
        measure("top level, in 16 KiB pieces", &bytes, |text| {
            let mut scanner = TopLevel::new(&["usage", "error"], &["provider"]);
            for piece in text.chunks(16 * 1024) {
                black_box(scanner.push(piece));
            }
            black_box(scanner.finish().is_ok());
        })?;
    }
    Ok(())
}

/// A chat request with that many messages.
fn chat(content: &str, messages: usize) -> String {
    let message = format!("{{\"role\":\"user\",\"content\":\"{content}\"}}");
    let messages = vec![message; messages].join(",");
    format!(
        "{{\"model\":\"vllm/meta-llama/Llama-3.1-8B-Instruct\",\"messages\":[{messages}],\"stream\":true,\"temperature\":0.7}}"
    )
}

/// Prints the best of several rounds.
fn measure(name: &str, text: &Bytes, mut run: impl FnMut(&Bytes)) -> io::Result<()> {
    let rounds = (2_000_000 / text.len()).max(4) as u32;
    let mut best = Duration::MAX;
    let start = Instant::now();
    while start.elapsed() < EACH {
        let round = Instant::now();
        for _ in 0..rounds {
            run(black_box(text));
        }
        best = best.min(round.elapsed() / rounds);
    }
    let speed = text.len() as f64 / best.as_secs_f64() / 1e9;
    writeln!(io::stdout(), "    {name:28} {:>9} ns {speed:>7.2} GB/s", best.as_nanos())
}
