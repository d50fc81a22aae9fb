//! What is left to write of a request: its head, and a body that lies in memory or flows from elsewhere.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use smallvec::SmallVec;
use tokio::io::AsyncWrite;

use crate::body::{BoxError, OutBody, Pieces};

/// So many pieces are written at once at most.
const SLICES: usize = 16;

/// So many pieces of a body that flows are written before the answer is looked for again.
const ROUNDS: usize = 8;

/// What is left to write. Empty between requests.
#[derive(Default)]
pub(crate) struct Output {
    head: Vec<u8>,
    head_written: usize,
    body: Upload,
    /// The first piece of the body that is not written whole, and how much of it is.
    piece: usize,
    piece_written: usize,
    /// Whether something was written that may still lie in a buffer of the stream's.
    unflushed: bool,
}

/// A request's body.
#[derive(Default)]
pub(crate) struct Upload {
    /// What is ready to be written.
    pieces: Pieces,
    /// Where more comes from.
    source: Option<Source>,
    length: Option<u64>,
}

/// A body that flows.
struct Source {
    body: UnsyncBoxBody<Bytes, BoxError>,
    /// How much is still to come of a body whose length was announced; the others are chunked.
    left: Option<u64>,
}

/// Why a request could not be written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The connection.
    Io(io::Error),
    /// The request's own body.
    Body(BoxError),
}

impl Upload {
    pub(crate) fn new(body: OutBody) -> Upload {
        match body {
            OutBody::Empty => Upload { pieces: Pieces::new(), source: None, length: Some(0) },
            OutBody::Segments(mut pieces) => {
                pieces.retain(|piece| !piece.is_empty());
                let length = pieces.iter().map(|piece| piece.len() as u64).sum();
                Upload { pieces, source: None, length: Some(length) }
            }
            OutBody::Stream { body, length } => {
                let length = length.or_else(|| body.size_hint().exact());
                let source = Some(Source { body, left: length });
                Upload { pieces: Pieces::new(), source, length }
            }
        }
    }

    /// Whether it can be sent again: one that flows cannot.
    pub(crate) fn is_replayable(&self) -> bool {
        self.source.is_none()
    }

    /// How long it is, if that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Source {
    /// The next piece with its framing into `pieces`; false at the end.
    fn poll_next(&mut self, cx: &mut Context<'_>, pieces: &mut Pieces) -> Poll<Result<bool, BoxError>> {
        loop {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?;
            let Some(frame) = frame else {
                return Poll::Ready(match self.left {
                    Some(1..) => Err("the request body ended before its announced length".into()),
                    Some(0) => Ok(false),
                    None => {
                        pieces.push(Bytes::from_static(b"0\r\n\r\n"));
                        Ok(false)
                    }
                });
            };
            // trailers of a request are nobody's
            let Ok(data) = frame.into_data() else { continue };
            if data.is_empty() {
                continue;
            }
            match &mut self.left {
                Some(left) => match left.checked_sub(data.len() as u64) {
                    Some(rest) => {
                        *left = rest;
                        pieces.push(data);
                    }
                    None => return Poll::Ready(Err("the request body is longer than announced".into())),
                },
                None => {
                    let size = Bytes::from(format!("{:x}\r\n", data.len()));
                    pieces.extend([size, data, Bytes::from_static(b"\r\n")]);
                }
            }
            return Poll::Ready(Ok(true));
        }
    }
}

impl Output {
    /// Begins a request. `write` appends its head.
    pub(crate) fn begin(&mut self, write: impl FnOnce(&mut Vec<u8>), body: Upload) {
        self.head.clear();
        write(&mut self.head);
        (self.head_written, self.piece, self.piece_written) = (0, 0, 0);
        self.body = body;
        self.unflushed = true;
    }

    /// Whether everything was written.
    pub(crate) fn ended(&self) -> bool {
        !self.unflushed
    }

    /// Lets go of what was written: it will not be sent again.
    pub(crate) fn forget(&mut self) {
        if self.ended() {
            self.body = Upload::default();
        }
    }

    /// The body from its beginning; of one that flows, what is left.
    pub(crate) fn take_back(&mut self) -> Upload {
        self.unflushed = false;
        std::mem::take(&mut self.body)
    }

    /// Writes as far as it goes.
    pub(crate) fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS {
            while self.head_written < self.head.len() || self.piece < self.body.pieces.len() {
                let written = {
                    let mut slices = SmallVec::<[IoSlice<'_>; SLICES]>::new();
                    if self.head_written < self.head.len() {
                        slices.push(IoSlice::new(&self.head[self.head_written..]));
                    }
                    let mut skip = self.piece_written;
                    for piece in self.body.pieces[self.piece..].iter().take(SLICES - slices.len()) {
                        slices.push(IoSlice::new(&piece[std::mem::take(&mut skip)..]));
                    }
                    ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices)).map_err(WriteError::Io)?
                };
                if written == 0 {
                    return Poll::Ready(Err(WriteError::Io(io::ErrorKind::WriteZero.into())));
                }
                self.advance(written);
            }
            let Some(source) = &mut self.body.source else {
                ready!(Pin::new(stream).poll_flush(cx)).map_err(WriteError::Io)?;
                self.unflushed = false;
                return Poll::Ready(Ok(()));
            };
            self.body.pieces.clear();
            (self.piece, self.piece_written) = (0, 0);
            match source.poll_next(cx, &mut self.body.pieces) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => self.body.source = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(WriteError::Body(error))),
                Poll::Pending => {
                    // what is there must not wait for what is not
                    ready!(Pin::new(stream).poll_flush(cx)).map_err(WriteError::Io)?;
                    return Poll::Pending;
                }
            }
        }
        // a source that always has more would keep us from ever reading
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn advance(&mut self, written: usize) {
        let of_head = written.min(self.head.len() - self.head_written);
        self.head_written += of_head;
        let mut left = written - of_head;
        while let Some(piece) = self.body.pieces.get(self.piece) {
            let rest = piece.len() - self.piece_written;
            if left < rest {
                self.piece_written += left;
                return;
            }
            left -= rest;
            self.piece += 1;
            self.piece_written = 0;
        }
    }
}
