//! Reading a response bit by bit: what has come, what it means, and when it is over.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::Connection;
use crate::response::{Ended, NoResponse, ResponseHead, arrival};
use crate::sse::{Event, Scan};
use crate::wire::{Decoder, Framing, Head, Malformed};

/// A response that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) head: ResponseHead,
    pub(super) decoder: Decoder,
    pub(super) body: Vec<u8>,
    pub(super) arrivals: Vec<(usize, Instant)>,
    pub(super) scan: Scan,
    pub(super) ended: Option<(Ended, Instant)>,
}

impl Connection {
    /// Runs `read` for at most the limit.
    pub(super) async fn within<T>(
        &mut self,
        read: impl AsyncFnOnce(&mut Connection) -> Result<T, NoResponse>,
    ) -> Result<T, NoResponse> {
        let limit = self.limit;
        match bounded(limit, read(self)).await {
            Some(result) => result,
            None => Err(NoResponse::TimedOut(limit, self.so_far())),
        }
    }

    pub(super) async fn begin(&mut self) -> Result<&mut Reading, NoResponse> {
        self.within(async |connection| connection.begin_reading().await.map(drop)).await?;
        self.begin_reading().await
    }

    /// The response being read; reads its head first if need be.
    pub(super) async fn begin_reading(&mut self) -> Result<&mut Reading, NoResponse> {
        while self.reading.is_none() {
            match Head::parse(&self.inbox)? {
                Some((head, used)) => {
                    self.inbox.drain(..used);
                    self.start(head)?;
                }
                None => match self.stream.read_buf(&mut self.inbox).await {
                    Ok(0) => return Err(NoResponse::Closed(std::mem::take(&mut self.inbox))),
                    Ok(_) => {}
                    Err(_) => return Err(NoResponse::Reset(std::mem::take(&mut self.inbox))),
                },
            }
        }
        Ok(self.reading.as_mut().expect("the loop ended because there is one"))
    }

    fn start(&mut self, head: Head) -> Result<(), NoResponse> {
        let framing_fields = head.fields.clone();
        let head = ResponseHead::read(&head.start, head.fields)?;
        if (100..200).contains(&head.status) {
            return Ok(());
        }
        let decoder = Decoder::new(Framing::of_response(head.status, &self.method, &framing_fields)?);
        let ended = decoder.done().then_some((Ended::Clean, head.at));
        let mut reading =
            Reading { head, decoder, body: Vec::new(), arrivals: Vec::new(), scan: Scan::default(), ended };
        reading.take(&mut self.inbox)?;
        self.reading = Some(reading);
        Ok(())
    }

    /// Reads some more of the body; `false` when it has ended.
    pub(super) async fn read_more(&mut self) -> Result<bool, NoResponse> {
        self.begin_reading().await?;
        let reading = self.reading.as_mut().expect("it has begun");
        if reading.ended.is_some() {
            return Ok(false);
        }
        let end = match self.stream.read_buf(&mut self.inbox).await {
            Ok(0) if reading.decoder.may_close() => Some(Ended::Clean),
            Ok(0) => Some(Ended::Cut),
            Ok(_) => None,
            Err(_) => Some(Ended::Reset),
        };
        match end {
            Some(ended) => reading.ended = Some((ended, Instant::now())),
            None => reading.take(&mut self.inbox)?,
        }
        Ok(reading.ended.is_none())
    }

    pub(super) async fn find_event(&mut self) -> Result<Option<(Instant, Event)>, NoResponse> {
        loop {
            let reading = self.begin_reading().await?;
            let found = reading.scan.next(&reading.body, reading.ended.is_some());
            if let Some(event) = found {
                let at = arrival(&reading.arrivals, event.range.end).unwrap_or(reading.head.at);
                return Ok(Some((at, event)));
            }
            if reading.ended.is_some() {
                return Ok(None);
            }
            self.read_more().await?;
        }
    }

    /// Takes bytes as they come until `enough` of them are there or the server closes. With a match, what
    /// follows the first blank line stays in the inbox.
    pub(super) async fn raw_until(&mut self, enough: impl Fn(&[u8]) -> bool) -> String {
        let mut closed = false;
        let reading = bounded(self.limit, async {
            while !closed && !enough(&self.inbox) {
                closed = !matches!(self.stream.read_buf(&mut self.inbox).await, Ok(count) if count > 0);
            }
        });
        assert!(reading.await.is_some(), "{} sent no more within {:?}", self.host, self.limit);
        let blank = self.inbox.windows(4).position(|four| four == b"\r\n\r\n");
        let end = if closed { self.inbox.len() } else { blank.map_or(self.inbox.len(), |at| at + 4) };
        let bytes: Vec<u8> = self.inbox.drain(..end).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn so_far(&self) -> String {
        match &self.reading {
            None => format!("{:?}, no head", String::from_utf8_lossy(&self.inbox)),
            Some(reading) => {
                let body = String::from_utf8_lossy(&reading.body);
                let shown: String = body.chars().take(2000).collect();
                format!("{} and {} bytes of body: {shown:?}", reading.head.status, reading.body.len())
            }
        }
    }
}

impl Reading {
    /// Takes what has arrived out of its framing.
    fn take(&mut self, inbox: &mut Vec<u8>) -> Result<(), Malformed> {
        let before = self.body.len();
        let used = self.decoder.feed(inbox, &mut self.body)?;
        inbox.drain(..used);
        let now = Instant::now();
        if self.body.len() > before {
            self.arrivals.push((self.body.len(), now));
        }
        if self.decoder.done() && self.ended.is_none() {
            self.ended = Some((Ended::Clean, now));
        }
        Ok(())
    }
}

impl From<Malformed> for NoResponse {
    fn from(why: Malformed) -> NoResponse {
        NoResponse::Malformed(why.to_string())
    }
}

async fn bounded<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    timeout(limit, work).await.ok()
}
