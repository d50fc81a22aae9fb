//! This program once more, as a child: with the engines as its providers, and its log in our hands.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::watch;
use torture::{Door, Engines, Gateway, Inside, Log, Names, UPSTREAM_KEY};

/// How long the child may take until it listens and knows the engines.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The child's own key.
const KEY: &str = "sk-torture-master-7d21e9";

/// A gateway that was started for the wall. Dropped, it is gone, and its folder with it.
pub(super) struct Started {
    child: Child,
    folder: PathBuf,
    address: String,
    log: watch::Receiver<Log>,
}

/// What the child is told: the engine that goes wrong three times, twice under time limits so long that a busy machine or
/// a leaving client is never taken for silence, once under short ones; a breaker that one failure opens, so that what it
/// thinks of each call shows; short waits.
fn configuration(engines: &Engines) -> String {
    let provider = |name: &str, address: std::net::SocketAddr, seconds: u32| {
        format!(
            "  {name}:\n    type: vllm\n    base_url: http://{address}/v1\n    api_key: {UPSTREAM_KEY}\n    \
             timeouts: {{first_byte: {seconds}s, idle: {seconds}s}}\n"
        )
    };
    let mut text = format!(
        "server: {{host: 127.0.0.1, port: 0, master_key: {KEY}, threads: 1}}\n\
         log: {{format: json, level: info}}\n\
         metrics: {{enabled: true}}\n\
         cache: {{model: {{local: {{cache_dir: cache}}}}}}\n\
         resilience:\n  \
           retry: {{max_retries: 2, initial_backoff: 5ms, max_backoff: 250ms}}\n  \
           circuit_breaker: {{failure_threshold: 1, timeout: 10m}}\n\
         providers:\n"
    );
    text.push_str(&provider("faulty", engines.faulty(), 60));
    text.push_str(&provider("speech", engines.faulty(), 60));
    text.push_str(&provider("hasty", engines.faulty(), 2));
    text.push_str(&provider("steady", engines.steady(), 60));
    if let Some(mortal) = engines.mortal() {
        text.push_str(&provider("mortal", mortal, 60));
    }
    text
}

/// Starts the child, and waits until it listens.
pub(super) async fn start(engines: &Engines) -> anyhow::Result<Started> {
    let folder = std::env::temp_dir().join(format!("ferrovia-torture-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
    let file = folder.join("config.yaml");
    std::fs::write(&file, configuration(engines)).with_context(|| file.display().to_string())?;
    let program = std::env::current_exe().context("this program does not know where it lies")?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(&file).env_clear().current_dir(&folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("the gateway cannot be started")?;
    let stderr = child.stderr.take().ok_or_else(|| anyhow!("the gateway has no standard error"))?;
    let (sender, log) = watch::channel(Log::default());
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            sender.send_modify(|log| {
                log.lines.extend(serde_json::from_str(&line));
                log.text.push_str(&line);
                log.text.push('\n');
            });
        }
        sender.send_modify(|log| log.over = true);
    });
    let mut started = Started { child, folder, address: String::new(), log };
    started.address = started.listening().await?;
    Ok(started)
}

impl Started {
    async fn listening(&self) -> anyhow::Result<String> {
        let address = |log: &Log| {
            let line = log.lines.iter().find(|line| line["message"] == "listening")?;
            line["address"].as_str().map(str::to_owned)
        };
        let mut log = self.log.clone();
        let waited =
            tokio::time::timeout(PATIENCE, log.wait_for(|log| log.over || address(log).is_some())).await;
        let found = waited.ok().and_then(Result::ok).and_then(|log| address(&log));
        found.ok_or_else(|| anyhow!("the gateway does not listen:\n{}", self.log.borrow().text))
    }

    /// What the wall is to know of it.
    pub(super) fn gateway(&self) -> Gateway {
        let door = Door { address: self.address.clone(), prefix: String::new(), key: Some(KEY.to_owned()) };
        let named = |instance: &str| format!("{instance}/{{model}}");
        let names = Names {
            faulty: named("faulty"),
            steady: Some(named("steady")),
            hasty: named("hasty"),
            mortal: named("mortal"),
            speech: named("speech"),
        };
        let secrets = [KEY.to_owned(), UPSTREAM_KEY.to_owned()].into();
        let inside = Inside { log: self.log.clone(), metrics: "/metrics", process: self.child.id(), secrets };
        let name = format!("ferrovia {}", env!("CARGO_PKG_VERSION"));
        Gateway { name, door, names, inside: Some(inside) }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // what has ended already is gone as well
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
