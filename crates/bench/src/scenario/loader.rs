//! The load generator as a program beside us, on its own core.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::ChildStdout;

use crate::load::{Outcome, Plan};
use crate::process::account::{self, Cpu, Memory};
use crate::process::{Running, Start};
use crate::stage::Stage;

/// So much longer than its own limit a load may take to say that it is over.
const GRACE: Duration = Duration::from_secs(30);

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// A load that has connected and waits for its word.
pub struct Loader {
    running: Running,
    lines: Lines<BufReader<ChildStdout>>,
    limit: Duration,
}

/// The most memory that was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peak {
    pub(crate) memory: Memory,
}

impl Loader {
    /// Starts it. When this returns it is connected and warm.
    pub async fn ready(stage: &Stage, plan: &Plan) -> anyhow::Result<Loader> {
        let mut arguments = vec!["load".into()];
        arguments.extend(plan.words().into_iter().map(Into::into));
        let start = Start {
            program: stage.tool.clone(),
            arguments,
            environment: Vec::new(),
            folder: "/".into(),
            cores: stage.load_cores.clone(),
        };
        let mut running = start.talking()?;
        let output = running.child.stdout.take().context("the load has no output")?;
        let mut loader = Loader { running, lines: BufReader::new(output).lines(), limit: plan.limit };
        loader.hears("ready").await?;
        Ok(loader)
    }

    /// Lets it begin.
    pub async fn go(&mut self) -> anyhow::Result<()> {
        let input = self.running.child.stdin.as_mut().context("the load has no input")?;
        input.write_all(b"go\n").await.context("the load has ended")
    }

    /// Waits until every client has the first piece of its answer.
    pub async fn all_open(&mut self) -> anyhow::Result<()> {
        self.hears("open").await
    }

    /// Waits for its end.
    pub async fn done(&mut self) -> anyhow::Result<Outcome> {
        loop {
            let line = self.line().await?;
            if line != "open" {
                return serde_json::from_str(&line).with_context(|| format!("the load said {line:?}"));
            }
        }
    }

    /// Waits for its end, and looks at the memory of a process meanwhile.
    pub(crate) async fn done_watching(&mut self, pid: Option<u32>) -> anyhow::Result<(Outcome, Peak)> {
        let Some(pid) = pid else { return Ok((self.done().await?, Peak::default())) };
        let (mut peak, mut clock) = (Peak::default(), tokio::time::interval(LOOK));
        let done = self.done();
        tokio::pin!(done);
        loop {
            tokio::select! {
                outcome = &mut done => return Ok((outcome?, peak)),
                _ = clock.tick() => {
                    let now = account::memory(pid);
                    peak.memory.resident = peak.memory.resident.max(now.resident);
                    peak.memory.proportional = peak.memory.proportional.max(now.proportional);
                }
            }
        }
    }

    async fn hears(&mut self, word: &str) -> anyhow::Result<()> {
        let line = self.line().await?;
        if line != word {
            // a load that could not begin, or in which not every client got through, says why
            if let Ok(outcome) = serde_json::from_str::<Outcome>(&line) {
                whole(&outcome)?;
            }
            bail!("the load said {line:?} where `{word}` was expected");
        }
        Ok(())
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let late = || format!("the load was silent for more than {} s", (self.limit + GRACE).as_secs());
        let line =
            tokio::time::timeout(self.limit + GRACE, self.lines.next_line()).await.with_context(late)??;
        line.context("the load ended without a result")
    }
}

/// Runs a load on a warm target: what it came to, and the CPU time that the process used meanwhile.
pub(crate) async fn judged(
    stage: &Stage,
    plan: &Plan,
    pid: Option<u32>,
) -> anyhow::Result<(Outcome, Duration)> {
    let (outcome, cpu, _) = run(stage, plan, pid, None).await?;
    Ok((outcome, cpu))
}

/// The same with the most memory that was seen. Looking costs a little of what is measured.
pub(crate) async fn judged_and_watched(
    stage: &Stage,
    plan: &Plan,
    pid: Option<u32>,
) -> anyhow::Result<(Outcome, Duration, Peak)> {
    run(stage, plan, pid, pid).await
}

async fn run(
    stage: &Stage,
    plan: &Plan,
    pid: Option<u32>,
    watched: Option<u32>,
) -> anyhow::Result<(Outcome, Duration, Peak)> {
    let cpu = || pid.map(Cpu::of).unwrap_or_default();
    let mut loader = Loader::ready(stage, plan).await?;
    let before = cpu();
    loader.go().await?;
    let (outcome, peak) = loader.done_watching(watched).await?;
    let used = cpu().since(before);
    whole(&outcome)?;
    Ok((outcome, used, peak))
}

/// A load in which calls failed measures failing, not serving.
pub(crate) fn whole(outcome: &Outcome) -> anyhow::Result<()> {
    if outcome.failed > 0 || outcome.calls == 0 {
        let why = outcome.first_failure.as_deref().unwrap_or("no call ended in time");
        bail!("{} of {} calls failed: {why}", outcome.failed, outcome.failed + outcome.calls);
    }
    Ok(())
}
