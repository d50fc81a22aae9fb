//! A model server for tests: a real socket, exact bytes, scripted answers and faults.
//!
//! It runs on a thread and a runtime of its own, so that its times are true even while the test's runtime is
//! busy or its clock is paused, and so that dropping it stops everything at once. Each request with its
//! answer, and each idle wait between two, is bounded by [`CONNECTION_LIMIT`].

mod log;
mod play;
mod routes;
mod serve;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

pub use log::Received;
use log::{Log, Seen};
use routes::{Answer, Matcher};
use serve::Shared;

use crate::script::Reply;

/// The longest that one request with its answer, or one idle wait, may take on a connection.
pub const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// The longest that a `wait_for_…` waits before it panics.
pub const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// What becomes of a connection when it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is served, as all are unless told otherwise.
    Serve,
    /// It is closed (FIN) before anything is read.
    Close,
    /// It is reset (RST) before anything is read.
    Reset,
    /// It stays open, and nothing is ever read or written.
    Ignore,
}

/// A scripted HTTP/1.1 server on an ephemeral loopback port. Stops when dropped.
///
/// Requests are counted from 1 in the order in which their heads arrived.
#[derive(Debug)]
pub struct FakeUpstream {
    shared: Arc<Shared>,
    address: SocketAddr,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeUpstream {
    /// Starts on a free loopback port. Until told otherwise, every request is answered with 404.
    pub async fn start() -> FakeUpstream {
        FakeUpstream::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts on an address, for instance that of an upstream that has been stopped.
    ///
    /// # Panics
    /// When the address cannot be listened on.
    pub async fn start_at(address: SocketAddr) -> FakeUpstream {
        let listener =
            TcpListener::bind(address).unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let address = listener.local_addr().expect("a bound listener has an address");
        let runtime =
            Builder::new_current_thread().enable_all().build().expect("a small runtime can be built");
        let handle = runtime.handle().clone();
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("upstream-{}", address.port()))
            .spawn(move || runtime.block_on(serve::listen(listener, serving, stopped)))
            .expect("a thread can be started");
        FakeUpstream { shared, address, runtime: handle, stop: Some(stop), thread: Some(thread) }
    }

    /// `http://127.0.0.1:port`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it and closes every connection; says where it listened.
    pub fn stop(self) -> SocketAddr {
        self.address
    }

    // --- scripting

    /// The route for `method` (`*` for any) and `path`: an exact path, a prefix that ends in `*`, or a path
    /// with a query to compare the query too. Asking for the same route again adds to its queue; of several
    /// routes that fit, the one defined first answers.
    pub fn on(&self, method: &str, path: &str) -> Route<'_> {
        self.route(Matcher::Path { method: method.to_owned(), path: path.to_owned() })
    }

    /// A new route for the requests that `fits` accepts, asked once the whole body is there.
    pub fn on_match(&self, fits: impl Fn(&Received) -> bool + Send + Sync + 'static) -> Route<'_> {
        self.route(Matcher::Test(Arc::new(fits)))
    }

    fn route(&self, matcher: Matcher) -> Route<'_> {
        Route { upstream: self, index: self.shared.routes.lock().open(matcher) }
    }

    /// What requests that fit no route, or a route without an answer, get.
    pub fn otherwise(&self, reply: Reply) {
        self.shared.routes.lock().otherwise = Some(reply);
    }

    /// What becomes of the next connections, in order; those after them are served.
    pub fn on_connect(&self, fates: impl IntoIterator<Item = Fate>) {
        self.shared.fates.lock().extend(fates);
    }

    /// Closes connections that have been idle for this long, as uvicorn does after 5 s.
    pub fn keep_alive_for(&self, idle: Duration) {
        *self.shared.keep_alive.lock() = idle.min(CONNECTION_LIMIT);
    }

    /// Closes every connection that is idle, and every busy one as soon as its answer is out.
    pub fn close_idle(&self) {
        self.shared.idle_round.send_modify(|round| *round += 1);
    }

    // --- what was seen

