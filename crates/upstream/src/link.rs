//! One open connection, driven by whoever holds it.

use std::{
    io,
    pin::pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method};
use tokio::io::AsyncReadExt;

use crate::{
    error::{BodyError, words},
    http1::{Body, Head, Heads, Malformed, request},
    io::Stream,
    output::{Output, Upload, WriteError},
};

/// The room that the first read gets: enough for most replies, and for many events.
const SMALL: usize = 4 << 10;

/// The most that one read brings, so that a client who hardly reads holds a few small pieces and not a few large ones.
const LARGE: usize = 16 << 10;

/// The least room worth a read.
const LEAST: usize = 512;

/// A connection. Dropping it closes the socket at once: nothing else holds it.
pub(crate) struct Link {
    stream: Stream,
    input: BytesMut,
    /// How much room the next read gets.
    room: usize,
    output: Output,
    heads: Heads,
    /// Whether the peer has sent anything since the last request was begun.
    heard: bool,
    /// Whether the peer has ended its side.
    ended: bool,
}

/// Why no head came.
#[derive(Debug)]
pub(crate) enum HeadError {
    /// The connection ended.
    Ended,
    /// The connection broke.
    Broken(io::Error),
    /// What came is no head.
    Malformed(Malformed),
    /// The request's own body failed.
    Upload(crate::BoxError),
}

impl Link {
    /// Puts HTTP/1.1 on a fresh stream. Sends nothing yet.
    pub(crate) fn new(stream: Stream) -> Box<Link> {
        Box::new(Link {
            stream,
            input: BytesMut::new(),
            room: SMALL,
            output: Output::default(),
            heads: Heads::default(),
            heard: false,
            ended: false,
        })
    }

    /// Begins a request. Nothing is written before [`Link::poll_head`].
    pub(crate) fn begin(&mut self, head: &request::Head<'_>, body: Upload) {
        self.heard = false;
        self.heads = Heads::default();
        self.output.begin(|out| head.write(out), body);
    }

    /// The request's body from its beginning.
    pub(crate) fn take_back(&mut self) -> Upload {
        self.output.take_back()
    }

    /// Writes the request and waits for the head of its response, whose fields go into `headers`.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &Method,
        headers: &mut HeaderMap,
    ) -> Poll<Result<Head, HeadError>> {
        // an answer may come, and count, before the request was written
        match self.output.poll(&mut self.stream, cx) {
            Poll::Ready(Err(WriteError::Body(error))) => return Poll::Ready(Err(HeadError::Upload(error))),
            Poll::Ready(Err(WriteError::Io(error))) => return Poll::Ready(Err(HeadError::Broken(error))),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        loop {
            if let Some(head) =
                self.heads.take(&mut self.input, method, headers).map_err(HeadError::Malformed)?
            {
                self.output.forget();
                return Poll::Ready(Ok(head));
            }
            if ready!(self.poll_read(cx)).map_err(HeadError::Broken)? == 0 {
                let cut_off = std::mem::take(&mut self.heads).close(&self.input);
                return Poll::Ready(Err(cut_off.map_or_else(HeadError::Malformed, |()| HeadError::Ended)));
            }
        }
    }

    /// The next piece of a body; `None` at its end. What is left of the request is written meanwhile.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            match body.take(&mut self.input) {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(None) if body.ended() => return Poll::Ready(None),
                Ok(None) => {}
                Err(Malformed(what)) => {
                    return Poll::Ready(Some(Err(BodyError::Invalid { detail: what.into_owned() })));
                }
            }
            if let Err(error) = self.write_on(cx) {
                return Poll::Ready(Some(Err(error)));
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) if body.ends_with_connection() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(BodyError::Cut))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(broken(&error)))),
            }
        }
    }

    /// Writes more of a request whose answer came early.
    fn write_on(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        if self.output.ended() {
            return Ok(());
        }
        match self.output.poll(&mut self.stream, cx) {
            Poll::Ready(Ok(())) => self.output.forget(),
            Poll::Ready(Err(WriteError::Body(error))) => return Err(BodyError::ClientBody(error)),
            Poll::Ready(Err(WriteError::Io(error))) => return Err(broken(&error)),
            Poll::Pending => {}
        }
        Ok(())
    }

    /// Reads once; 0 if the peer has ended its side.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        if self.input.capacity() - self.input.len() < LEAST {
            self.input.reserve(self.room);
        }
        let room = (self.input.capacity() - self.input.len()).min(LARGE);
        let mut buffer = (&mut self.input).limit(room);
        let read = ready!(pin!(self.stream.read_buf(&mut buffer)).poll(cx))?;
        self.heard |= read > 0;
        self.ended = read == 0;
        if read == room {
            self.room = (self.room * 2).min(LARGE);
        }
        Poll::Ready(Ok(read))
    }

    /// Whether the peer has sent anything since the last request was begun.
    pub(crate) fn heard(&self) -> bool {
        self.heard
    }

    /// Whether another request may be sent: the last one written whole, nothing unasked for behind its answer, and
    /// the peer still there, as far as the runtime has been told.
    pub(crate) fn alive(&mut self) -> bool {
        // who used it last need not be woken for it, nor be kept alive by it
        let mut cx = Context::from_waker(Waker::noop());
        self.output.ended()
            && self.input.is_empty()
            && !self.ended
            && pin!(self.stream.read(&mut [0])).poll(&mut cx).is_pending()
    }

    /// Gives back what a large answer took.
    pub(crate) fn rest(&mut self) {
        if self.room > SMALL {
            self.room = SMALL;
            self.input = BytesMut::new();
        }
    }
}

/// What it means that reading or writing failed in the middle of an answer.
fn broken(error: &io::Error) -> BodyError {
    match error.kind() {
        // TLS that ended without saying so
        io::ErrorKind::UnexpectedEof => BodyError::Cut,
        _ => BodyError::Reset { detail: words(error) },
    }
}
