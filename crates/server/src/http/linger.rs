//! The end of a connection whose request was answered before it had arrived.
//!
//! A socket that is closed with bytes unread is reset, and a reset can overtake the answer: the client sees a broken pipe
//! in place of a refusal. So what still comes is read and dropped, within bounds (RFC 9112, 9.6).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

/// The longest that the rest of a request is waited for.
const LONGEST: Duration = Duration::from_secs(2);

/// The most that is read of it: a little more than the largest upload that is taken by default.
const MOST: usize = 128 << 20;

/// So much of it is read at once.
const PIECE: usize = 32 << 10;

/// Reads what still comes and drops it.
pub(super) struct Lingering {
    timer: Pin<Box<Sleep>>,
    /// So many more bytes are read.
    left: usize,
    buffer: Box<[u8]>,
}

impl Lingering {
    /// From now on; the answer is given.
    pub(super) fn begin() -> Lingering {
        Lingering { timer: Box::pin(tokio::time::sleep(LONGEST)), left: MOST, buffer: vec![0; PIECE].into() }
    }

    /// Ready when the client has closed too, or when it is enough.
    pub(super) fn poll<S: AsyncRead + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<()> {
        while self.left > 0 && self.timer.as_mut().poll(cx).is_pending() {
            let mut read = ReadBuf::new(&mut self.buffer);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => {
                    self.left = self.left.saturating_sub(read.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(())
    }
}
