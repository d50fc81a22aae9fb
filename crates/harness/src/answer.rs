//! An upstream's answer: it is read alike however it is cut, and what is taken for a whole answer is, for another
//! reader that takes it too, the same one.
//!
//! Input: a first line with the method's first letter and then where the answer is cut; then all that the upstream sends
//! before it closes. A line feed without its carriage return is given one, so that seeds can be written by hand; after a
//! line with `!` nothing is touched.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::rt::{Read, ReadBufCursor, Write};
use upstream::http1::{Body, Heads};

use crate::{cut, headed, with_returns};

/// What an answer comes to.
#[derive(Debug, PartialEq)]
enum Answer {
    /// It is none.
    Refused,
    /// It broke off, with this much of it there.
    Cut(Option<Whole>),
    Whole(Whole),
}

#[derive(Debug, PartialEq)]
struct Whole {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

pub(crate) fn run(input: &[u8]) {
    let (first, text) = headed(input);
    let text = if first.contains(&b'!') { text.to_vec() } else { with_returns(text) };
    let method = match first.first() {
        Some(b'h') => Method::HEAD,
        Some(b'g') => Method::GET,
        _ => Method::POST,
    };
    let answer = read(&method, &[&text]);
    let bytes: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(answer, read(&method, &bytes), "it depends on the cuts");
    let pieces = cut(&text, first.get(1..).unwrap_or_default());
    assert_eq!(answer, read(&method, &pieces), "it depends on the cuts");
    let Answer::Whole(ours) = answer else { return };
    // whoever refuses it is not misled
    let Some(theirs) = elsewhere(&method, text) else { return };
    assert_eq!(ours, theirs, "another reader finds another answer");
}

/// Our own reading.
fn read(method: &Method, pieces: &[&[u8]]) -> Answer {
    let (mut heads, mut buffer, mut headers) = (Heads::default(), BytesMut::new(), HeaderMap::new());
    let mut begun: Option<(Body, Whole)> = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if begun.is_none() {
            match heads.take(&mut buffer, method, &mut headers) {
                Err(_) => return Answer::Refused,
                Ok(None) => continue,
                Ok(Some(head)) => {
                    let whole = Whole { status: head.status, headers: head.headers, body: Vec::new() };
                    begun = Some((head.body, whole));
                }
            }
        }
        let Some((body, whole)) = &mut begun else { continue };
        loop {
            match body.take(&mut buffer) {
                Err(_) => return Answer::Refused,
                Ok(Some(data)) => whole.body.extend_from_slice(&data),
                Ok(None) => break,
            }
        }
        if body.ended() {
            break;
        }
    }
    match begun {
        Some((body, whole)) if body.ended() || body.ends_with_connection() => Answer::Whole(whole),
        Some((_, whole)) => Answer::Cut(Some(whole)),
        None if heads.close(&buffer).is_err() => Answer::Refused,
        None => Answer::Cut(None),
    }
}

/// What hyper's client reads. `None`: it refuses it, or found it cut off.
fn elsewhere(method: &Method, text: Vec<u8>) -> Option<Whole> {
    let exchange = async {
        let peer = Peer { says: text, said: 0, asked: false };
        let (mut requests, connection) = hyper::client::conn::http1::handshake(peer).await.ok()?;
        let request =
            Request::builder().method(method).uri("/").header("host", "h").body(Empty::<Bytes>::new());
        let answer = async {
            let (head, body) = requests.send_request(request.ok()?).await.ok()?.into_parts();
            let body = body.collect().await.ok()?.to_bytes().to_vec();
            Some(Whole { status: head.status, headers: head.headers, body })
        };
        let (answer, _) = futures_util::future::join(answer, connection).await;
        answer
    };
    let (mut exchange, mut cx) = (pin!(exchange), Context::from_waker(Waker::noop()));
    // nothing waits for anything outside: some rounds are enough
    (0..64).find_map(|_| match exchange.as_mut().poll(&mut cx) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    })?
}

/// An upstream that says its text once it was asked something, and closes.
struct Peer {
    says: Vec<u8>,
    said: usize,
    asked: bool,
}

impl Read for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            return Poll::Pending;
        }
        let length = room.remaining().min(self.says.len() - self.said);
        room.put_slice(&self.says[self.said..self.said + length]);
        self.said += length;
        Poll::Ready(Ok(()))
    }
}

impl Write for Peer {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
