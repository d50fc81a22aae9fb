//! The program's modes: `mock`, `load`, `measure`, `gate`, `soak`.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::Arguments;
use crate::gate;
use crate::load::{Crew, Outcome, Plan};
use crate::measure::{self, Request, USAGE};
use crate::{mock, soak};

/// Connections that may wait to be accepted by the mock upstream.
const BACKLOG: u32 = 4096;

/// Does what the command line says.
pub fn run(words: &[String]) -> ExitCode {
    let (mode, rest) = match words.split_first() {
        Some((mode, rest)) => (mode.as_str(), rest),
        None => ("help", words),
    };
    if matches!(mode, "help" | "--help" | "-h") || rest.iter().any(|word| word == "--help") {
        say(&mut std::io::stdout(), USAGE);
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tell = |text: &str| say(&mut std::io::stdout(), text);
    let done = match (runtime, mode) {
        (Err(error), _) => Err(error.into()),
        (Ok(runtime), "mock") => runtime.block_on(mock(rest)),
        (Ok(runtime), "load") => runtime.block_on(load(rest)),
        (Ok(runtime), "measure") => runtime.block_on(or_interrupted(measured(rest))),
        (Ok(runtime), "gate") => runtime.block_on(or_interrupted(gate::run(rest, tell))),
        (Ok(runtime), "soak") => runtime.block_on(or_interrupted(soak::run(rest, tell))),
        (Ok(_), other) => {
            Err(anyhow::anyhow!("`{other}` is not mock, load, measure, gate or soak\n\n{USAGE}"))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&mut std::io::stderr(), &format!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

async fn measured(words: &[String]) -> anyhow::Result<()> {
    measure::run(&Request::parse(words)?).await
}

/// Whatever was started is stopped when this ends, because its guards go: also when somebody interrupts.
async fn or_interrupted(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(interrupt), Ok(terminate), Ok(hangup)] = &mut ends else { bail!("signals cannot be heard") };
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => bail!("interrupted; everything that was started has been stopped"),
        _ = terminate.recv() => bail!("ended; everything that was started has been stopped"),
        _ = hangup.recv() => bail!("hung up; everything that was started has been stopped"),
    }
}

/// Serves as mock upstream until its input ends.
async fn mock(words: &[String]) -> anyhow::Result<()> {
    let mut arguments = Arguments::new(words);
    let mut port = 9001u16;
    while let Some(flag) = arguments.flag()? {
        match flag.as_str() {
            "port" => port = arguments.number("port")?,
            other => bail!("`mock` knows no --{other}"),
        }
    }
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], port).into()).with_context(|| format!("port {port}"))?;
    let listener = socket.listen(BACKLOG)?;
    tokio::select! {
        done = mock::serve(listener) => Ok(done?),
        () = input_ends() => Ok(()),
    }
}

async fn input_ends() {
    let (mut input, mut room) = (tokio::io::stdin(), [0; 64]);
    while matches!(input.read(&mut room).await, Ok(1..)) {}
}

/// Runs a load. It says `ready` when it is, waits for a line, says `open` when all clients have the first piece of
/// their answer, and ends with its outcome as JSON.
async fn load(words: &[String]) -> anyhow::Result<()> {
    let plan = Plan::parse(words)?;
    let crew = match Crew::gather(plan).await {
        Ok(crew) => crew,
        Err(problem) => {
            let outcome = Outcome { failed: 1, first_failure: Some(problem), ..Outcome::default() };
            say(&mut std::io::stdout(), &format!("{}\n", serde_json::to_string(&outcome)?));
            return Ok(());
        }
    };
    say(&mut std::io::stdout(), "ready\n");
    let mut word = String::new();
    let mut input = BufReader::new(tokio::io::stdin());
    if input.read_line(&mut word).await? == 0 {
        bail!("nobody said go");
    }
    let outcome = tokio::select! {
        outcome = crew.work(Arc::new(|| say(&mut std::io::stdout(), "open\n"))) => outcome,
        // who started us is gone
        () = async { while matches!(input.read_line(&mut word).await, Ok(1..)) {} } => return Ok(()),
    };
    say(&mut std::io::stdout(), &format!("{}\n", serde_json::to_string(&outcome)?));
    // tokio reads input on a thread that only more input would end
    std::process::exit(0)
}

fn say(out: &mut dyn Write, text: &str) {
    // nobody is left to be told that nobody listens
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
