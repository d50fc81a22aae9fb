//! The pool: one request in, one answer out.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::client::conn::TrySendError;
use parking_lot::RwLock;
use tokio::{
    runtime::{self, Handle},
    time::{Instant, timeout},
};

use crate::{
    body::{Outbound, SendBody, Slot, copy},
    connect::Dialer,
    error::{SendError, root},
    incoming::{Incoming, Lease},
    link::Link,
    shard::Shard,
    target::Target,
};

/// How a [`Pool`] behaves towards every target.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// No connection stays idle longer, whatever [`Limits::idle_pool`] says. Default 50 s.
    pub idle: Duration,
    /// Idle connections kept per target and runtime; the oldest goes when there are more. There is no
    /// limit on connections in use. Default 1,024.
    pub max_idle_per_target: usize,
    /// TLS settings; `None` builds [`default_tls`](crate::default_tls) when the first `https` target
    /// is connected to.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl Default for PoolSettings {
    fn default() -> PoolSettings {
        PoolSettings { idle: Duration::from_secs(50), max_idle_per_target: 1024, tls: None }
    }
}

/// How long one send may take, phase by phase.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the start to an open connection: name, TCP and TLS.
    pub connect: Duration,
    /// From handing the request to an open connection to the head of its response.
    pub first_byte: Duration,
    /// How long the connection may wait for its next use: less than the server's own keep-alive time
    /// (4 s for uvicorn's 5 s, 50 s for hosted services).
    pub idle_pool: Duration,
}

/// The head of a response and its body.
#[derive(Debug)]
pub struct Answer {
    /// The status. Informational responses (1xx) are skipped.
    pub status: StatusCode,
    /// The headers as they came.
    pub headers: HeaderMap,
    /// The body. Dropping it closes the connection unless it was read to its end.
    pub body: Incoming,
    /// Whether the connection had served another request before.
    pub reused: bool,
    /// How long connecting took, if it was not reused.
    pub connected_in: Option<Duration>,
}

/// Sends requests and keeps connections for the next ones.
///
/// Clones share their connections. Must be used inside a tokio runtime with time and IO enabled; any
/// number of runtimes may share a pool, each reuses only connections that it opened itself.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    max_idle: Duration,
    max_idle_per_target: usize,
    dialer: Dialer,
    shards: RwLock<HashMap<runtime::Id, Arc<Shard>>>,
}

impl Pool {
    /// An empty pool. Opens nothing, reads no certificates yet.
    pub fn new(settings: PoolSettings) -> Pool {
        Pool {
            inner: Arc::new(Inner {
                max_idle: settings.idle,
                max_idle_per_target: settings.max_idle_per_target,
                dialer: Dialer::new(settings.tls),
                shards: RwLock::default(),
            }),
        }
    }

    /// Sends one request and waits for the head of its response.
    ///
    /// Dropping the future closes the connection in whatever phase it is.
    ///
    /// # Errors
    /// Why no head came; see [`SendError`]. A 4xx or 5xx is an answer, not an error.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn send(
        &self,
        target: &Arc<Target>,
        request: Outbound,
        limits: &Limits,
    ) -> Result<Answer, SendError> {
        let (mut message, slot) = request.into_message(target)?;
        let shard = self.shard();

        while let Some(mut link) = shard.take(target.id()) {
            let replay = copy(&message);
            match exchange(target, &mut link, message, limits).await? {
                Ok(response) => {
                    return answer(target, response, link, shard, slot, limits, None);
                }
                // Closed while it was idle: not a byte was written, the next one may be better.
                Err(TrySend { unsent: Some(back), .. }) => message = back,
                // Closed under our hands. No response began, so the server has most likely not seen it.
                Err(TrySend { unsent: None, error }) => match replay {
                    Some(replay) if !link.heard() && !error.is_user() => {
                        message = replay;
                        break;
                    }
                    _ => return Err(classify(target, &error, link.heard(), slot)),
                },
            }
        }

        let began = Instant::now();
        // Boxed: the rare branch should not make every send's future larger.
        let mut link = Box::pin(self.inner.dialer.open(target, limits.connect)).await?;
        let took = began.elapsed();
        tracing::debug!(to = ?target, ?took, "connected");
        match exchange(target, &mut link, message, limits).await? {
            Ok(response) => answer(target, response, link, shard, slot, limits, Some(took)),
            Err(TrySend { error, .. }) => Err(classify(target, &error, link.heard(), slot)),
        }
    }

    /// How many connections wait for their next use, in all runtimes.
    pub fn idle_connections(&self) -> usize {
        self.inner.shards.read().values().map(|shard| shard.count()).sum()
    }

    /// Closes the idle connections to a target that is no longer configured.
    pub fn forget(&self, target: &Target) {
        for shard in self.inner.shards.read().values() {
            shard.forget(target.id());
        }
    }

    fn shard(&self) -> Arc<Shard> {
        let runtime = Handle::current().id();
        if let Some(shard) = self.inner.shards.read().get(&runtime) {
            return shard.clone();
        }
        // Started before the lock is taken: on a runtime that is shutting down, the shard's keeper ends
        // at once and asks for the lock itself.
        let pool = Arc::downgrade(&self.inner);
        let shard = Shard::start(self.inner.max_idle, self.inner.max_idle_per_target, move |shard| {
            Inner::drop_shard(&pool, runtime, shard);
        });
        self.inner.shards.write().entry(runtime).or_insert(shard).clone()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.idle_connections()).finish_non_exhaustive()
    }
}

