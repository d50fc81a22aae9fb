//! The mock upstream: an engine that costs next to nothing, so that what is measured is the gateway.
//!
//! It answers from bytes made beforehand, on one thread. What it shall answer is said in the request itself (see
//! [`Wanted`]), so that it looks the same through every proxy and needs no restart between scenarios. `/version` and
//! `/openapi.json` are 404, as of an engine that tells nothing about itself. What it hears of a form with a file is how
//! long it was, and which.

mod answers;
mod wanted;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub use answers::Answers;
pub use wanted::{MODELS, Wanted};

use crate::upload::{Digest, ROUTE};
use crate::wire::{Body, Head};

/// A larger request is refused.
const LARGEST_REQUEST: usize = 64 << 20;

/// Room for what one read brings of a long body.
const ROOM: usize = 128 << 10;

/// Buffers that grew beyond this are given back after a request.
const KEPT: usize = 256 << 10;

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    let answers = Arc::new(Answers::new());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // no descriptor left, or a client that has gone again: neither ends the mock
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        stream.set_nodelay(true)?;
        let answers = answers.clone();
        tokio::spawn(async move {
            // a client that left in the middle is nothing to tell
            let received = Vec::with_capacity(2048);
            let _ =
                Connection { stream, received, request: Vec::new(), uploaded: None }.serve(&answers).await;
        });
    }
}

/// One client.
struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    request: Vec<u8>,
    /// What came in the place of a request that is not kept.
    uploaded: Option<Digest>,
}

impl Connection {
    async fn serve(&mut self, answers: &Answers) -> io::Result<()> {
        while let Some((post, path)) = self.request().await? {
            if let Some(digest) = self.uploaded.take() {
                self.stream.write_all(&answers::heard(&digest)).await?;
                continue;
            }
            let wanted = if post { Wanted::read(&path, &self.request) } else { None };
            self.request.clear();
            self.request.shrink_to(KEPT);
            match wanted {
                _ if !post && path == "/v1/models" => self.stream.write_all(answers.models()).await?,
                None => self.stream.write_all(answers.not_found()).await?,
                Some(wanted) if wanted.stream => self.stream_events(&wanted, answers).await?,
                Some(wanted) => {
                    if !wanted.pause.is_zero() {
                        tokio::time::sleep(wanted.pause).await;
                    }
                    self.stream.write_all(answers.whole(wanted.dialect, wanted.size)).await?;
                }
            }
        }
        Ok(())
    }

    /// The next request: whether it is a POST, and its path. The body is in `self.request`.
    async fn request(&mut self) -> io::Result<Option<(bool, String)>> {
        let (mut body, post, path, expects) = loop {
            if let Some(head) = Head::read(&self.received)? {
                let (method, target) = head.request()?;
                let (post, path) =
                    (method == "POST", target.split('?').next().unwrap_or_default().to_owned());
                let (bytes, body) = (head.bytes, Body::of_request(head.framing));
                let expects = head.expects_continue;
                self.received.drain(..bytes);
                break (body, post, path, expects);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Ok(None);
            }
        };
        if expects && !body.ended() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        self.uploaded = (post && path == ROUTE).then(Digest::default);
        loop {
            let (request, uploaded) = (&mut self.request, &mut self.uploaded);
            let taken = body.take(&self.received, |piece| match uploaded {
                Some(digest) => digest.add(piece),
                None => request.extend_from_slice(piece),
            })?;
            self.received.drain(..taken);
            if body.ended() {
                self.received.shrink_to(KEPT);
                return Ok(Some((post, path)));
            }
            if self.request.len() > LARGEST_REQUEST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a request larger than 64 MiB"));
            }
            // what did not come with the head is long
            self.received.reserve(ROOM);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Each event is a write of its own, as an engine sends its tokens.
    async fn stream_events(&mut self, wanted: &Wanted, answers: &Answers) -> io::Result<()> {
        let events = answers.stream(wanted.dialect);
        self.stream.write_all(&events.opening).await?;
        if wanted.pause.is_zero() {
            for _ in 0..wanted.events {
                self.stream.write_all(&events.token).await?;
                tokio::task::yield_now().await;
            }
        } else {
            let mut clock = tokio::time::interval(wanted.pause);
            clock.tick().await;
            for _ in 0..wanted.events {
                clock.tick().await;
                self.stream.write_all(&events.token).await?;
            }
        }
        self.stream.write_all(if wanted.usage { &events.closing_with_usage } else { &events.closing }).await
    }
}
