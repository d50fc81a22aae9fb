//! One answer on the bare connection: what hyper would never send.
//!
//! hyper has read the request and steps aside; the answer is written here, as its plan says, and if the
//! connection survives that, hyper gets it back.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};

use crate::deliver::{Outgoing, prepare};
use crate::fault::{Act, Afterwards, Framing, Pacing, Place, Plan};
use crate::reply::Reply;
use crate::socket::{Gone, Socket};
use crate::ticket::Ticket;

/// How long a half-closed or idle connection is kept.
const PATIENCE: Duration = Duration::from_secs(300);
/// What two pieces are kept apart by, so that they travel apart.
const PAUSE: Duration = Duration::from_millis(1);

/// An answer and how it is to be sent.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) reply: Reply,
    /// None where hyper can send it.
    pub(crate) plan: Option<Plan>,
    pub(crate) ticket: Ticket,
    /// The request wants the connection to be closed after the answer.
    pub(crate) last: bool,
    /// The request wants no body.
    pub(crate) bodiless: bool,
}

/// How an exchange goes on after something happened on its way.
enum Next {
    On,
    /// The connection is closed, reset, or not wanted any more.
    Over,
}

/// Sends the answer. The connection comes back if it can be used again.
pub(crate) async fn run(socket: Socket, exchange: Exchange) -> Option<Socket> {
    let Exchange { reply, plan, mut ticket, last, bodiless } = exchange;
    let plan = plan.unwrap_or_default();
    let mut line = Line { socket: Some(socket), plan };
    if plan.silent() {
        // the engine does not even begin
        if let Ok(Next::Over) = line.act().await {
            ticket.cut();
        }
        return None;
    }
    let (status, headers, mut body) = tokio::select! {
        prepared = prepare(reply, ticket) => prepared,
        Gone = line.gone() => return None,
    };
    match line.answer(status, headers, &mut body, bodiless).await {
        Ok(Next::On) => {}
        Ok(Next::Over) => {
            body.ticket().cut();
            return None;
        }
        Err(Gone) => return None,
    }
    line.afterwards(last).await
}

/// The connection during an answer.
struct Line {
    /// There until it is closed.
    socket: Option<Socket>,
    plan: Plan,
}

