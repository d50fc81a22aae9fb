//! A raw HTTP/1.1 client: sends the bytes it is given, shows the bytes that come, leaves when told to.
//!
//! Works against anything that listens: `host:port` or `http://host:port`. Whatever it awaits is bounded by
//! [`Connection::limit`] (30 s unless changed); do not pause tokio's clock beside it.

mod reading;
#[cfg(test)]
mod tests;

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::request::Request;
use crate::response::{NoResponse, Response, ResponseHead};
use crate::sse::Event;
use reading::Reading;

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// It closes its socket.
    Close,
    /// It resets the connection (RST).
    Reset,
}

/// When a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// After half of the request's head.
    PartialHead,
    /// After the head and half of the request's body.
    PartialBody,
    /// After the whole request, without waiting for anything.
    BeforeAnswer,
    /// Once the head of the response is there.
    AfterHead,
    /// Once this many events are there.
    AfterEvents(usize),
    /// Once this many bytes of the response's body are there, wherever that is.
    AfterBytes(usize),
}

/// Sends one request on a connection of its own and reads the whole response.
///
/// # Panics
/// When there is no connection or no response; the message says what came instead.
pub async fn send(address: impl AsRef<str>, request: &Request) -> Response {
    let mut connection = Connection::open(address).await;
    connection.exchange(request).await
}

