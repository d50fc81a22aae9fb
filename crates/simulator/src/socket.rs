//! A connection that can be taken from hyper and given back, nothing lost.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// How much a client may send ahead while an answer is on its way.
const AHEAD: usize = 64 << 10;

/// The client is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

/// A stream, and what was already read from it.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    early: BytesMut,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // a client that is gone already fails at its first read
        let _ = stream.set_nodelay(true);
        Socket { stream, early: BytesMut::new() }
    }

    /// Puts back what somebody read too much.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            let later = std::mem::replace(&mut self.early, bytes.into());
            self.early.extend_from_slice(&later);
        }
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.stream.write_all(bytes).await.map_err(|_| Gone)
    }

    /// Comes back when the client is gone; what it sends meanwhile is kept.
    pub(crate) async fn gone(&mut self) -> Gone {
        loop {
            if self.early.len() >= AHEAD {
                // whether it is still there shows when something is sent
                return std::future::pending().await;
            }
            if let Err(gone) = self.more().await {
                return gone;
            }
        }
    }

    /// Waits until the client has sent something that nobody has read.
    pub(crate) async fn wait(&mut self) -> Result<(), Gone> {
        if self.early.is_empty() { self.more().await } else { Ok(()) }
    }

    async fn more(&mut self) -> Result<(), Gone> {
        self.stream.readable().await.map_err(|_| Gone)?;
        let mut bytes = [0; 4_096];
        match self.stream.try_read(&mut bytes) {
            Ok(0) => Err(Gone),
            Ok(count) => {
                self.early.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Gone),
        }
    }

    /// Closes the engine's side alone.
    pub(crate) async fn half_close(&mut self) {
        // one that is closed already cannot be closed more
        let _ = self.stream.shutdown().await;
    }

    /// Closes the connection in good order: what came in is read, since a close over unread bytes is a reset.
    pub(crate) async fn close(mut self) {
        let mut bytes = [0; 4_096];
        while matches!(self.stream.try_read(&mut bytes), Ok(1..)) {}
        self.half_close().await;
    }

    /// Breaks the connection off.
    pub(crate) fn reset(self) {
        // where it fails, the connection is already broken
        let _ = self.stream.set_zero_linger();
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early[..count]);
        self.early.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }
}