impl Line {
    async fn gone(&mut self) -> Gone {
        match &mut self.socket {
            Some(socket) => socket.gone().await,
            None => Gone,
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let Some(socket) = &mut self.socket else { return Err(Gone) };
        if self.plan.pacing == Pacing::Bytes {
            for byte in bytes.chunks(1) {
                socket.send(byte).await?;
                tokio::task::yield_now().await;
            }
            return Ok(());
        }
        socket.send(bytes).await
    }

    /// Does what is planned, if this is the place.
    async fn at(&mut self, place: Place, after: usize) -> Result<Next, Gone> {
        match self.plan.breaks {
            Some(planned) if planned.place == place && planned.after <= after => self.act().await,
            _ => Ok(Next::On),
        }
    }

    async fn act(&mut self) -> Result<Next, Gone> {
        let Some(planned) = self.plan.breaks.take() else { return Ok(Next::On) };
        match planned.act {
            Act::Stall(None) => return Err(self.gone().await),
            Act::Stall(Some(time)) => {
                tokio::select! {
                    () = tokio::time::sleep(time) => return Ok(Next::On),
                    gone = self.gone() => return Err(gone),
                }
            }
            Act::Close => {
                if let Some(socket) = self.socket.take() {
                    socket.close().await;
                }
            }
            Act::Reset => {
                if let Some(socket) = self.socket.take() {
                    socket.reset();
                }
            }
            Act::HalfClose => {
                if let Some(socket) = &mut self.socket {
                    socket.half_close().await;
                    // it may well be that the client never notices
                    let _ = tokio::time::timeout(PATIENCE, socket.gone()).await;
                }
            }
        }
        Ok(Next::Over)
    }

    async fn answer(
        &mut self,
        status: StatusCode,
        mut headers: HeaderMap,
        body: &mut Outgoing,
        bodiless: bool,
    ) -> Result<Next, Gone> {
        if let Next::Over = self.at(Place::BeforeHead, 0).await? {
            return Ok(Next::Over);
        }
        let mut whole = None;
        if !body.streamed() {
            whole = poll_fn(|cx| body.poll_next(cx)).await;
        }
        let chunked = self.frame(&mut headers, whole.as_deref(), body.streamed());
        let mut head = head(status, &headers);
        if chunked {
            head.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        head.extend_from_slice(b"\r\n");
        self.send(&head).await?;
        if bodiless {
            return Ok(Next::On);
        }
        if let Next::Over = self.at(Place::AfterHead, 0).await? {
            return Ok(Next::Over);
        }
        match whole {
            Some(bytes) => self.whole(&bytes, chunked).await,
            None if body.streamed() => self.stream(body, chunked).await,
            None => Ok(Next::On),
        }
    }

    /// Settles the headers that say where the body ends; whether it comes in chunks.
    fn frame(&self, headers: &mut HeaderMap, whole: Option<&[u8]>, streamed: bool) -> bool {
        let length = whole.map_or(0, <[u8]>::len);
        let lengths = |headers: &mut HeaderMap, lengths: &[usize]| {
            headers.remove(CONTENT_LENGTH);
            for length in lengths {
                headers.append(CONTENT_LENGTH, HeaderValue::from(*length));
            }
        };
        match self.plan.framing {
            Framing::TooLong(bytes) if whole.is_some() => lengths(headers, &[length + bytes]),
            Framing::TooShort(bytes) if whole.is_some() => lengths(headers, &[length.saturating_sub(bytes)]),
            Framing::TwoLengths => lengths(headers, &[length, length + 10]),
            Framing::UntilClose => lengths(headers, &[]),
            Framing::LengthAndChunks => lengths(headers, &[length]),
            Framing::BadChunkSize(_) | Framing::Unterminated => lengths(headers, &[]),
            _ => {}
        }
        match self.plan.framing {
            Framing::UntilClose | Framing::TwoLengths => false,
            Framing::LengthAndChunks | Framing::BadChunkSize(_) | Framing::Unterminated => true,
            _ => streamed,
        }
    }

    /// A whole body, in two halves between which something may happen.
    async fn whole(&mut self, bytes: &[u8], chunked: bool) -> Result<Next, Gone> {
        if let Some(planned) = &mut self.plan.breaks {
            planned.after = 0;
        }
        let (first, second) = bytes.split_at(bytes.len() / 2);
        for (index, half) in [first, second].into_iter().enumerate() {
            let bad = matches!(self.plan.framing, Framing::BadChunkSize(_)) && index == 1;
            if let Next::Over = self.piece(half, chunked, bad, index).await? {
                return Ok(Next::Over);
            }
            if let Next::Over = self.at(Place::BetweenEvents, index).await? {
                return Ok(Next::Over);
            }
        }
        self.end(chunked).await
    }

    async fn stream(&mut self, body: &mut Outgoing, chunked: bool) -> Result<Next, Gone> {
        let mut sent = 0;
        loop {
            if let Next::Over = self.at(Place::BetweenEvents, sent).await? {
                return Ok(Next::Over);
            }
            let bytes = tokio::select! {
                next = poll_fn(|cx| body.poll_next(cx)) => next,
                gone = self.gone() => return Err(gone),
            };
            let Some(bytes) = bytes else { break };
            let bad = matches!(self.plan.framing, Framing::BadChunkSize(after) if after == sent);
            if let Next::Over = self.piece(&bytes, chunked, bad, sent).await? {
                return Ok(Next::Over);
            }
            sent += 1;
        }
        // a stream that was too short for what is planned
        if let Next::Over = self.act().await? {
            return Ok(Next::Over);
        }
        self.end(chunked).await
    }

    /// An event, or half of a whole body.
    async fn piece(&mut self, bytes: &[u8], chunked: bool, bad: bool, sent: usize) -> Result<Next, Gone> {
        let due =
            self.plan.breaks.is_some_and(|planned| planned.place == Place::MidEvent && planned.after <= sent);
        if due {
            let framed = self.framed(bytes, chunked, bad);
            let (first, second) = framed.split_at(framed.len() / 2);
            self.send(first).await?;
            if let Next::Over = self.act().await? {
                return Ok(Next::Over);
            }
            self.send(second).await?;
            return Ok(Next::On);
        }
        let cuts = cuts(bytes, self.plan.pacing);
        for (index, cut) in cuts.iter().enumerate() {
            let framed = self.framed(cut, chunked, bad);
            self.send(&framed).await?;
            if self.plan.pacing == Pacing::Characters && index + 1 < cuts.len() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(Next::On)
    }

    /// A chunk, honest or not, or the bytes as they are.
    fn framed(&self, bytes: &[u8], chunked: bool, bad: bool) -> BytesMut {
        let mut framed = BytesMut::with_capacity(bytes.len() + 16);
        if chunked && bytes.is_empty() {
            return framed;
        }
        let size = match self.plan.framing {
            Framing::TooShort(fewer) => bytes.len().saturating_sub(fewer).max(1),
            _ => bytes.len(),
        };
        if chunked {
            let size = if bad { "size\r\n".to_owned() } else { format!("{size:x}\r\n") };
            framed.extend_from_slice(size.as_bytes());
        }
        framed.extend_from_slice(bytes);
        if chunked {
            framed.extend_from_slice(b"\r\n");
        }
        framed
    }

    async fn end(&mut self, chunked: bool) -> Result<Next, Gone> {
        match self.plan.framing {
            Framing::TooLong(bytes) if chunked => {
                self.send(format!("{bytes:x}\r\n").as_bytes()).await?;
            }
            Framing::Unterminated => {}
            _ if chunked => self.send(b"0\r\n\r\n").await?,
            _ => {}
        }
        Ok(Next::On)
    }

    /// What becomes of the connection.
    async fn afterwards(mut self, last: bool) -> Option<Socket> {
        let mut socket = self.socket.take()?;
        let ends = match self.plan.framing {
            Framing::TooLong(_) | Framing::UntilClose | Framing::Unterminated | Framing::TwoLengths => true,
            Framing::Honest | Framing::TooShort(_) | Framing::LengthAndChunks | Framing::BadChunkSize(_) => {
                last
            }
        };
        match self.plan.afterwards {
            Afterwards::Keep if !ends => return Some(socket),
            Afterwards::Keep | Afterwards::Close => socket.close().await,
            Afterwards::CloseOnReuse | Afterwards::ResetOnReuse => {
                match tokio::time::timeout(PATIENCE, socket.wait()).await {
                    Ok(Ok(())) if self.plan.afterwards == Afterwards::ResetOnReuse => socket.reset(),
                    _ => socket.close().await,
                }
            }
        }
        None
    }
}

/// The status line and the headers.
fn head(status: StatusCode, headers: &HeaderMap) -> BytesMut {
    let reason = status.canonical_reason().unwrap_or("Unknown");
    let mut head = BytesMut::from(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head
}

/// The pieces in which some bytes leave.
fn cuts(bytes: &[u8], pacing: Pacing) -> Vec<Bytes> {
    let whole = Bytes::copy_from_slice(bytes);
    match pacing {
        Pacing::Events => vec![whole],
        Pacing::Bytes => (0..bytes.len()).map(|at| whole.slice(at..=at)).collect(),
        Pacing::Characters => {
            // behind the first byte of every character that has more
            let ends = (1..bytes.len()).filter(|at| bytes[at - 1] >= 0xc0).chain([bytes.len()]);
            let mut from = 0;
            ends.map(|to| whole.slice(std::mem::replace(&mut from, to)..to)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_cut_in_two() {
        let pieces = |text: &str| cuts(text.as_bytes(), Pacing::Characters);
        assert_eq!(pieces("abc"), ["abc"]);
        assert_eq!(pieces("aß!"), [&b"a\xc3"[..], b"\x9f!"]);
        assert_eq!(pieces("日本"), [&b"\xe6"[..], b"\x97\xa5\xe6", b"\x9c\xac"]);
        assert_eq!(cuts(b"ab", Pacing::Bytes), ["a", "b"]);
    }
}
