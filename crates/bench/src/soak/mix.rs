//! Many calls of all kinds on an engine that fails now and then, by clients of whom some leave: what was sent was answered,
//! counted and logged, and memory and descriptors are as they were.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::task::JoinSet;

use super::calls::{Caller, Dice, End, KINDS, request, target};
use super::{Request, Told, cores};
use crate::process::{Running, Start, account};
use crate::scenario::mib;
use crate::stage::free_port;

/// The faults that calls meet, each at this rate. Those that last for ever are not among them: each would hold a client
/// until its time is over.
const FAULTS: [&str; 34] = [
    "status:500",
    "status:503",
    "status:429",
    "error-200",
    "error-first-event",
    "error-later-event",
    "error-later-end",
    "json-for-stream",
    "stream-for-json",
    "html:200",
    "html:502",
    "empty:200",
    "empty-stream",
    "stall-before-head:30",
    "stall-mid-event:30",
    "close-before-head",
    "close-after-head",
    "close-mid-event",
    "close-between-events",
    "reset-before-head",
    "reset-after-head",
    "reset-mid-event",
    "half-close-mid-event",
    "truncate",
    "no-finish",
    "no-done",
    "unterminated",
    "length-too-long",
    "bad-chunk-size",
    "byte-by-byte",
    "huge-event:1",
    "endless",
    "after-done",
    "close-on-reuse",
];
const RATE: f64 = 0.003;

/// Clients at work at the same time.
const CLIENTS: usize = 48;

/// One of so many calls is left in the middle.
const LEAVES: u64 = 12;

/// The calls are made in so many parts; after each, memory is looked at when all is quiet. The first half shows what
/// is needed, the second may need no more than that.
const PARTS: u64 = 8;

/// What the allocator may keep in the second half beyond what it kept in the first: 80 bytes a call in 200,000 calls.
const RESIDUE: u64 = 8 << 20;

const KEY: &str = "key-of-the-soak";

/// Everything is quiet within this time after the last call.
const QUIET: Duration = Duration::from_secs(20);

pub(super) async fn run(asked: &Request) -> anyhow::Result<Told> {
    let folder = Folder::new()?;
    let (load_cores, gateway_cores) = cores();
    let engine_port = free_port()?;
    let faults: Vec<serde_json::Value> = FAULTS
        .iter()
        .map(|fault| serde_json::json!({ "when": { "probability": RATE }, "match": { "path": "/v1/" }, "fault": fault }))
        .collect();
    let schedule = folder.0.join("faults.json");
    fs::write(&schedule, serde_json::json!({ "seed": asked.seed, "rules": faults }).to_string())?;
    let engine_words = [
        "simulate",
        "--model=sim",
        "--prefill-tokens-per-second=inf",
        "--decode-tokens-per-second=inf",
        "--max-num-seqs=1024",
        &format!("--port={engine_port}"),
        &format!("--faults={}", schedule.display()),
    ];
    let start = |words: &[&str], cores: &[usize], environment: Vec<(String, String)>| Start {
        program: asked.gateway.clone(),
        arguments: words.iter().map(Into::into).collect(),
        environment,
        folder: folder.0.clone(),
        cores: cores.to_vec(),
    };
    let _engine = start(&engine_words, &load_cores, Vec::new()).logging_to(&folder.0.join("engine.log"))?;
    wait_for(SocketAddr::from(([127, 0, 0, 1], engine_port))).await.context("the simulated engine")?;

    let port = free_port()?;
    let set = [
        ("FERROVIA_HOST", "127.0.0.1".to_owned()),
        ("PORT", port.to_string()),
        ("FERROVIA_MASTER_KEY", KEY.to_owned()),
        ("VLLM_BASE_URL", format!("http://127.0.0.1:{engine_port}/v1")),
        ("METRICS_ENABLED", "true".to_owned()),
        // what shall be seen is what calls leave behind, not that an open breaker refuses them
        ("CIRCUIT_BREAKER_ENABLED", "false".to_owned()),
        // an engine that falls silent is given up soon
        ("HTTP_RESPONSE_HEADER_TIMEOUT", "5".to_owned()),
        ("HTTP_STREAM_IDLE_TIMEOUT", "3".to_owned()),
        ("RETRY_INITIAL_BACKOFF", "1ms".to_owned()),
        ("RETRY_MAX_BACKOFF", "5ms".to_owned()),
        ("FERROVIA_CACHE_DIR", folder.0.join("cache").display().to_string()),
    ];
    let set = set.map(|(name, value)| (name.to_owned(), value)).into();
    let log = folder.0.join("ferrovia.log");
    let running = start(&["serve"], &gateway_cores, set).logging_to(&log)?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_for(address).await.context("ferrovia")?;
    Soak { address, log, running, seed: asked.seed }.soak(asked.calls).await
}

