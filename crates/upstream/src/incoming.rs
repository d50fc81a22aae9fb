//! The body of an answer, and the connection it comes over.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{error::BodyError, http1, link::Link, shard::Shard};

/// A response body.
///
/// Read to its end, its connection goes back to the pool. Dropped before, the connection is closed at
/// once, which is how an upstream learns that nobody listens any more. A stretch of the body is read
/// from the socket only when it is asked for. Trailers are read and dropped.
pub struct Incoming {
    body: http1::Body,
    /// Gone when the body ended.
    lease: Option<Lease>,
}

/// A connection in use, and where it goes when it is free.
pub(crate) struct Lease {
    pub(crate) link: Box<Link>,
    pub(crate) shard: Arc<Shard>,
    pub(crate) target: u64,
    /// How long it may wait for its next use.
    pub(crate) idle: Duration,
    /// Whether the answer's head allows another use.
    pub(crate) keep: bool,
}

impl Lease {
    /// The answer has been read whole: the connection goes to the pool, or if it is not fit, is closed.
    fn end(mut self) {
        if self.keep && self.link.alive() {
            self.link.rest();
            self.shard.park(self.target, self.link, self.idle);
        }
    }
}

impl Incoming {
    pub(crate) fn new(body: http1::Body, lease: Lease) -> Incoming {
        let mut incoming = Incoming { body, lease: Some(lease) };
        incoming.end_if_done();
        incoming
    }

    fn end_if_done(&mut self) {
        if self.body.ended()
            && let Some(lease) = self.lease.take()
        {
            lease.end();
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(lease) = &mut this.lease else { return Poll::Ready(None) };
        let piece = ready!(lease.link.poll_body(cx, &mut this.body));
        match piece {
            Some(Ok(_)) => this.end_if_done(),
            Some(Err(_)) => this.lease = None,
            None => this.lease.take().into_iter().for_each(Lease::end),
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = if self.lease.is_none() { Some(0) } else { self.body.left() };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("ended", &self.lease.is_none()).finish_non_exhaustive()
    }
}
