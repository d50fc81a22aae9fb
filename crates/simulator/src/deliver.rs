//! The one door through which every answer leaves: it waits for its moment, and hands out the body in time.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use tokio::time::Sleep;

use crate::reply::{Content, Event, Reply};
use crate::ticket::Ticket;

/// Waits until the head of an answer may leave; whoever is not streamed to gets it with the last token.
///
/// When the client leaves meanwhile, this future is dropped, and the ticket with it.
pub(crate) async fn prepare(mut reply: Reply, mut ticket: Ticket) -> (StatusCode, HeaderMap, Outgoing) {
    if !reply.content.streamed()
        && let Some(admission) = ticket.admitted().await
    {
        if let Content::Later { make, .. } = reply.content {
            reply.content = make(admission);
        }
        let done = ticket.done();
        if done > Instant::now() {
            tokio::time::sleep_until(done.into()).await;
        }
    }
    let headers = reply.headers();
    ticket.answered(reply.status.as_u16(), &headers);
    (
        reply.status,
        headers,
        Outgoing { content: reply.content, ended: false, next: None, sleep: None, ticket },
    )
}

/// Sends an answer through hyper.
pub(crate) async fn deliver(reply: Reply, ticket: Ticket) -> Response<Outgoing> {
    let (status, headers, body) = prepare(reply, ticket).await;
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A body on its way out. Its ticket is completed with its last byte.
#[derive(Debug)]
pub(crate) struct Outgoing {
    content: Content,
    ended: bool,
    next: Option<Event>,
    sleep: Option<Pin<Box<Sleep>>>,
    ticket: Ticket,
}

impl Outgoing {
    /// Whether it leaves piece by piece.
    pub(crate) fn streamed(&self) -> bool {
        self.content.streamed()
    }

    /// The ticket, for whoever ends the answer otherwise.
    pub(crate) fn ticket(&mut self) -> &mut Ticket {
        &mut self.ticket
    }

    /// The next piece once it is due; none at the end.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match &mut self.content {
                Content::Empty => {
                    self.end();
                    return Poll::Ready(None);
                }
                Content::Whole(bytes) => {
                    let bytes = std::mem::take(bytes);
                    self.ticket.sent(&bytes);
                    self.end();
                    return Poll::Ready(Some(bytes));
                }
                Content::Later { .. } => {
                    let admission = ready!(self.ticket.poll_admitted(cx));
                    let later = std::mem::replace(&mut self.content, Content::Empty);
                    if let (Content::Later { make, .. }, Some(admission)) = (later, admission) {
                        self.content = make(admission);
                    }
                }
                Content::Events(events) => {
                    let Some(event) = self.next.take().or_else(|| events.next()) else {
                        self.content = Content::Empty;
                        continue;
                    };
                    if event.due > Instant::now() {
                        let due = event.due.into();
                        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
                        if sleep.deadline() != due {
                            sleep.as_mut().reset(due);
                        }
                        if sleep.as_mut().poll(cx).is_pending() {
                            self.next = Some(event);
                            return Poll::Pending;
                        }
                    }
                    self.ticket.sent(&event.bytes);
                    return Poll::Ready(Some(event.bytes));
                }
            }
        }
    }

    fn end(&mut self) {
        self.content = Content::Empty;
        self.ended = true;
        self.ticket.complete();
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_next(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        // not for a body that is empty from the start: hyper would move its content-length behind all else
        self.ended
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.content {
            Content::Empty => http_body::SizeHint::with_exact(0),
            Content::Whole(bytes) => http_body::SizeHint::with_exact(bytes.len() as u64),
            Content::Events(_) | Content::Later { .. } => http_body::SizeHint::default(),
        }
    }
}