struct Soak {
    address: SocketAddr,
    log: PathBuf,
    running: Running,
    seed: u64,
}

/// What the clients have seen.
#[derive(Debug, Default)]
struct Seen {
    sent: u64,
    whole: BTreeMap<u16, u64>,
    cut: u64,
    left: u64,
    unanswered: Vec<String>,
}

/// What is there when all is quiet.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    resident: u64,
    /// Open descriptors but those of idle connections to the engine.
    descriptors: u64,
    counted: u64,
    logged: u64,
}

impl Soak {
    async fn soak(mut self, calls: u64) -> anyhow::Result<Told> {
        let (mut told, began, mut seen) = (Told::default(), Instant::now(), Seen::default());
        let start = self.quiet(None).await?;
        let mut rests = Vec::new();
        for part in 0..PARTS {
            let share = calls * (part + 1) / PARTS - calls * part / PARTS;
            self.part(share, part, &mut seen).await;
            self.running.still_runs()?;
            let (counted, logged) = (start.counted + seen.sent, start.logged + seen.sent);
            rests.push(self.quiet(Some(Rest { counted, logged, ..start })).await?);
        }
        let last = rests.last().copied().unwrap_or(start);
        let answers: u64 = seen.whole.values().sum();
        let memory: Vec<String> = rests.iter().map(|rest| format!("{:.1}", mib(rest.resident))).collect();
        told.line(format!("mix: {} calls in {:.0} s", seen.sent, began.elapsed().as_secs_f64()));
        told.line(format!(
            "  answers       {answers} whole {:?}, {} cut off, {} left by the client",
            seen.whole, seen.cut, seen.left
        ));
        told.line(format!(
            "  counted       {} in metrics, {} in the log",
            last.counted - start.counted,
            last.logged - start.logged
        ));
        told.line(format!(
            "  RSS MiB       {:.1} at the start; after each eighth {}",
            mib(start.resident),
            memory.join(" ")
        ));
        told.line(format!(
            "  descriptors   {} at the start, {} at the end, idle connections to the engine not counted",
            start.descriptors, last.descriptors
        ));
        told.expect(seen.unanswered.is_empty(), || {
            let first = seen.unanswered.first().map(String::as_str).unwrap_or_default();
            format!("{} calls were not answered: {first}", seen.unanswered.len())
        });
        told.expect(last.counted - start.counted == seen.sent, || "metrics do not add up".to_owned());
        told.expect(last.logged - start.logged == seen.sent, || "log lines do not add up".to_owned());
        told.expect(last.descriptors <= start.descriptors, || "descriptors are leaked".to_owned());
        // an allocator gives little back of what many large answers at once have needed
        let (first, second) = rests.split_at(rests.len() / 2);
        let most = |rests: &[Rest]| rests.iter().map(|rest| rest.resident).max().unwrap_or_default();
        let allowed = most(first) + most(first) / 10 + RESIDUE;
        told.expect(most(second) <= allowed, || "memory grows".to_owned());
        Ok(told)
    }

