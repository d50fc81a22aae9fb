//! The pool: one request in, one answer out.

use std::{
    fmt,
    future::poll_fn,
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use http::{HeaderMap, Method, StatusCode};
use parking_lot::RwLock;
use tokio::{
    runtime::{self, Handle},
    time::{Instant, timeout},
};

use crate::{
    body::Outbound,
    connect::Dialer,
    error::{SendError, words},
    fields::Fields,
    http1::{Head, Malformed, request},
    incoming::{Incoming, Lease},
    link::{HeadError, Link},
    output::Upload,
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
    /// One for each runtime: as many as there are cores.
    shards: RwLock<Vec<(runtime::Id, Arc<Shard>)>>,
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
        let Outbound { method, path_and_query, fixed, mut headers, body } = request;
        request::check_target(&path_and_query)?;
        let mut body = Upload::new(body);
        let length = body.length();
        let begin = |link: &mut Link, headers: &HeaderMap, body: Upload| {
            let (method, target, host) = (&method, &*path_and_query, target.host_header());
            let fixed = fixed.as_ref().map_or(&[][..], Fields::text);
            link.begin(&request::Head { method, target, host, fixed, headers, length }, body);
        };
        let shard = self.shard();

        // A body that cannot be sent again gets a connection of its own: whether one that was kept still lives is known
        // only when a request was lost on it.
        if body.is_replayable()
            && let Some(mut link) = shard.take(target.id())
        {
            begin(&mut link, &headers, body);
            match exchange(target, &mut link, &method, &mut headers, limits).await? {
                Ok(head) => return Ok(answer(target, head, link, shard, limits, None)),
                // Closed under our hands. No response began, so the server has most likely not seen it.
                Err(HeadError::Ended | HeadError::Broken(_)) if !link.heard() => body = link.take_back(),
                Err(error) => return Err(classify(target, error, link.heard())),
            }
        }

        let began = Instant::now();
        // Boxed: the rare branch should not make every send's future larger.
        let mut link = Box::pin(self.inner.dialer.open(target, limits.connect)).await?;
        let took = began.elapsed();
        tracing::debug!(to = ?target, ?took, "connected");
        begin(&mut link, &headers, body);
        match exchange(target, &mut link, &method, &mut headers, limits).await? {
            Ok(head) => Ok(answer(target, head, link, shard, limits, Some(took))),
            Err(error) => Err(classify(target, error, link.heard())),
        }
    }

    /// How many connections wait for their next use, in all runtimes.
    pub fn idle_connections(&self) -> usize {
        self.inner.shards.read().iter().map(|(_, shard)| shard.count()).sum()
    }

    /// Closes the idle connections to a target that is no longer configured.
    pub fn forget(&self, target: &Target) {
        for (_, shard) in &*self.inner.shards.read() {
            shard.forget(target.id());
        }
    }

    fn shard(&self) -> Arc<Shard> {
        let runtime = Handle::current().id();
        if let Some((_, shard)) = self.inner.shards.read().iter().find(|(id, _)| *id == runtime) {
            return shard.clone();
        }
        // Started before the lock is taken: on a runtime that is shutting down, the shard's keeper ends
        // at once and asks for the lock itself.
        let pool = Arc::downgrade(&self.inner);
        let shard = Shard::start(self.inner.max_idle, self.inner.max_idle_per_target, move |shard| {
            Inner::drop_shard(&pool, runtime, shard);
        });
        let mut shards = self.inner.shards.write();
        if let Some((_, theirs)) = shards.iter().find(|(id, _)| *id == runtime) {
            // another thread of this runtime was faster
            return theirs.clone();
        }
        shards.push((runtime, shard.clone()));
        shard
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
        let is_ours = |found: &Arc<Shard>| std::ptr::eq(Arc::as_ptr(found), shard.as_ptr());
        let ours = shards.iter().position(|(id, found)| *id == runtime && is_ours(found));
        let gone = ours.map(|at| shards.swap_remove(at));
        drop(shards);
        drop(gone);
    }
}

/// One request over one connection. The outer error is the time limit's.
///
/// The response's fields take the place of the request's, once a byte of them has come.
async fn exchange(
    target: &Target,
    link: &mut Link,
    method: &Method,
    headers: &mut HeaderMap,
    limits: &Limits,
) -> Result<Result<Head, HeadError>, SendError> {
    let head = poll_fn(|cx| link.poll_head(cx, method, headers));
    let timed_out = |_| SendError::FirstByteTimeout { at: target.place(), after: limits.first_byte };
    timeout(limits.first_byte, head).await.map_err(timed_out)
}

fn answer(
    target: &Target,
    head: Head,
    link: Box<Link>,
    shard: Arc<Shard>,
    limits: &Limits,
    connected_in: Option<Duration>,
) -> Answer {
    let Head { status, headers, body, keep } = head;
    let lease = Lease { link, shard, target: target.id(), idle: limits.idle_pool, keep };
    Answer { status, headers, body: Incoming::new(body, lease), reused: connected_in.is_none(), connected_in }
}

/// What a failed exchange was. `heard` tells whether the peer said anything at all.
fn classify(target: &Target, error: HeadError, heard: bool) -> SendError {
    let at = target.place();
    match error {
        HeadError::Upload(error) => SendError::ClientBody(error),
        HeadError::Malformed(Malformed(what)) => SendError::InvalidHead { at, detail: what.into_owned() },
        // TLS may end without saying so
        HeadError::Broken(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            SendError::Reset { at, detail: words(&error) }
        }
        HeadError::Ended | HeadError::Broken(_) if heard => {
            SendError::Reset { at, detail: "the response head was cut off".to_owned() }
        }
        HeadError::Ended | HeadError::Broken(_) => {
            SendError::Reset { at, detail: "not a byte of a response came".to_owned() }
        }
    }
}
