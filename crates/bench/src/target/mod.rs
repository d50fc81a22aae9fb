//! What stands between the load and the mock upstream: nothing, a reference proxy, Ferrovia, or somebody else's gateway.

mod external;
mod ferrovia;
mod haproxy;
mod nginx;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub use external::External;

use crate::load::{Client, Plan, request};
use crate::process::account::Cpu;
use crate::process::{Running, Start};
use crate::stage::{Folder, Stage, free_port};

/// The name of the target without a gateway.
pub const DIRECT: &str = "direct";
/// The name of the target that the others are compared with.
pub const REFERENCE: &str = "nginx";
/// The name of the target whose goals are judged.
pub const JUDGED: &str = "ferrovia";

/// A target answers within this time after its start, or it does not start.
const START: Duration = Duration::from_secs(60);

/// How often a target is started anew.
const TRIES: usize = 3;

/// Something to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The mock upstream itself.
    Direct,
    /// nginx, at this path.
    Nginx(PathBuf),
    /// HAProxy, at this path.
    Haproxy(PathBuf),
    /// Ferrovia, at this path.
    Ferrovia(PathBuf),
    /// A gateway that runs already.
    External(External),
    /// Ferrovia under callgrind: where that is, and where the program is.
    Counted(PathBuf, PathBuf),
}

impl Target {
    /// How it is called in results.
    pub fn name(&self) -> &str {
        match self {
            Target::Direct => DIRECT,
            Target::Nginx(_) => REFERENCE,
            Target::Haproxy(_) => "haproxy",
            Target::Ferrovia(_) | Target::Counted(..) => JUDGED,
            Target::External(external) => &external.name,
        }
    }

    /// Whether we start it ourselves.
    pub fn is_ours(&self) -> bool {
        !matches!(self, Target::Direct | Target::External(_))
    }

    /// Version, as the program tells it.
    pub fn version(&self) -> Option<String> {
        let (program, flag) = match self {
            Target::Nginx(program) | Target::Haproxy(program) => (program, "-v"),
            Target::Ferrovia(program) => (program, "--version"),
            Target::Direct | Target::External(_) | Target::Counted(..) => return None,
        };
        let text = crate::process::output(program, &[flag])?;
        Some(text.lines().next()?.trim().to_owned())
    }

    /// Starts it, and returns when it serves calls.
    pub async fn start(&self, stage: &Stage) -> anyhow::Result<Standing> {
        let standing = match self {
            Target::Direct => Standing::of(DIRECT, stage.mock, Some(stage.mock_pid)),
            Target::External(external) => Standing {
                base: external.base.clone(),
                key: external.key.clone(),
                model_prefix: external.model_prefix.clone(),
                ..Standing::of(&external.name, external.address, Some(external.pid))
            },
            Target::Nginx(program) => {
                retrying(stage, async |port, folder| nginx::start(program, stage, port, folder).await).await?
            }
            Target::Haproxy(program) => {
                retrying(stage, async |port, folder| haproxy::start(program, stage, port, folder).await)
                    .await?
            }
            Target::Ferrovia(program) => {
                retrying(stage, async |port, folder| ferrovia::start(program, stage, port, folder).await)
                    .await?
            }
            Target::Counted(valgrind, program) => {
                retrying(stage, async |port, folder| {
                    ferrovia::start_counted(valgrind, program, stage, port, folder).await
                })
                .await?
            }
        };
        standing.serves().await.with_context(|| self.name().to_owned())?;
        Ok(standing)
    }
}

/// A target that serves.
#[derive(Debug)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Where.
    pub address: SocketAddr,
    /// Before the dialects' paths.
    pub base: String,
    /// The key that calls carry.
    pub key: Option<String>,
    /// Before the mock's model names.
    pub model_prefix: String,
    /// Whose CPU and memory count.
    pub pid: Option<u32>,
    /// What it took to start.
    pub start: Option<ColdStart>,
    /// Ends it when this is dropped.
    _running: Option<Running>,
    /// Goes with it, and behind it: its configuration and its log.
    _folder: Option<Folder>,
}

/// What it took to the first answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColdStart {
    /// CPU time.
    pub cpu: Duration,
    /// Time on the clock.
    pub clock: Duration,
}

impl Standing {
    fn of(name: &str, address: SocketAddr, pid: Option<u32>) -> Standing {
        Standing {
            name: name.to_owned(),
            address,
            base: String::new(),
            // the same bytes for everybody, so that they differ in what they do and not in what they are sent
            key: Some(ferrovia::KEY.to_owned()),
            model_prefix: ferrovia::MODEL_PREFIX.to_owned(),
            pid,
            start: None,
            _running: None,
            _folder: None,
        }
    }

    /// Starts a program, and waits for its first answer.
    async fn begin(name: &str, port: u16, start: &Start, log: &Path) -> anyhow::Result<Standing> {
        let began = Instant::now();
        let mut running = start.logging_to(log)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        while !answers(address).await {
            if let Err(error) = running.still_runs() {
                bail!("{name} did not start: {error}{}", tail(log));
            }
            if began.elapsed() > START {
                bail!("{name} did not answer within {} s{}", START.as_secs(), tail(log));
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        let clock = began.elapsed();
        let cpu = Cpu::of(running.pid).in_all();
        let mut standing = Standing::of(name, address, Some(running.pid));
        standing.start = Some(ColdStart { cpu, clock });
        standing._running = Some(running);
        Ok(standing)
    }

    /// Asks it to end, and waits until it has: what it writes at its end is in the folder then.
    pub(crate) async fn end(mut self, limit: Duration) -> anyhow::Result<Folder> {
        if let Some(mut running) = self._running.take() {
            running.end(limit).await.with_context(|| self.name.clone())?;
        }
        self._folder.take().context("what was not started here has no folder")
    }

    /// A plan for this target: one call of the model.
    pub fn plan(&self, model: &str) -> Plan {
        Plan {
            base: self.base.clone(),
            key: self.key.clone(),
            ..Plan::one_call(self.address, &format!("{}{model}", self.model_prefix))
        }
    }

    /// Waits until a call is answered as it should be.
    async fn serves(&self) -> anyhow::Result<()> {
        let (request, began) = (request(&self.plan("bench")), Instant::now());
        loop {
            let mut client = Client::new(self.address);
            match tokio::time::timeout(START, client.exchange(&request, None, || {})).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(problem)) if began.elapsed() > START => bail!("no call succeeds: {problem}"),
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(_) => bail!("no answer to a call within {} s", START.as_secs()),
            }
        }
    }
}

/// Whether something at this address answers HTTP, whatever it says.
async fn answers(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut begin = [0; 5];
        stream.read_exact(&mut begin).await?;
        Ok::<bool, std::io::Error>(&begin == b"HTTP/")
    };
    matches!(tokio::time::timeout(Duration::from_secs(5), ask).await, Ok(Ok(true)))
}

/// The last lines of a log, each below the one before.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].iter().map(|line| format!("\n    {line}")).collect()
}

/// Starts something on a free port in a folder of its own; several times, should its port be taken in between.
async fn retrying(
    stage: &Stage,
    start: impl AsyncFn(u16, &Path) -> anyhow::Result<Standing>,
) -> anyhow::Result<Standing> {
    let mut tried = 1;
    loop {
        let folder = stage.folder()?;
        match start(free_port()?, &folder.path).await {
            Ok(standing) => return Ok(Standing { _folder: Some(folder), ..standing }),
            Err(_) if tried < TRIES => tried += 1,
            Err(error) => return Err(error),
        }
    }
}