impl Inner {
    /// A runtime has ended. Another may get its number, so its shard must not be found again.
    fn drop_shard(pool: &Weak<Inner>, runtime: runtime::Id, shard: &Weak<Shard>) {
        let Some(pool) = pool.upgrade() else { return };
        let mut shards = pool.shards.write();
        let ours = shards.get(&runtime).is_some_and(|found| std::ptr::eq(Arc::as_ptr(found), shard.as_ptr()));
        let gone = if ours { shards.remove(&runtime) } else { None };
        drop(shards);
        drop(gone);
    }
}

/// A request that got no response: the whole request if it was not begun, and why.
struct TrySend {
    unsent: Option<Request<SendBody>>,
    error: hyper::Error,
}

/// One request over one connection. The outer error is the time limit's.
async fn exchange(
    target: &Target,
    link: &mut Link,
    message: Request<SendBody>,
    limits: &Limits,
) -> Result<Result<Response<hyper::body::Incoming>, TrySend>, SendError> {
    match timeout(limits.first_byte, link.exchange(message)).await {
        Ok(Ok(response)) => Ok(Ok(response)),
        Ok(Err(mut failed)) => {
            let unsent = TrySendError::take_message(&mut failed);
            Ok(Err(TrySend { unsent, error: failed.into_error() }))
        }
        Err(_) => Err(SendError::FirstByteTimeout { at: target.place(), after: limits.first_byte }),
    }
}

fn answer(
    target: &Target,
    response: Response<hyper::body::Incoming>,
    link: Box<Link>,
    shard: Arc<Shard>,
    slot: Slot,
    limits: &Limits,
    connected_in: Option<Duration>,
) -> Result<Answer, SendError> {
    let (head, body) = response.into_parts();
    if head.status.is_informational() {
        // 101 is the only one hyper passes on, and nobody asked to switch.
        let detail = format!("status {} without having been asked for an upgrade", head.status.as_u16());
        return Err(SendError::InvalidHead { at: target.place(), detail });
    }
    let keep = head.version == Version::HTTP_11;
    let lease = Lease { link, shard, target: target.id(), idle: limits.idle_pool, slot, keep };
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: Incoming::new(body, lease),
        reused: connected_in.is_none(),
        connected_in,
    })
}

/// What a failed exchange was. `heard` tells whether the peer said anything at all.
fn classify(target: &Target, error: &hyper::Error, heard: bool, slot: Slot) -> SendError {
    if let Some(error) = slot.and_then(|slot| slot.lock().take()) {
        return SendError::ClientBody(error);
    }
    if error.is_body_write_aborted() {
        return SendError::ClientBody("the request body ended before its announced length".into());
    }
    let at = target.place();
    if error.is_parse_too_large() {
        let detail = "its response head is larger than 64 KiB or has more than 100 headers".to_owned();
        return SendError::InvalidHead { at, detail };
    }
    if error.is_parse() {
        return SendError::InvalidHead { at, detail: root(error) };
    }
    if error.is_canceled() && heard {
        // It spoke before it was asked.
        let detail = "it sent something before any request".to_owned();
        return SendError::InvalidHead { at, detail };
    }
    let detail = match (heard, error.is_incomplete_message()) {
        (true, true) => "the response head was cut off".to_owned(),
        (false, true) => "not a byte of a response came".to_owned(),
        _ => root(error),
    };
    SendError::Reset { at, detail }
}
