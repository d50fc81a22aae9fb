//! The body of an answer, and the connection it comes over.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{body::Slot, error::BodyError, link::Link, shard::Shard};

/// A response body.
///
/// Read to its end, its connection goes back to the pool. Dropped before, the connection is closed at
/// once, which is how an upstream learns that nobody listens any more. A stretch of the body is read
/// from the socket only when it is asked for.
pub struct Incoming {
    body: hyper::body::Incoming,
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
    /// Where an upload still going on leaves its error.
    pub(crate) slot: Slot,
    /// False if the peer's version of HTTP does not keep connections by itself.
    pub(crate) keep: bool,
}

impl Lease {
    /// The answer has been read whole: the connection goes to the pool, or if it is not fit, is closed.
    fn end(mut self) {
        if self.keep && self.link.rested() {
            self.shard.park(self.target, self.link, self.idle);
        }
    }

    /// What broke the body: the upload's own failure if there was one, else what hyper says.
    fn fault(&self, error: Option<&hyper::Error>) -> BodyError {
        if let Some(error) = self.slot.as_ref().and_then(|slot| slot.lock().take()) {
            return BodyError::ClientBody(error);
        }
        error.map_or(BodyError::Cut, BodyError::from_hyper)
    }
}

impl Incoming {
    pub(crate) fn new(body: hyper::body::Incoming, lease: Lease) -> Incoming {
        let mut incoming = Incoming { body, lease: Some(lease) };
        incoming.end_if_done();
        incoming
    }

    fn end_if_done(&mut self) {
        if self.body.is_end_stream()
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
        let driven = lease.link.drive(cx);
        let body = Pin::new(&mut this.body);
        match lease.link.take(|cx| body.poll_frame(cx)) {
            Poll::Ready(Some(Ok(frame))) => {
                this.end_if_done();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                // The connection's own error, if it ended with one, says more than "connection error".
                let fault = lease.fault(driven.as_ref().err().or(Some(&error)));
                this.lease = None;
                Poll::Ready(Some(Err(fault)))
            }
            Poll::Ready(None) => {
                if let Some(lease) = this.lease.take() {
                    lease.end();
                }
                Poll::Ready(None)
            }
            Poll::Pending if lease.link.ended() => {
                let fault = lease.fault(driven.as_ref().err());
                this.lease = None;
                Poll::Ready(Some(Err(fault)))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.lease.is_none() { SizeHint::with_exact(0) } else { self.body.size_hint() }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("ended", &self.lease.is_none()).finish_non_exhaustive()
    }
}