/// One connection to a server under test.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    host: String,
    inbox: Vec<u8>,
    limit: Duration,
    /// The method of the last request, which says whether its response has a body.
    method: String,
    reading: Option<Reading>,
}

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// When nobody accepts; [`Connection::try_open`] says so instead.
    pub async fn open(address: impl AsRef<str>) -> Connection {
        let address = address.as_ref();
        let opened = Connection::try_open(address).await;
        opened.unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Connects, or says why not.
    pub async fn try_open(address: impl AsRef<str>) -> io::Result<Connection> {
        let address = address.as_ref();
        let host = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/').to_owned();
        let limit = Duration::from_secs(30);
        let stream = timeout(limit, TcpStream::connect(&host)).await??;
        stream.set_nodelay(true)?;
        let method = "GET".to_owned();
        Ok(Connection { stream, host, inbox: Vec::new(), limit, method, reading: None })
    }

    /// Changes how long anything may take.
    pub fn limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// What `host` says in requests: the address as it was given, without the scheme.
    pub fn host(&self) -> &str {
        &self.host
    }

    // --- sending

    /// Sends exactly these bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        timeout(self.limit, self.stream.write_all(bytes.as_ref())).await?
    }

    /// Sends `piece` bytes at a time, `pause` apart.
    ///
    /// # Panics
    /// When `piece` is 0.
    pub async fn send_slowly(&mut self, bytes: &[u8], piece: usize, pause: Duration) -> io::Result<()> {
        for (index, piece) in crate::chunks::pieces_of(bytes, piece).into_iter().enumerate() {
            if index > 0 {
                sleep(pause).await;
            }
            self.send(piece).await?;
        }
        Ok(())
    }

    /// Sends a whole request.
    pub async fn request(&mut self, request: &Request) -> io::Result<()> {
        self.method.clone_from(&request.method);
        let bytes = request.to_bytes(&self.host);
        self.send(bytes).await
    }

    /// Sends a request and reads its whole response. A server that answers and closes before the whole
    /// request is there has answered all the same.
    ///
    /// # Panics
    /// When there is no response.
    pub async fn exchange(&mut self, request: &Request) -> Response {
        let sent = self.request(request).await;
        match self.try_response().await {
            Ok(response) => response,
            Err(error) => {
                panic!("no response from {} to {}: {error}{}", self.host, request.method, shown(&sent))
            }
        }
    }

    // --- receiving

    /// Waits for the head of the response; the body may still be coming. Interim (1xx) responses are skipped.
    ///
    /// # Panics
    /// When there is none.
    pub async fn head(&mut self) -> ResponseHead {
        let reading = self.begin().await;
        reading.unwrap_or_else(|error| panic!("{error}")).head.clone()
    }

    /// Waits for the next server-sent event, with the time at which its last byte had arrived; `None` at the
    /// end of the response. An unfinished last block comes as an event that is not `complete`.
    ///
    /// # Panics
    /// When there is no response.
    pub async fn next_event(&mut self) -> Option<(Instant, Event)> {
        let found = self.within(async |connection| connection.find_event().await).await;
        found.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until this many bytes of the response's body are there, or its end; returns the body so far.
    ///
    /// # Panics
    /// When there is no response.
    pub async fn body_at_least(&mut self, bytes: usize) -> Vec<u8> {
        let body = self
            .within(async |connection| {
                while connection.begin_reading().await?.body.len() < bytes && connection.read_more().await? {}
                Ok(connection.begin_reading().await?.body.clone())
            })
            .await;
        body.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Reads the response to its end, with what has been read of it already.
    ///
    /// # Panics
    /// When there is none; [`Connection::try_response`] says so instead.
    pub async fn response(&mut self) -> Response {
        self.try_response().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Reads the response to its end, or says why there is none. A body that ends too soon is a response,
    /// see [`Response::ended`]; one whose framing is broken is not.
    pub async fn try_response(&mut self) -> Result<Response, NoResponse> {
        self.within(async |connection| {
            connection.begin_reading().await?;
            while connection.read_more().await? {}
            Ok(())
        })
        .await?;
        let Some(Reading { head, decoder, body, arrivals, ended: Some((ended, ended_at)), .. }) =
            self.reading.take()
        else {
            unreachable!("reading goes on until an end is noted");
        };
        Ok(Response {
            status: head.status,
            reason: head.reason,
            headers: head.headers,
            body,
            trailers: decoder.trailers().clone(),
            ended,
            head_at: head.at,
            ended_at,
            arrivals,
        })
    }

    /// Waits until the server closes or resets the connection, and says when. What comes before is dropped.
    ///
    /// # Panics
    /// When it does not within the limit.
    pub async fn wait_for_close(&mut self) -> Instant {
        let mut dropped = [0; 4096];
        let closed = timeout(self.limit, async {
            while matches!(self.stream.read(&mut dropped).await, Ok(count) if count > 0) {}
            Instant::now()
        });
        closed.await.unwrap_or_else(|_| panic!("{} kept the connection open for {:?}", self.host, self.limit))
    }

    /// Reads whatever comes until the server closes, with nothing taken for a response.
    pub async fn raw_to_close(&mut self) -> String {
        self.raw_until(|_| false).await
    }

    /// Reads whatever comes up to and including a blank line. Bytes after it that arrived with it are kept for
    /// the next response.
    pub async fn raw_to_blank_line(&mut self) -> String {
        self.raw_until(|bytes| bytes.windows(4).any(|four| four == b"\r\n\r\n")).await
    }

    // --- leaving

    /// Leaves now.
    pub fn leave(self, how: Leaving) -> Instant {
        if how == Leaving::Reset {
            // Fails only on a socket that is closed already, which is as good.
            let _ = self.stream.set_zero_linger();
        }
        drop(self.stream);
        Instant::now()
    }

    /// Closes the socket now and says when.
    pub fn close(self) -> Instant {
        self.leave(Leaving::Close)
    }

    /// Resets the connection (RST) now and says when.
    pub fn reset(self) -> Instant {
        self.leave(Leaving::Reset)
    }

    /// Closes our direction only (FIN); reading goes on.
    pub async fn half_close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Sends as much of the request as the phase says, waits for what it says, and leaves. Says when.
    ///
    /// # Panics
    /// When the phase does not come: the response fails or ends before it.
    pub async fn leave_in(mut self, request: &Request, phase: Phase, how: Leaving) -> Instant {
        let sent = match phase {
            Phase::PartialHead => {
                let head = request.head_bytes(&self.host);
                self.send(&head[..head.len() / 2]).await
            }
            Phase::PartialBody => {
                let (head, body) = (request.head_bytes(&self.host), request.body_bytes());
                assert!(body.len() > 1, "half of a body needs a body of at least 2 bytes");
                self.send([&head, &body[..body.len() / 2]].concat()).await
            }
            _ => self.request(request).await,
        };
        sent.unwrap_or_else(|error| panic!("cannot send the request to {}: {error}", self.host));
        match phase {
            Phase::PartialHead | Phase::PartialBody | Phase::BeforeAnswer => {}
            Phase::AfterHead => drop(self.head().await),
            Phase::AfterEvents(count) => {
                for n in 1..=count {
                    assert!(
                        self.next_event().await.is_some(),
                        "the response ended before event {n} of {count}"
                    );
                }
            }
            Phase::AfterBytes(count) => {
                let body = self.body_at_least(count).await;
                assert!(body.len() >= count, "the response ended after {} bytes of {count}", body.len());
            }
        }
        self.leave(how)
    }
}

fn shown(sent: &io::Result<()>) -> String {
    sent.as_ref().err().map(|error| format!(" (sending failed: {error})")).unwrap_or_default()
}
