//! The load generator: clients that ask the same thing again and again, and note what it took.
//!
//! One thread, raw sockets, requests made once: what it spends is the same for every target, and little.

mod client;
mod events;
mod outcome;
mod plan;
mod prompt;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use client::{Client, Exchange};
pub use events::EventCount;
pub use outcome::{Outcome, Quantiles};
pub use plan::{Plan, Shape};
pub use prompt::request;

use outcome::Tally;

/// Connections are opened so many at a time: more would measure how often the kernel repeats a SYN.
const CONNECTING: usize = 128;

/// Told once, when every client has the first piece of its answer.
pub type AllOpen = Arc<dyn Fn() + Send + Sync>;

/// Clients that are ready to begin.
pub struct Crew {
    plan: Arc<Plan>,
    request: Arc<[u8]>,
    clients: Vec<Client>,
}

impl Crew {
    /// Makes the clients. Those that will keep their connection have made some calls on it when this returns, so that
    /// what is measured afterwards is a gateway at work and no gateway that awakes.
    pub async fn gather(plan: Plan) -> Result<Crew, String> {
        let request: Arc<[u8]> = request(&plan).into();
        let mut clients: Vec<Client> = (0..plan.connections).map(|_| Client::new(plan.address)).collect();
        match plan.shape {
            Shape::Closed => {
                let mut warming = JoinSet::new();
                for mut client in clients.drain(..) {
                    let (plan, request) = (plan.clone(), request.clone());
                    warming.spawn(async move {
                        for _ in 0..plan.warm {
                            let call = client.exchange(&request, plan.marker(), || {});
                            within(plan.limit, call).await?;
                        }
                        Ok::<Client, String>(client)
                    });
                }
                while let Some(warmed) = warming.join_next().await {
                    clients.push(warmed.map_err(|error| error.to_string())??);
                }
            }
            // these open their connections while they are watched: what a connection costs is what is asked
            Shape::Staggered | Shape::AtOnce | Shape::Slow { .. } => {
                for _ in 0..plan.warm {
                    let mut client = Client::new(plan.address);
                    let call = client.exchange(&request, plan.marker(), || {});
                    // a slow stream need not be heard to its end
                    let _ = tokio::time::timeout(Duration::from_millis(300), call).await;
                }
            }
        }
        Ok(Crew { plan: Arc::new(plan), request, clients })
    }

    /// Does what was planned.
    pub async fn work(self, all_open: AllOpen) -> Outcome {
        let began = Instant::now();
        let shared = Arc::new(Shared {
            deadline: began + self.plan.limit,
            begun: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            connecting: Semaphore::new(CONNECTING),
            plan: self.plan.clone(),
            request: self.request,
            all_open,
        });
        let mut working = JoinSet::new();
        for (at, client) in self.clients.into_iter().enumerate() {
            working.spawn(shared.clone().worker(at, client));
        }
        let mut total = Tally::default();
        while let Some(done) = working.join_next().await {
            match done {
                Ok(tally) => total.add(tally),
                Err(error) => total.fail(error.to_string()),
            }
        }
        total.outcome(began.elapsed())
    }
}

/// What the workers of one run have in common.
struct Shared {
    plan: Arc<Plan>,
    request: Arc<[u8]>,
    deadline: Instant,
    begun: AtomicU64,
    open: AtomicUsize,
    connecting: Semaphore,
    all_open: AllOpen,
}

impl Shared {
    async fn worker(self: Arc<Shared>, at: usize, client: Client) -> Tally {
        let mut tally = Tally::default();
        let in_time = match self.plan.shape {
            Shape::Slow { bytes_per_second } => {
                let drip = self.drip(client, bytes_per_second, &mut tally);
                // a slow client is done when the time is over
                let _ = tokio::time::timeout_at(self.deadline.into(), drip).await;
                true
            }
            _ => tokio::time::timeout_at(self.deadline.into(), self.calls(at, client, &mut tally))
                .await
                .is_ok(),
        };
        tally.capped = !in_time;
        tally
    }

    /// One call after another, until all clients together have made those that were planned.
    async fn calls(&self, at: usize, mut client: Client, tally: &mut Tally) {
        match self.plan.shape {
            Shape::Staggered => {
                let share = u32::try_from(at).unwrap_or(0);
                let clients = u32::try_from(self.plan.connections).unwrap_or(1).max(1);
                tokio::time::sleep(self.plan.one_stream() * share / clients).await;
            }
            Shape::AtOnce => {
                let _turn = self.connecting.acquire().await;
                if let Err(error) = client.connect().await {
                    tally.fail(error);
                }
            }
            Shape::Closed | Shape::Slow { .. } => {}
        }
        while self.begun.fetch_add(1, Ordering::Relaxed) < self.plan.calls {
            match client.exchange(&self.request, self.plan.marker(), || self.opened()).await {
                Ok(exchange) => tally.note(&exchange),
                Err(error) => tally.fail(error),
            }
        }
    }

    /// One client that reads so slowly that its answer has to wait somewhere.
    async fn drip(&self, client: Client, bytes_per_second: usize, tally: &mut Tally) {
        let connected = {
            let _turn = self.connecting.acquire().await;
            client.drip(&self.request).await
        };
        let mut dripping = match connected {
            Ok(dripping) => dripping,
            Err(error) => return tally.fail(error),
        };
        let mut first = true;
        loop {
            match dripping.sip(bytes_per_second).await {
                Ok(0) => return tally.fail("the connection was closed on a slow client".to_owned()),
                Ok(bytes) => tally.bytes += bytes as u64,
                Err(error) => return tally.fail(error),
            }
            if std::mem::take(&mut first) {
                tally.slow_calls += 1;
                self.opened();
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn opened(&self) {
        if self.open.fetch_add(1, Ordering::Relaxed) + 1 == self.plan.connections {
            (self.all_open)();
        }
    }
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = |_| format!("no answer within {} s", limit.as_secs());
    tokio::time::timeout(limit, call).await.map_err(late)?
}

#[cfg(test)]
mod tests;
