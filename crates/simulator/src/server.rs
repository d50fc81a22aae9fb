//! Listening, connections, and the handle on a running engine.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::connections::Connection;
use crate::deliver::{Outgoing, deliver};
use crate::engine::Engine;
use crate::exchange::{self, Exchange};
use crate::fault::{self, Plan};
use crate::reply::Reply;
use crate::seen::Seen;
use crate::settings::Settings;
use crate::socket::Socket;
use crate::ticket::Ticket;
use crate::{personality, vllm};

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
    settings.faults.check().map_err(wrong)?;
    let listener = TcpListener::bind(settings.listen).await?;
    let address = listener.local_addr()?;
    let engine = Arc::new(Engine::new(settings));
    let task = tokio::spawn(accept(listener, Arc::clone(&engine)));
    Ok(Running { engine, address, task })
}

/// Starts so many engines alike, each with its own address, cache, queue and counters. Where a port is given,
/// the engines take it and those that follow.
///
/// # Errors
/// As [`start`]; then none of them runs.
pub async fn start_fleet(settings: Settings, count: usize) -> io::Result<Vec<Running>> {
    let mut fleet = Vec::with_capacity(count);
    for index in 0..count {
        let mut settings = settings.clone();
        if settings.listen.port() > 0 {
            let port = u16::try_from(index).ok().and_then(|index| settings.listen.port().checked_add(index));
            let beyond = || {
                let first = settings.listen.port();
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("there are no {count} ports from {first} on; choose a lower one, or 0 for any"),
                )
            };
            let port = port.ok_or_else(beyond)?;
            settings.listen.set_port(port);
        }
        fleet.push(start(settings).await?);
    }
    Ok(fleet)
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

    /// How many requests wait for a place in the batch.
    pub fn waiting(&self) -> usize {
        self.engine.scheduler.lock().waiting()
    }

    /// How many tokens of prompts were looked up in the prefix cache so far, and how many were found.
    pub fn prefix_cache(&self) -> (u64, u64) {
        let load = self.engine.scheduler.lock().load();
        load.looked.values().fold((0, 0), |(queries, hits), (more, found)| (queries + more, hits + found))
    }

    /// Which part of the KV cache running requests use, 0 to 1.
    pub fn kv_usage(&self) -> f64 {
        self.engine.scheduler.lock().load().kv_usage
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

    /// The numbers of the connections that are open, as [`Seen::connection`] counts them.
    pub fn open_connections(&self) -> Vec<u64> {
        self.engine.connections.numbers()
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
                    let connection = engine.connections.open();
                    connections.spawn(serve(stream, connection, Arc::clone(&engine)));
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

/// Serves a connection: hyper does, until an answer must be sent that hyper would not send.
async fn serve(stream: TcpStream, connection: Connection, engine: Arc<Engine>) {
    let mut socket = Socket::new(stream);
    while let Some((taken, exchange)) = serve_honestly(socket, connection.number, &engine).await {
        match exchange::run(taken, exchange).await {
            Some(kept) => socket = kept,
            None => return,
        }
    }
}

/// Serves requests until the connection ends, or has to be taken from hyper for an exchange.
async fn serve_honestly(socket: Socket, connection: u64, engine: &Arc<Engine>) -> Option<(Socket, Exchange)> {
    let usage = Arc::new(Mutex::new(Use::default()));
    let (take, mut taken) = mpsc::channel(1);
    let service = service_fn(|request| {
        let (engine, usage, take) = (Arc::clone(engine), Arc::clone(&usage), take.clone());
        async move {
            usage.lock().busy += 1;
            let exchange = answer(request, connection, engine).await;
            if exchange.plan.is_some() {
                // the receiver lives as long as the connection
                let _ = take.send(exchange).await;
                return std::future::pending().await;
            }
            let response = deliver(exchange.reply, exchange.ticket).await;
            Ok::<_, Infallible>(response.map(|body| Counted { body, usage }))
        }
    });
    let mut served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(socket), service);
    let close = engine.settings.idle_close;
    let mut look = close;
    loop {
        tokio::select! {
            _ = &mut served => return None,
            Some(exchange) = taken.recv() => {
                // nothing of this answer was written, and the request was read whole
                let parts = served.into_parts();
                let mut socket = parts.io.into_inner();
                socket.put_back(parts.read_buf);
                return Some((socket, exchange));
            }
            () = tokio::time::sleep(look) => {
                let now = usage.lock();
                look = match now.idle_since.filter(|_| now.busy == 0) {
                    Some(since) if since.elapsed() >= close => {
                        drop(now);
                        std::pin::Pin::new(&mut served).graceful_shutdown();
                        close
                    }
                    Some(since) => close.saturating_sub(since.elapsed()),
                    None => close,
                };
            }
        }
    }
}

/// The answer to a request, with a plan for it where a fault needs one.
async fn answer(request: Request<Incoming>, connection: u64, engine: Arc<Engine>) -> Exchange {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let collected = Limited::new(body, engine.settings.body_limit).collect().await;
    let (body, arrived) = match collected {
        Ok(body) => (body.to_bytes(), Ok(())),
        Err(error) => (Bytes::new(), Err(error)),
    };
    let serves = |name: &str| engine.model(Some(name), |_| true).is_some();
    let chosen = fault::choose(&engine.settings.faults, &engine.draws, serves, &head, &body);
    let seen = Seen {
        method: head.method.clone(),
        target,
        headers: head.headers.clone(),
        body: body.clone(),
        body_length: body.len(),
        body_hash: Seen::hash(&body),
        model: fault::model(&head, &body),
        at,
        status: None,
        answer: HeaderMap::new(),
        ended: None,
        fault: chosen.as_ref().ok().and_then(Option::as_ref).map(|chosen| chosen.injection.clone()),
        connection,
        sent: Vec::new(),
    };
    let entry = engine.ring.lock().push(seen);
    let mut ticket = Ticket::new(Arc::clone(&engine), entry);
    let (path, mut plan) = (head.uri.path(), None);
    let reply = match (arrived, chosen) {
        (Err(error), _) => {
            ticket.fail();
            let too_long = error.is::<http_body_util::LengthLimitError>();
            vllm::unreadable(too_long, engine.settings.body_limit)
        }
        (Ok(()), Err(wrong)) => personality::error(&engine, path, StatusCode::BAD_REQUEST, &wrong),
        (Ok(()), Ok(None)) => personality::answer(&engine, &head, body, &mut ticket),
        (Ok(()), Ok(Some(chosen))) => {
            let wording = |status, message: &str| personality::error(&engine, path, status, message);
            let planned = Plan::of(&chosen.injection);
            plan = Some(planned);
            if planned.silent() {
                Reply::empty(StatusCode::OK)
            } else if let Some(reply) = fault::instead(&chosen, &wording) {
                reply
            } else {
                let reply = personality::answer(&engine, &head, chosen.body.clone(), &mut ticket);
                fault::answer(chosen, reply)
            }
        }
    };
    let last = head.version == http::Version::HTTP_10
        || head.headers.get(http::header::CONNECTION).is_some_and(|value| value == "close");
    Exchange { reply, plan, ticket, last, bodiless: head.method == http::Method::HEAD }
}

/// A body that tells its connection when it is out.
struct Counted {
    body: Outgoing,
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