    /// Every request so far, also those whose body is still coming or never came.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.log.read(|log| log.requests.iter().map(|seen| seen.received.clone()).collect())
    }

    /// How many connections were ever accepted. A client may be connected a moment before it is counted.
    pub fn connections(&self) -> usize {
        self.shared.log.read(|log| log.accepted)
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.log.read(|log| log.open)
    }

    /// What arrived that was not HTTP/1.1, in words. Such a connection gets a 400 and is closed.
    pub fn malformed(&self) -> Vec<String> {
        self.shared.log.read(|log| log.malformed.clone())
    }

    /// How many bytes of body the answer to the `n`-th request has written so far.
    pub fn written(&self, n: usize) -> u64 {
        self.shared.log.read(|log| log.request(n).map_or(0, |seen| seen.written))
    }

    /// Waits until the `n`-th request has arrived whole.
    ///
    /// # Panics
    /// After [`WAIT_LIMIT`], saying what has arrived instead; the same holds for every `wait_for_…`.
    pub async fn wait_for_request(&self, n: usize) -> Received {
        let whole = move |seen: &Seen| seen.received.complete.then(|| seen.received.clone());
        self.wait_on(n, "to arrive whole", whole).await
    }

    /// Waits until the head of the `n`-th request has arrived; its body may still be coming.
    pub async fn wait_for_head(&self, n: usize) -> Received {
        self.wait_on(n, "to arrive", |seen| Some(seen.received.clone())).await
    }

    /// Waits until `bytes` of the `n`-th request's body have arrived.
    pub async fn wait_for_body(&self, n: usize, bytes: usize) -> Received {
        let enough = move |seen: &Seen| (seen.received.body.len() >= bytes).then(|| seen.received.clone());
        self.wait_on(n, &format!("to bring {bytes} bytes of body"), enough).await
    }

    /// Waits until the client has closed or reset the connection of the `n`-th request while it was uploading
    /// or we were still answering, and says when. A client that only closes its own direction counts too.
    ///
    /// # Panics
    /// At once when the request has been answered whole, since the hang-up cannot come any more.
    pub async fn wait_for_hangup(&self, n: usize) -> Instant {
        let over = |seen: &Seen| (seen.hangup.is_some() || seen.answered.is_some()).then_some(seen.hangup);
        let hangup = self.wait_on(n, "to be hung up on", over).await;
        hangup.unwrap_or_else(|| {
            panic!("request {n} was answered whole, not hung up on; {}", self.shared.log.read(Log::story))
        })
    }

    /// Waits until the script of the `n`-th request has been played to its end, and says when.
    pub async fn wait_for_answered(&self, n: usize) -> Instant {
        self.wait_on(n, "to be answered whole", |seen| seen.answered).await
    }

    /// Waits until this many connections have been accepted in all.
    pub async fn wait_for_connections(&self, count: usize) {
        let what = format!("for {count} accepted connections");
        self.wait(what, move |log| (log.accepted >= count).then_some(())).await;
    }

    /// Waits until exactly `count` connections are open. Since a client may be connected a moment before it is
    /// counted, wait for its connection or request first.
    pub async fn wait_for_open_connections(&self, count: usize) {
        let what = format!("for {count} open connections");
        self.wait(what, move |log| (log.open == count).then_some(())).await;
    }

    async fn wait_on<T: Send + 'static>(
        &self,
        n: usize,
        what: &str,
        mut probe: impl FnMut(&Seen) -> Option<T> + Send + 'static,
    ) -> T {
        assert!(n > 0, "requests are counted from 1");
        self.wait(format!("for request {n} {what}"), move |log| log.request(n).and_then(&mut probe)).await
    }

    /// Waits on the upstream's own runtime, whose clock no test pauses.
    async fn wait<T: Send + 'static>(
        &self,
        what: String,
        probe: impl FnMut(&Log) -> Option<T> + Send + 'static,
    ) -> T {
        let shared = Arc::clone(&self.shared);
        let waiting = self.runtime.spawn(async move {
            let found = tokio::time::timeout(WAIT_LIMIT, shared.log.wait(probe)).await;
            found.map_err(|_| shared.log.read(Log::story))
        });
        match waiting.await.expect("the upstream runs as long as it is waited on") {
            Ok(found) => found,
            Err(story) => panic!("waited {} s {what} in vain; {story}", WAIT_LIMIT.as_secs()),
        }
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already; a second one here would abort.
            let _ = thread.join();
        }
    }
}

/// The queue of answers of one route: each request takes the next, the last one repeats.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    upstream: &'a FakeUpstream,
    index: usize,
}

impl Route<'_> {
    /// Adds an answer.
    pub fn then(self, reply: Reply) -> Self {
        self.add(Answer::Fixed(Box::new(reply)))
    }

    /// Adds an answer that is computed from the request. The function runs on the upstream's own thread: it
    /// must not block.
    pub fn then_with(self, answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        self.add(Answer::Computed(Arc::new(answer)))
    }

    /// From now on this answer alone: whatever the queue held is forgotten.
    pub fn now(self, reply: Reply) -> Self {
        self.upstream.shared.routes.lock().clear(self.index);
        self.then(reply)
    }

    fn add(self, answer: Answer) -> Self {
        self.upstream.shared.routes.lock().add(self.index, answer);
        self
    }
}
