//! Prompts of ten megabytes beside many streams: how late the streams' events become.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Request, Told, cores};
use crate::load::{Client, Plan, request};
use crate::stage::Stage;
use crate::target::{Standing, Target};

/// Below the limit of a body, which is 10 MiB.
const PROMPT: usize = 10_000_000;

/// Who send them, one after another.
const WRITERS: usize = 4;

/// The mock's slowest stream: an event every two seconds.
const PAUSE: Duration = Duration::from_secs(2);
const EVENTS: u32 = 6;

/// An event that comes later than this has been delayed badly.
pub(super) const LATEST: Duration = Duration::from_secs(1);

pub(super) async fn run(asked: &Request) -> anyhow::Result<Told> {
    let (load, gateway) = cores();
    let stage = Stage::open(load, gateway, None, asked.streams).await?;
    let standing = Target::Ferrovia(asked.gateway.clone()).start(&stage).await?;
    let alone = streams(&standing, asked.streams).await?;
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let plan = Plan { prompt: PROMPT, ..standing.plan("bench") };
        writers.spawn(async move {
            let (bytes, mut client, mut calls) = (request(&plan), Client::new(plan.address), 0u64);
            let began = Instant::now();
            while began.elapsed() < PAUSE * (EVENTS + 1) {
                client.exchange(&bytes, None, || {}).await?;
                calls += 1;
            }
            Ok::<u64, String>(calls)
        });
    }
    let beside = streams(&standing, asked.streams).await?;
    let mut prompts = 0;
    while let Some(writer) = writers.join_next().await {
        match writer? {
            Ok(calls) => prompts += calls,
            Err(error) => bail!("a prompt of 10 MB was not answered: {error}"),
        }
    }
    let mut told = Told::default();
    let milliseconds = |lateness: Duration| lateness.as_secs_f64() * 1e3;
    told.line(format!(
        "beside: {} streams, an event every 2 s; lateness of events p99 {:.0} ms, worst {:.0} ms; beside {prompts} \
         prompts of 10 MB p99 {:.0} ms, worst {:.0} ms",
        asked.streams,
        milliseconds(alone.p99),
        milliseconds(alone.worst),
        milliseconds(beside.p99),
        milliseconds(beside.worst),
    ));
    told.expect(beside.worst <= LATEST, || "events were delayed by more than a second".to_owned());
    Ok(told)
}

/// How much later than its time events came.
pub(super) struct Lateness {
    pub(super) p99: Duration,
    pub(super) worst: Duration,
}

/// Opens streams, all within one pause, and hears them to their ends.
pub(super) async fn streams(standing: &Standing, count: usize) -> anyhow::Result<Lateness> {
    let plan = Plan { events: Some(EVENTS), pause: PAUSE, ..standing.plan("bench-2000ms") };
    let bytes: Arc<[u8]> = request(&plan).into();
    let mut open = JoinSet::new();
    for at in 0..count {
        let (bytes, address) = (bytes.clone(), plan.address);
        let turn = PAUSE * u32::try_from(at).unwrap_or(0) / u32::try_from(count).unwrap_or(1);
        open.spawn(async move {
            tokio::time::sleep(turn).await;
            tokio::time::timeout(PAUSE * EVENTS * 3, hear(address, &bytes)).await
        });
    }
    let mut late = Vec::new();
    while let Some(done) = open.join_next().await {
        late.extend(done???);
    }
    late.sort_unstable();
    let worst = late.last().copied().unwrap_or_default();
    let p99 = late.get(late.len() * 99 / 100).copied().unwrap_or_default();
    Ok(Lateness { p99, worst })
}

/// Hears one stream, and notes how much later than a pause each event came.
async fn hear(address: std::net::SocketAddr, request: &[u8]) -> anyhow::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let (mut late, mut before, mut end) = (Vec::new(), None, Vec::new());
    let mut room = vec![0; 16 << 10];
    loop {
        let bytes = stream.read(&mut room).await?;
        let now = Instant::now();
        if bytes == 0 {
            bail!("the stream was closed after {} events", late.len());
        }
        end.extend_from_slice(&room[..bytes]);
        // what comes with the event before it is no event of its own
        let gap = before.replace(now).map(|before| now - before);
        late.extend(gap.filter(|gap| *gap > PAUSE / 4).map(|gap| gap.saturating_sub(PAUSE)));
        if end.ends_with(b"0\r\n\r\n") {
            return Ok(late);
        }
        end.drain(..end.len().saturating_sub(8));
    }
}
