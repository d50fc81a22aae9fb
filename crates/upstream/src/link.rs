//! One open connection, driven by whoever holds it.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;
use http::{Request, Response};
use hyper::client::conn::{
    TrySendError,
    http1::{Builder, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::task::coop::unconstrained;

use crate::{
    body::SendBody,
    io::{Io, Stream},
};

/// The most a response head may take, and the most that one read brings, in bytes.
const BUFFER: usize = 64 * 1024;

/// A connection and the handle that puts requests on it.
///
/// Dropping it closes the socket at once: nothing else holds it.
pub(crate) struct Link {
    requests: SendRequest<SendBody>,
    /// Gone when the connection ended.
    connection: Option<Connection<TokioIo<Io>, SendBody>>,
    wire: Arc<Wire>,
    waker: Waker,
}

impl Link {
    /// Puts HTTP/1.1 on a fresh stream. Sends nothing yet.
    pub(crate) async fn open(stream: impl FnOnce() -> Stream) -> Result<Box<Link>, hyper::Error> {
        let wire = Arc::new(Wire::default());
        let io = TokioIo::new(Io::new(stream(), wire.clone()));
        let (requests, connection) = Builder::new().max_buf_size(BUFFER).handshake(io).await?;
        let waker = Waker::from(wire.clone());
        Ok(Box::new(Link { requests, connection: Some(connection), wire, waker }))
    }

    /// Sends one request and waits for the head of its response. The body that comes with it moves
    /// only while [`Link::drive`] is called.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<SendBody>,
    ) -> Result<Response<hyper::body::Incoming>, TrySendError<Request<SendBody>>> {
        self.wire.seen.store(false, Ordering::Relaxed);
        // Unconstrained: a future that is out of budget wakes its waker, and `take` gives it none.
        let mut answer = pin!(unconstrained(self.requests.try_send_request(request)));
        poll_fn(|cx| {
            // What went wrong also reaches `answer`.
            let _ = self.drive(cx);
            self.take(|cx| answer.as_mut().poll(cx))
        })
        .await
    }

    /// Moves bytes in both directions as far as they go now, and has `cx` woken when more can.
    pub(crate) fn drive(&mut self, cx: &Context<'_>) -> Result<(), hyper::Error> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        self.wire.caller.register(cx.waker());
        match pin!(connection).poll(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => Ok(()),
            Poll::Ready(result) => {
                // Dropped here, so that a request still queued inside comes back to its sender.
                self.connection = None;
                result
            }
        }
    }

    /// Takes what the last [`Link::drive`] has brought, through one of hyper's channels.
    ///
    /// Only `drive` fills those channels, so nobody need be woken by them; and the wake that taking
    /// from them sends to the connection would be for ourselves, who drive it anyway before the next
    /// take. Left alone it would cost each event a second round through the caller's task.
    pub(crate) fn take<T>(&self, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.wire.hush();
        let result = poll(&mut Context::from_waker(Waker::noop()));
        self.wire.unhush(result.is_pending());
        result
    }

    /// Whether the peer has sent anything since the last request was handed over.
    pub(crate) fn heard(&self) -> bool {
        self.wire.seen.load(Ordering::Relaxed)
    }

    /// Whether the connection has ended.
    pub(crate) fn ended(&self) -> bool {
        self.connection.is_none()
    }

    /// Whether another request may be sent: the last one fully written, its answer fully read, and
    /// neither side against it.
    pub(crate) fn rested(&mut self) -> bool {
        if !self.ended() && !self.requests.is_ready() {
            self.look();
        }
        // Who used it last need not be woken for it, nor be kept alive by it.
        self.wire.caller.take();
        !self.ended() && self.requests.is_ready()
    }

    /// Whether an idle connection is still open, as far as the runtime has been told.
    pub(crate) fn alive(&mut self) -> bool {
        self.look();
        self.rested()
    }

    fn look(&mut self) {
        // An error on an idle connection ends it, and that is all there is to know.
        let _ = self.drive(&Context::from_waker(Waker::noop()));
    }
}

/// What the bytes' end of a connection tells its holder.
#[derive(Default)]
pub(crate) struct Wire {
    /// The task that waits for this connection now.
    caller: AtomicWaker,
    /// Set while the holder takes from hyper's channels: wakes are then noted, not passed on.
    hushed: AtomicBool,
    missed: AtomicBool,
    /// Whether anything was read since the last request.
    seen: AtomicBool,
}

impl Wire {
    pub(crate) fn note_read(&self) {
        self.seen.store(true, Ordering::Relaxed);
    }

    fn hush(&self) {
        self.missed.store(false, Ordering::SeqCst);
        self.hushed.store(true, Ordering::SeqCst);
    }

    /// If nothing was taken the holder goes to sleep, so a wake noted meanwhile must reach it.
    fn unhush(&self, sleeps: bool) {
        self.hushed.store(false, Ordering::SeqCst);
        if sleeps && self.missed.swap(false, Ordering::SeqCst) {
            self.caller.wake();
        }
    }
}

impl Wake for Wire {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.hushed.load(Ordering::SeqCst) {
            self.missed.store(true, Ordering::SeqCst);
            // Either the holder sees the note when it ends its hush, or we see that it has ended it.
            if self.hushed.load(Ordering::SeqCst) {
                return;
            }
        }
        self.caller.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn wire() -> (Arc<Wire>, Arc<Count>) {
        let (wire, count) = (Arc::new(Wire::default()), Arc::new(Count::default()));
        wire.caller.register(&Waker::from(count.clone()));
        (wire, count)
    }

    #[test]
    fn a_wake_during_a_hush_reaches_a_holder_that_goes_to_sleep() {
        let (wire, count) = wire();
        wire.hush();
        wire.wake_by_ref();
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        wire.unhush(true);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_wake_during_a_hush_is_spared_a_holder_that_took_something() {
        let (wire, count) = wire();
        wire.hush();
        wire.wake_by_ref();
        wire.unhush(false);
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_wake_outside_a_hush_passes_at_once() {
        let (wire, count) = wire();
        wire.hush();
        wire.unhush(true);
        wire.wake_by_ref();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
