//! The listener and the life of one connection: read a request, play its answer, notice when the client goes.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use super::log::{Book, Received, Seen};
use super::play::{self, Next};
use super::routes::Routes;
use super::{CONNECTION_LIMIT, Fate};
use crate::script::Reply;
use crate::wire::{self, BODY_LIMIT, Decoder, Framing, Head, Malformed};

/// What the test and the connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) log: Book,
    pub(super) routes: Mutex<Routes>,
    pub(super) fates: Mutex<VecDeque<Fate>>,
    pub(super) keep_alive: Mutex<Duration>,
    /// Grows when all idle connections are to close.
    pub(super) idle_round: watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            log: Book::default(),
            routes: Mutex::default(),
            fates: Mutex::default(),
            keep_alive: Mutex::new(CONNECTION_LIMIT),
            idle_round: watch::Sender::default(),
        }
    }
}

/// Accepts connections until `stopped` resolves; the caller's runtime then drops them all.
pub(super) async fn listen(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) {
    let listener =
        tokio::net::TcpListener::from_std(listener).expect("a non-blocking listener is taken over");
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let number = shared.log.write(|log| {
                        log.open += 1;
                        log.accepted += 1;
                        log.accepted
                    });
                    let open = Open(Arc::clone(&shared));
                    tokio::spawn(connection(open, stream, number as u64));
                }
                // Out of descriptors, or a client that was gone before it was accepted.
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::select! {
        () = accept => {}
        _ = stopped => {}
    }
}

/// Counts a connection as open for as long as it lives.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.log.write(|log| log.open -= 1);
    }
}

async fn connection(open: Open, stream: TcpStream, number: u64) {
    // Every write of a script is a segment of its own.
    let _ = stream.set_nodelay(true);
    let fate = open.0.fates.lock().pop_front().unwrap_or(Fate::Serve);
    let idle_round = open.0.idle_round.subscribe();
    let mut peer = Peer { stream, inbox: Vec::new(), idle_round };
    let next = match fate {
        Fate::Serve => peer.serve(&open.0, number).await,
        Fate::Close => Next::Close,
        Fate::Reset => Next::Reset,
        Fate::Ignore => {
            sleep(CONNECTION_LIMIT).await;
            Next::Close
        }
    };
    match next {
        Next::Reset => {
            let _ = peer.stream.set_zero_linger();
        }
        Next::Close | Next::KeepAlive => {
            let _ = peer.stream.shutdown().await;
        }
    }
    // The socket is closed before the connection stops counting as open.
    drop(peer);
    drop(open);
}

/// One client: its socket, and what has been read but not used.
struct Peer {
    stream: TcpStream,
    inbox: Vec<u8>,
    /// From the start of the connection, so that a round begun while it is busy is not missed.
    idle_round: watch::Receiver<u64>,
}

/// Why no further request can be read.
enum Broken {
    /// The client is gone, or has been idle too long.
    Gone,
    Malformed(Malformed),
}

impl From<Malformed> for Broken {
    fn from(why: Malformed) -> Broken {
        Broken::Malformed(why)
    }
}

impl Peer {
    /// Serves requests until one ends the connection.
    async fn serve(&mut self, shared: &Shared, number: u64) -> Next {
        loop {
            if !self.await_bytes(shared).await {
                return Next::Close;
            }
            let already = shared.log.read(|log| log.requests.len());
            let exchange = timeout(CONNECTION_LIMIT, self.exchange(shared, number)).await;
            match exchange {
                Ok(Ok(Next::KeepAlive)) => {}
                Ok(Ok(next)) => return next,
                Ok(Err(Broken::Gone)) => return Next::Close,
                Ok(Err(Broken::Malformed(why))) => {
                    shared.log.write(|log| log.malformed.push(format!("connection {number}: {why}")));
                    let head = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    let _ = timeout(Duration::from_secs(1), self.stream.write_all(head.as_bytes())).await;
                    return Next::Close;
                }
                Err(_) => {
                    shared.log.write(|log| {
                        let mine = |seen: &&mut Seen| seen.received.connection == number;
                        if let Some(seen) = log.requests[already..].iter_mut().find(mine) {
                            seen.expired = true;
                        }
                    });
                    return Next::Close;
                }
            }
        }
    }