    /// Makes so many calls, and closes all connections.
    async fn part(&self, calls: u64, part: u64, seen: &mut Seen) {
        let begun = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS as u64 {
            let (address, begun) = (self.address, begun.clone());
            let mut dice = Dice(self.seed ^ (part << 32) ^ (client << 48));
            clients.spawn(async move {
                let (mut caller, mut seen) = (Caller::new(address), Seen::default());
                while begun.fetch_add(1, Ordering::Relaxed) < calls {
                    let leave =
                        (dice.below(LEAVES) == 0).then(|| usize::try_from(dice.below(900)).unwrap_or(0));
                    let kind = dice.below(KINDS);
                    let request = request(kind, dice.below(1000), KEY);
                    seen.sent += 1;
                    match caller.call(&request, leave).await {
                        Ok(End::Whole(status)) => *seen.whole.entry(status).or_default() += 1,
                        Ok(End::Cut) => seen.cut += 1,
                        Ok(End::Left) => seen.left += 1,
                        Err(error) => seen.unanswered.push(format!("{}: {error}", target(kind))),
                    }
                }
                seen
            });
        }
        while let Some(client) = clients.join_next().await {
            match client {
                Ok(one) => seen.add(one),
                Err(error) => seen.unanswered.push(error.to_string()),
            }
        }
    }

    /// Waits until nothing is under way and everything is written down, and looks.
    async fn quiet(&self, expected: Option<Rest>) -> anyhow::Result<Rest> {
        let began = Instant::now();
        loop {
            let page = page(self.address).await?;
            let (open, counted) = (sum(&page, "ferrovia_requests_open"), sum(&page, "ferrovia_calls_total"));
            let logged = logged(&self.log)?;
            let idle = sum(&page, "ferrovia_idle_connections");
            let files = fs::read_dir(format!("/proc/{}/fd", self.running.pid))?.count() as u64;
            let descriptors = files.saturating_sub(idle);
            let as_before = expected.is_none_or(|before| {
                counted >= before.counted && logged >= before.logged && descriptors <= before.descriptors
            });
            if (open == 0 && as_before) || began.elapsed() > QUIET {
                let resident = account::memory(self.running.pid).resident;
                return Ok(Rest { resident, descriptors, counted, logged });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Seen {
    fn add(&mut self, other: Seen) {
        self.sent += other.sent;
        for (status, times) in other.whole {
            *self.whole.entry(status).or_default() += times;
        }
        self.cut += other.cut;
        self.left += other.left;
        self.unanswered.extend(other.unanswered);
    }
}

/// The page of metrics.
async fn page(address: SocketAddr) -> anyhow::Result<String> {
    let client = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: soak\r\nconnection: close\r\n\r\n").await?;
        let mut page = Vec::new();
        stream.read_to_end(&mut page).await?;
        Ok::<String, std::io::Error>(String::from_utf8_lossy(&page).into_owned())
    };
    Ok(tokio::time::timeout(Duration::from_secs(10), client).await.context("no metrics within 10 s")??)
}

/// All samples of a metric together.
fn sum(page: &str, name: &str) -> u64 {
    let samples =
        page.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum::<f64>() as u64
}

/// Lines of calls in the log.
fn logged(log: &Path) -> anyhow::Result<u64> {
    let mut lines = 0;
    for line in BufReader::new(fs::File::open(log)?).split(b'\n') {
        lines += u64::from(memchr::memmem::find(&line?, br#""message":"call""#).is_some());
    }
    Ok(lines)
}

async fn wait_for(address: SocketAddr) -> anyhow::Result<()> {
    let began = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        if began.elapsed() > Duration::from_secs(30) {
            bail!("nothing listens on {address} within 30 s");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A folder that goes when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Folder> {
        let path = std::env::temp_dir().join(format!("ferrovia-soak-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // what is left of it harms nobody
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_metric_are_added_up() {
        let page = "# TYPE a counter\na_total{x=\"1\"} 3\na_total{x=\"b c\"} 4\na_totals 9\nb 1\n";
        assert_eq!((sum(page, "a_total"), sum(page, "b"), sum(page, "c")), (7, 1, 0));
    }
}
