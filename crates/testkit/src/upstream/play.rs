//! Playing a reply onto a socket, step by step, byte for byte.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::WriteHalf;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::chunks;
use crate::script::{Cut, Delimiting, Reply, Step};

/// What becomes of the connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    KeepAlive,
    Close,
    Reset,
}

/// Plays `reply`; `closing` when the client asked to close, `head_only` when it wants no body. Tells `wrote`
/// about each write of body bytes. Fails when the client is gone.
pub(super) async fn play(
    writer: &mut WriteHalf<'_>,
    reply: &Reply,
    closing: bool,
    head_only: bool,
    wrote: impl Fn(u64),
) -> io::Result<Next> {
    for step in &reply.before_head {
        match step {
            Step::Pause(pause) => sleep(*pause).await,
            Step::Gate(gate) => gate.pass().await,
            _ => {}
        }
    }
    if let Some(head) = reply.head(closing) {
        let size = reply.cut_head.unwrap_or(head.len());
        for (index, piece) in head.as_bytes().chunks(size).enumerate() {
            between(index, reply.pace).await;
            writer.write_all(piece).await?;
        }
    }
    let mut body = Body { writer, reply, head_only, wrote, offset: 0, ended: false };
    let mut steps = reply.steps.iter().peekable();
    while let Some(step) = steps.next() {
        match step {
            Step::Write(bytes) if matches!(reply.cut, Cut::AsWritten) => body.write(bytes).await?,
            Step::Write(bytes) => {
                // Cuts fall without regard for the steps, so neighbours are one run of bytes.
                let mut run = bytes.clone();
                while let Some(Step::Write(more)) = steps.peek() {
                    run.extend_from_slice(more);
                    steps.next();
                }
                body.write_cut(&run).await?;
            }
            Step::Forever(bytes, pause) => loop {
                body.write_cut(bytes).await?;
                sleep(*pause).await;
            },
            Step::Pause(pause) => sleep(*pause).await,
            Step::Gate(gate) => gate.pass().await,
            Step::End => body.end().await?,
            Step::Stall => std::future::pending().await,
            Step::Reset => return Ok(Next::Reset),
            Step::HalfClose => {
                body.writer.shutdown().await?;
                std::future::pending().await
            }
            Step::Close => return Ok(Next::Close),
        }
    }
    if reply.truncated {
        return Ok(Next::Close);
    }
    body.end().await?;
    let lasting = match reply.delimiting {
        Delimiting::Length | Delimiting::Chunked => true,
        Delimiting::Declared(length) => length == reply.written() as u64,
        Delimiting::UntilClose | Delimiting::Verbatim => false,
    };
    Ok(if lasting && !closing && !reply.closing { Next::KeepAlive } else { Next::Close })
}

/// Lets the other side run between two cut writes.
async fn between(index: usize, pace: Duration) {
    if index > 0 && pace.is_zero() {
        yield_now().await;
    } else if index > 0 {
        sleep(pace).await;
    }
}

struct Body<'a, 'stream, W> {
    writer: &'a mut WriteHalf<'stream>,
    reply: &'a Reply,
    head_only: bool,
    wrote: W,
    /// Bytes of the body written so far.
    offset: usize,
    ended: bool,
}

impl<W: Fn(u64)> Body<'_, '_, W> {
    fn chunked(&self) -> bool {
        self.reply.delimiting == Delimiting::Chunked && !self.ended
    }

    /// One write, in chunks one chunk.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // An empty chunk would end the body.
        if bytes.is_empty() || self.head_only {
            return Ok(());
        }
        if self.chunked() {
            let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
            chunk.extend_from_slice(bytes);
            chunk.extend_from_slice(b"\r\n");
            self.writer.write_all(&chunk).await?;
        } else {
            self.writer.write_all(bytes).await?;
        }
        self.offset += bytes.len();
        (self.wrote)(bytes.len() as u64);
        Ok(())
    }

    async fn write_cut(&mut self, bytes: &[u8]) -> io::Result<()> {
        let pieces = match &self.reply.cut {
            Cut::AsWritten => vec![bytes],
            Cut::Every(size) => chunks::pieces_of(bytes, *size),
            Cut::At(offsets) => {
                let start = self.offset;
                let own: Vec<usize> = offsets.iter().filter_map(|offset| offset.checked_sub(start)).collect();
                chunks::at(bytes, &own)
            }
        };
        for (index, piece) in pieces.into_iter().enumerate() {
            between(index, self.reply.pace).await;
            self.write(piece).await?;
        }
        Ok(())
    }

    /// Ends a chunked body properly, once; other bodies end by themselves.
    async fn end(&mut self) -> io::Result<()> {
        if self.chunked() && !self.head_only {
            let mut last = String::from("0\r\n");
            for (name, value) in &self.reply.trailers {
                last.push_str(&format!("{name}: {value}\r\n"));
            }
            last.push_str("\r\n");
            self.writer.write_all(last.as_bytes()).await?;
        }
        self.ended = true;
        Ok(())
    }
}