    /// Waits, idle, for the next request to begin; `false` when there will be none.
    async fn await_bytes(&mut self, shared: &Shared) -> bool {
        if !self.inbox.is_empty() {
            return true;
        }
        let idle = *shared.keep_alive.lock();
        tokio::select! {
            biased;
            read = self.stream.read_buf(&mut self.inbox) => read.is_ok_and(|count| count > 0),
            _ = self.idle_round.changed() => false,
            () = sleep(idle) => false,
        }
    }

    async fn exchange(&mut self, shared: &Shared, number: u64) -> Result<Next, Broken> {
        let head = self.read_head().await?;
        let framing = Framing::of_request(&head.fields)?;
        let received = Received::new(head, number)?;
        let closing = wire::lists(&received.headers, "connection", "close") || received.version == "HTTP/1.0";
        let mut decoder = Decoder::new(framing);
        let early = shared.routes.lock().take_early(&received);
        let expects = wire::lists(&received.headers, "expect", "100-continue");
        let index = shared.log.write(|log| {
            log.requests.push(Seen { received, written: 0, hangup: None, answered: None, expired: false });
            log.requests.len() - 1
        });
        if let Some(reply) = early {
            let next = self.answer(shared, index, &reply, closing).await;
            if next == Next::KeepAlive {
                self.read_body(shared, index, &mut decoder).await?;
            }
            return Ok(next);
        }
        if expects
            && !decoder.done()
            && self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err()
        {
            shared.log.note(index, Seen::left);
            return Err(Broken::Gone);
        }
        if let Err(broken) = self.read_body(shared, index, &mut decoder).await {
            shared.log.note(index, Seen::left);
            return Err(broken);
        }
        let received = shared.log.read(|log| log.requests[index].received.clone());
        let reply = shared.routes.lock().take(&received);
        Ok(self.answer(shared, index, &reply, closing).await)
    }

    async fn read_head(&mut self) -> Result<Head, Broken> {
        loop {
            if let Some((head, used)) = Head::parse(&self.inbox)? {
                self.inbox.drain(..used);
                return Ok(head);
            }
            if !matches!(self.stream.read_buf(&mut self.inbox).await, Ok(count) if count > 0) {
                let count = self.inbox.len();
                return Err(
                    Malformed(format!("the client left after {count} bytes of a request's head")).into()
                );
            }
        }
    }

    async fn read_body(
        &mut self,
        shared: &Shared,
        index: usize,
        decoder: &mut Decoder,
    ) -> Result<(), Broken> {
        loop {
            let mut failure = None;
            shared.log.note(index, |seen| {
                match decoder.feed(&self.inbox, &mut seen.received.body) {
                    Ok(used) => drop(self.inbox.drain(..used)),
                    Err(why) => failure = Some(why),
                }
                if decoder.done() {
                    seen.received.complete = true;
                    seen.received.trailers = decoder.trailers().clone();
                }
            });
            if let Some(why) = failure {
                return Err(why.into());
            }
            if decoder.done() {
                return Ok(());
            }
            if !matches!(self.stream.read_buf(&mut self.inbox).await, Ok(count) if count > 0) {
                return Err(Broken::Gone);
            }
        }
    }

    /// Plays a reply while watching the client, and notes how it went.
    async fn answer(&mut self, shared: &Shared, index: usize, reply: &Reply, closing: bool) -> Next {
        let head_only = shared.log.read(|log| log.requests[index].received.method == "HEAD");
        let (mut reader, mut writer) = self.stream.split();
        let played = tokio::select! {
            biased;
            next = play::play(&mut writer, reply, closing, head_only, |count| {
                shared.log.note(index, |seen| seen.written += count);
            }) => next,
            () = watch_client(&mut reader, &mut self.inbox) => Err(io::ErrorKind::ConnectionReset.into()),
        };
        match played {
            Ok(next) => {
                shared.log.note(index, |seen| seen.answered = Some(Instant::now()));
                next
            }
            Err(_) => {
                shared.log.note(index, Seen::left);
                Next::Close
            }
        }
    }
}

impl Seen {
    fn left(&mut self) {
        self.hangup = Some(Instant::now());
    }
}

/// Reads on (pipelined requests, a body that is answered early) until the client closes or resets.
async fn watch_client(reader: &mut ReadHalf<'_>, inbox: &mut Vec<u8>) {
    loop {
        if inbox.len() > BODY_LIMIT {
            // Bounded memory comes before noticing the close.
            std::future::pending::<()>().await;
        }
        if !matches!(reader.read_buf(inbox).await, Ok(count) if count > 0) {
            return;
        }
    }
}
