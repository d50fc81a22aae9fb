//! Files of a hundred megabytes beside many streams: what they cost in memory, how late the streams' events become, and
//! whether every byte arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::beside::{self, LATEST, Lateness};
use super::{Request, Told, cores};
use crate::process::account;
use crate::scenario::mib;
use crate::stage::Stage;
use crate::target::{Standing, Target};
use crate::upload::{Form, Model, ROUTE};

/// Below the limit of an upload, which is 100 MiB.
const FILE: usize = 100_000_000;

/// What they may cost above what the streams cost alone, however many there are: what an allocator keeps of a second
/// thousand of streams, and the threads that write to the disk.
const MOST: u64 = 12 << 20;

/// What each may cost on top: a mebibyte that stays in memory, blocks on their way to the disk and from it, what is read
/// and written at a time on both sides.
const MOST_EACH: u64 = 4 << 20;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn run(asked: &Request) -> anyhow::Result<Told> {
    let (load, gateway) = cores();
    let stage = Stage::open(load, gateway, None, asked.streams).await?;
    let standing = Target::Ferrovia(asked.gateway.clone()).start(&stage).await?;
    let mut told = Told::default();
    let (alone, without) = watched(&standing, beside::streams(&standing, asked.streams)).await;
    let alone = alone?;
    told.line(format!(
        "uploads: {} streams, an event every 2 s: RSS {:.1} MiB; lateness of events p99 {:.0} ms, worst {:.0} ms",
        asked.streams,
        mib(without),
        milliseconds(alone.p99),
        milliseconds(alone.worst)
    ));
    for (place, how) in [(Model::First, "sent on while they arrive"), (Model::Last, "stored first")] {
        let ((lateness, files), with) = watched(&standing, both(&standing, asked, place)).await;
        let (lateness, files) = (lateness?, files?);
        let more = with.saturating_sub(without);
        told.line(format!(
            "  beside {files} files of 100 MB, {} at a time, {how}: {:.1} MiB more; p99 {:.0} ms, worst {:.0} ms",
            asked.uploads,
            mib(more),
            milliseconds(lateness.p99),
            milliseconds(lateness.worst)
        ));
        told.expect(files > 0, || format!("no file {how} arrived"));
        told.expect(more <= MOST + MOST_EACH * asked.uploads as u64, || {
            format!("{} uploads {how} cost {:.1} MiB", asked.uploads, mib(more))
        });
        told.expect(lateness.worst <= LATEST, || format!("events were delayed by uploads {how}"));
    }
    Ok(told)
}

fn milliseconds(lateness: Duration) -> f64 {
    lateness.as_secs_f64() * 1e3
}

/// Streams, and uploads as long as they last.
async fn both(
    standing: &Standing,
    asked: &Request,
    place: Model,
) -> (anyhow::Result<Lateness>, anyhow::Result<u64>) {
    let over = Arc::new(AtomicBool::new(false));
    let uploads = async {
        let plan = standing.plan("bench");
        let form = Arc::new(Form::new(&plan.model, place, FILE));
        // the engine's own name for it has no instance before it
        let own = plan.model.rsplit('/').next().unwrap_or_default();
        let meant = Form::new(own, place, FILE).digest().to_string();
        let head = format!(
            "POST {ROUTE} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {}\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
            plan.key.as_deref().unwrap_or_default(),
            Form::kind(),
            form.length()
        );
        let mut clients = JoinSet::new();
        for _ in 0..asked.uploads {
            let (form, over, head, meant) = (form.clone(), over.clone(), head.clone(), meant.clone());
            let address = plan.address;
            clients.spawn(async move {
                let mut files = 0;
                while !over.load(Ordering::Relaxed) {
                    upload(address, &head, &form, &meant).await?;
                    files += 1;
                }
                Ok::<u64, anyhow::Error>(files)
            });
        }
        let mut files = 0;
        while let Some(client) = clients.join_next().await {
            files += client??;
        }
        Ok(files)
    };
    let streams = async {
        let lateness = beside::streams(standing, asked.streams).await;
        over.store(true, Ordering::Relaxed);
        lateness
    };
    tokio::join!(streams, uploads)
}

/// Sends one file, and hears from the engine what arrived.
async fn upload(address: std::net::SocketAddr, head: &str, form: &Form, meant: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(head.as_bytes()).await?;
    let (mut at, mut room) = (0, Vec::new());
    while at < form.length() {
        form.piece(at, &mut room);
        stream.write_all(&room).await.with_context(|| format!("an upload broke off after {at} bytes"))?;
        at += room.len();
    }
    let mut answer = Vec::new();
    let began = Instant::now();
    // the answer has an end of its own, and the connection stays
    while !answer.ends_with(b"}") {
        let limit = Duration::from_secs(30).saturating_sub(began.elapsed());
        let read = tokio::time::timeout(limit, stream.read_buf(&mut answer)).await;
        if read.context("no answer to an upload within 30 s")?? == 0 {
            break;
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    if !answer.starts_with("HTTP/1.1 200") || !answer.contains(meant) {
        bail!("an upload of {meant} was answered with {answer}");
    }
    Ok(())
}

/// Does something, and gives the most memory that the gateway held meanwhile.
async fn watched<T>(standing: &Standing, work: impl Future<Output = T>) -> (T, u64) {
    let (mut most, mut clock) = (0, tokio::time::interval(LOOK));
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return (done, most),
            _ = clock.tick() => {
                most = most.max(standing.pid.map(account::memory).unwrap_or_default().resident);
            }
        }
    }
}
