//! `ferrovia-bench soak`: many calls with faults, many clients that hardly read, prompts of megabytes and files of a
//! hundred beside streams.
//!
//! What is asked is not how fast, but whether everything is as it was afterwards: memory, descriptors, and that every call
//! was answered, counted and logged once.

mod beside;
mod calls;
mod mix;
mod stalled;
mod uploads;

use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::arguments::Arguments;
use crate::process::machine::Machine;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) gateway: PathBuf,
    /// Calls of the mix.
    pub(crate) calls: u64,
    /// Clients that hardly read.
    pub(crate) clients: usize,
    /// Streams beside the prompts, and beside the files.
    pub(crate) streams: usize,
    /// Files that arrive at the same time.
    pub(crate) uploads: usize,
    /// Decides who asks what, who leaves when, and which calls meet which fault.
    pub(crate) seed: u64,
    parts: Vec<String>,
}

const PARTS: [&str; 4] = ["mix", "stalled", "beside", "uploads"];

impl Request {
    fn parse(words: &[String]) -> anyhow::Result<Request> {
        let mut arguments = Arguments::new(words);
        let mut gateway = None;
        let (mut calls, mut clients, mut streams, mut uploads, mut seed) = (200_000, 1_000, 1_000, 4, 1);
        let mut parts: Vec<String> = PARTS.map(str::to_owned).into();
        while let Some(flag) = arguments.flag()? {
            match flag.as_str() {
                "gateway" => gateway = Some(arguments.value("gateway")?.into()),
                "calls" => calls = arguments.number("calls")?,
                "clients" => clients = arguments.number("clients")?,
                "streams" => streams = arguments.number("streams")?,
                "uploads" => uploads = arguments.number("uploads")?,
                "seed" => seed = arguments.number("seed")?,
                "only" => parts = arguments.value("only")?.split(',').map(str::to_owned).collect(),
                other => bail!(
                    "`soak` knows no --{other}; there are --calls, --clients, --streams, --uploads, --seed and --only"
                ),
            }
        }
        if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
            bail!("--only {unknown}: there are {}", PARTS.join(", "));
        }
        Ok(Request {
            gateway: gateway.context("--gateway FILE: which program?")?,
            calls,
            clients,
            streams,
            uploads,
            seed,
            parts,
        })
    }
}

/// Soaks, and says what came of it. Fails if anything is not as it should be.
pub async fn run(words: &[String], mut say: impl FnMut(&str)) -> anyhow::Result<()> {
    let request = Request::parse(words)?;
    let mut wrong = Vec::new();
    for part in &request.parts {
        let told = match part.as_str() {
            "mix" => mix::run(&request).await,
            "stalled" => stalled::run(&request).await,
            "uploads" => uploads::run(&request).await,
            _ => beside::run(&request).await,
        };
        let told = told.with_context(|| part.clone())?;
        say(&told.text);
        wrong.extend(told.wrong);
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
}

/// What a part found.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) text: String,
    pub(crate) wrong: Vec<String>,
}

impl Told {
    fn line(&mut self, line: String) {
        self.text.push_str(&line);
        self.text.push('\n');
    }

    fn expect(&mut self, holds: bool, wrong: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(wrong());
        }
    }
}

/// Load and mock on one core, the gateway on another.
fn cores() -> (Vec<usize>, Vec<usize>) {
    let cores = Machine::here().cores;
    let first = cores.first().copied().unwrap_or(0);
    (vec![first], vec![cores.get(1).copied().unwrap_or(first)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_can_be_chosen_and_sized() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let request = Request::parse(&words("--gateway g --calls 5 --only mix,beside")).unwrap();
        assert_eq!((request.calls, request.clients), (5, 1_000));
        assert_eq!(request.parts, ["mix", "beside"]);
        assert!(
            Request::parse(&words("--gateway g --only all")).unwrap_err().to_string().contains("stalled")
        );
        assert!(Request::parse(&words("--calls 5")).is_err());
    }
}
