//! Listening, connections, and the handle on a running engine.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::deliver::{Body, deliver};
use crate::engine::{Engine, Ticket};
use crate::seen::Seen;
use crate::settings::Settings;
use crate::vllm;

/// Starts an engine and returns once it listens.
///
/// # Errors
/// If the address cannot be bound, no model is given, or a speed is not a positive number.
pub async fn start(settings: Settings) -> io::Result<Running> {
    let wrong = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
    if settings.models.is_empty() {
        return Err(wrong("the simulated engine needs at least one model".to_owned()));
    }
    for (name, speed) in [
        ("prefill_tokens_per_second", settings.prefill_tokens_per_second),
        ("decode_tokens_per_second", settings.decode_tokens_per_second),
    ] {
        // slower than this, a wait no longer fits into a duration
        if speed.is_nan() || speed < 1e-6 {
            return Err(wrong(format!("{name} is {speed}; give a positive number of tokens, or infinity")));
        }
    }
    let listener = TcpListener::bind(settings.listen).await?;
    let address = listener.local_addr()?;
    let engine = Arc::new(Engine::new(settings));
    let task = tokio::spawn(accept(listener, Arc::clone(&engine)));
    Ok(Running { engine, address, task })
}

/// A running engine. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    engine: Arc<Engine>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as the beginning of a URL, without a path.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The last requests, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.engine.ring.lock().all()
    }

    /// How many sequences are in the model right now, as `vllm:num_requests_running` tells it.
    pub fn running(&self) -> usize {
        self.engine.running()
    }

    /// How many requests their clients have left while the model was at work.
    pub fn aborted(&self) -> u64 {
        *self.engine.aborts().borrow()
    }

    /// Waits until so many requests were aborted since the start. Put a time limit around it.
    pub async fn wait_for_abort(&self, at_least: u64) {
        // the sender lives as long as `self`
        let _ = self.engine.aborts().wait_for(|aborted| *aborted >= at_least).await;
    }

    /// Stops listening and closes every connection at once.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, engine: Arc<Engine>) {
    // dropped with this future, which ends every connection
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&engine)));
                }
                // out of descriptors, most likely: what is open has to close first
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// When a connection last finished an answer, and how many are under way on it.
#[derive(Debug, Default)]
struct Use {
    busy: usize,
    idle_since: Option<Instant>,
}

async fn serve(stream: TcpStream, engine: Arc<Engine>) {
    // a client that is gone already fails at its first read
    let _ = stream.set_nodelay(true);
    let usage = Arc::new(Mutex::new(Use::default()));
    let service = service_fn(|request| {
        let (engine, usage) = (Arc::clone(&engine), Arc::clone(&usage));
        async move {
            usage.lock().busy += 1;
            let response = answer(request, engine).await;
            Ok::<_, Infallible>(response.map(|body| Counted { body, usage }))
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service)
    );
    let close = engine.settings.idle_close;
    let mut look = close;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = tokio::time::sleep(look) => {
                let now = usage.lock();
                look = match now.idle_since.filter(|_| now.busy == 0) {
                    Some(since) if since.elapsed() >= close => {
                        drop(now);
                        connection.as_mut().graceful_shutdown();
                        close
                    }
                    Some(since) => close.saturating_sub(since.elapsed()),
                    None => close,
                };
            }
        }
    }
}

async fn answer(request: Request<Incoming>, engine: Arc<Engine>) -> http::Response<Body> {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let collected = Limited::new(body, engine.settings.body_limit).collect().await;
    let (body, arrived) = match collected {
        Ok(body) => (body.to_bytes(), Ok(())),
        Err(error) => (Bytes::new(), Err(error)),
    };
    let seen = Seen {
        method: head.method.clone(),
        target,
        headers: head.headers.clone(),
        body: body.clone(),
        body_length: body.len(),
        at,
        status: None,
        ended: None,
    };
    let entry = engine.ring.lock().push(seen);
    let mut ticket = Ticket::new(Arc::clone(&engine), entry);
    let reply = match arrived {
        Ok(()) => vllm::answer(&engine, &head, body, &mut ticket),
        Err(error) => {
            ticket.fail();
            vllm::unreadable(error.is::<http_body_util::LengthLimitError>(), engine.settings.body_limit)
        }
    };
    deliver(reply, ticket).await
}

/// A body that tells its connection when it is out.
struct Counted {
    body: Body,
    usage: Arc<Mutex<Use>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut usage = self.usage.lock();
        usage.busy = usage.busy.saturating_sub(1);
        usage.idle_since = Some(Instant::now());
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
