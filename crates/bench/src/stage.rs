//! What all measurements share: the machine, the mock upstream, a folder for configurations and logs.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::net::TcpStream;

use crate::load::{Client, Plan, request};
use crate::process::machine::{Machine, find_command};
use crate::process::{Running, Start};

/// Where the measurements take place.
#[derive(Debug)]
pub struct Stage {
    /// The machine.
    pub machine: Machine,
    /// Cores of the load and of the mock.
    pub load_cores: Vec<usize>,
    /// Cores of what is measured.
    pub gateway_cores: Vec<usize>,
    /// The mock upstream.
    pub mock: SocketAddr,
    /// Its process.
    pub mock_pid: u32,
    /// How many connections a proxy needs, both sides together.
    pub proxy_connections: usize,
    /// This program, which is also the load generator and the mock.
    pub tool: PathBuf,
    _mock: Running,
    folder: Folder,
    made: AtomicUsize,
}

impl Stage {
    /// Starts the mock upstream, at this port or at any. Not more than so many streams will be open at once.
    pub async fn open(
        load_cores: Vec<usize>,
        gateway_cores: Vec<usize>,
        port: Option<u16>,
        streams: usize,
    ) -> anyhow::Result<Stage> {
        let tool = std::env::current_exe().context("where is this program?")?;
        let name = format!("ferrovia-bench-{}", std::process::id());
        let folder = Folder::at(std::env::temp_dir().join(name))?;
        let port = match port {
            Some(port) => port,
            None => free_port()?,
        };
        let mock = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpStream::connect(mock).await.is_ok() {
            bail!("something listens on {mock} already, where the mock upstream should");
        }
        let start = Start {
            program: tool.clone(),
            arguments: vec!["mock".into(), format!("--port={port}").into()],
            environment: Vec::new(),
            folder: folder.path.clone(),
            cores: load_cores.clone(),
        };
        // it ends when its standard input does: also should we be killed
        let running = start.talking()?;
        let stage = Stage {
            machine: Machine::here(),
            load_cores,
            gateway_cores,
            mock,
            mock_pid: running.pid,
            proxy_connections: proxy_connections(streams),
            tool,
            _mock: running,
            folder,
            made: AtomicUsize::new(0),
        };
        stage.mock_answers().await?;
        Ok(stage)
    }

    async fn mock_answers(&self) -> anyhow::Result<()> {
        let (request, began) = (request(&Plan::one_call(self.mock, "bench")), Instant::now());
        while let Err(problem) = Client::new(self.mock).exchange(&request, None, || {}).await {
            if began.elapsed() > Duration::from_secs(10) {
                bail!("the mock upstream does not answer: {problem}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// A folder for one target, by a name that no other has.
    pub(crate) fn folder(&self) -> anyhow::Result<Folder> {
        Folder::at(self.folder.path.join(self.made.fetch_add(1, Ordering::Relaxed).to_string()))
    }

    /// How many streams can be open at once: each is two files of a proxy.
    pub fn most_streams(&self) -> usize {
        usize::try_from(self.machine.open_files / 2).unwrap_or(usize::MAX).saturating_sub(250)
    }

    /// What keeps the figures from being better, in words.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if find_command("taskset").is_none() {
            remarks.push("not pinned to cores: `taskset` is missing (apt install util-linux)".to_owned());
        } else if self.machine.cores.len() < 2 {
            remarks.push("load, mock and gateway share the only core".to_owned());
        }
        remarks
    }
}

/// Room for so many streams, and for what the other scenarios need. More would not help: nginx sets memory apart for
/// each. Less than a tenth to spare would harm: nginx then closes clients that have not spoken yet.
fn proxy_connections(streams: usize) -> usize {
    (streams * 9 / 4).max(8192)
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A folder that goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Where it is.
    pub(crate) path: PathBuf,
}

impl Folder {
    fn at(path: PathBuf) -> anyhow::Result<Folder> {
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Folder { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // what is left of it harms nobody
        let _ = fs::remove_dir_all(&self.path);
    }
}
