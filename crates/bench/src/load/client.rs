//! One client: a connection that is kept, and one call after another on it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::EventCount;
use crate::wire::{Body, Head};

/// So much of a refusal is told.
const TOLD: usize = 300;

/// Room for what one read brings.
const ROOM: usize = 64 << 10;

/// Room of a client with many others beside it.
const LITTLE_ROOM: usize = 2 << 10;

/// What a slow client lets its kernel take in.
const SLOW_WINDOW: u32 = 16 << 10;

/// A call that went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// To the first payload, or to the first event of a stream.
    pub first: Duration,
    /// To the end.
    pub total: Duration,
    /// Payload.
    pub bytes: u64,
    /// Events.
    pub events: u64,
}

/// A client.
pub struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

impl Client {
    /// A client that has not connected yet.
    pub fn new(address: SocketAddr) -> Client {
        Client { address, stream: None, received: Vec::with_capacity(LITTLE_ROOM) }
    }

    /// Connects, if it is not connected.
    pub async fn connect(&mut self) -> Result<&mut TcpStream, String> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream =
                    TcpStream::connect(self.address).await.map_err(|error| told("connecting", &error))?;
                stream.set_nodelay(true).map_err(|error| told("connecting", &error))?;
                stream
            }
        };
        Ok(self.stream.insert(stream))
    }

    /// One call. `marker` is what a stream ends with; `opened` hears of the first payload.
    pub async fn exchange(
        &mut self,
        request: &[u8],
        marker: Option<&'static [u8]>,
        opened: impl FnOnce(),
    ) -> Result<Exchange, String> {
        let done = self.try_exchange(request, marker, opened).await;
        if done.is_err() {
            self.stream = None;
        }
        done
    }

    async fn try_exchange(
        &mut self,
        request: &[u8],
        marker: Option<&'static [u8]>,
        opened: impl FnOnce(),
    ) -> Result<Exchange, String> {
        self.connect().await?;
        let (Some(stream), received) = (&mut self.stream, &mut self.received) else {
            return Err("not connected".to_owned());
        };
        received.clear();
        let began = Instant::now();
        stream.write_all(request).await.map_err(|error| told("sending", &error))?;
        let (status, mut body, close) = loop {
            if stream.read_buf(received).await.map_err(|error| told("waiting for an answer", &error))? == 0 {
                return Err("the connection was closed before an answer".to_owned());
            }
            if let Some(head) = Head::read(received).map_err(|error| error.to_string())? {
                let status = head.status().map_err(|error| error.to_string())?;
                let (bytes, framing, close) = (head.bytes, head.framing, head.close);
                received.drain(..bytes);
                if status != 100 {
                    break (status, Body::of_response(framing), close);
                }
            }
        };
        let (mut count, mut bytes) = (EventCount::new(marker), 0);
        let (mut refusal, mut first, mut opened) = (Vec::new(), None, Some(opened));
        loop {
            body.take(received, |piece| {
                bytes += piece.len() as u64;
                count.look(piece);
                if status != 200 && refusal.len() < TOLD {
                    refusal.extend_from_slice(piece);
                }
            })
            .map_err(|error| error.to_string())?;
            received.clear();
            if first.is_none() && (count.events > 0 || (marker.is_none() && bytes > 0)) {
                first = Some(began.elapsed());
                if let Some(opened) = opened.take() {
                    opened();
                }
            }
            if body.ended() {
                break;
            }
            if bytes > LITTLE_ROOM as u64 && marker.is_none() {
                received.reserve(ROOM);
            }
            if stream.read_buf(received).await.map_err(|error| told("reading the answer", &error))? == 0 {
                if body.may_close() {
                    break;
                }
                return Err(format!("the connection was closed after {bytes} bytes of the answer"));
            }
        }
        let total = began.elapsed();
        if close || body.may_close() && !body.ended() {
            self.stream = None;
        }
        if status != 200 {
            refusal.truncate(TOLD);
            return Err(format!("status {status}: {}", String::from_utf8_lossy(&refusal)));
        }
        if !count.ended {
            return Err(format!("the stream ended after {} events without its marker", count.events));
        }
        Ok(Exchange { first: first.unwrap_or(total), total, bytes, events: count.events })
    }

    /// Asks, and reads no faster than it is told to.
    pub async fn drip(self, request: &[u8]) -> Result<Dripping, String> {
        let connect = async {
            let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_recv_buffer_size(SLOW_WINDOW)?;
            let mut stream = socket.connect(self.address).await?;
            stream.write_all(request).await?;
            Ok::<TcpStream, std::io::Error>(stream)
        };
        let stream = connect.await.map_err(|error| told("connecting", &error))?;
        Ok(Dripping { stream })
    }
}

/// An answer that is read slowly.
pub struct Dripping {
    stream: TcpStream,
}

impl Dripping {
    /// Reads at most so many bytes; 0 when the answer is over.
    pub async fn sip(&mut self, bytes: usize) -> Result<usize, String> {
        let mut sip = vec![0; bytes];
        self.stream.read(&mut sip).await.map_err(|error| told("reading the answer", &error))
    }
}

fn told(doing: &str, error: &std::io::Error) -> String {
    format!("{doing}: {error}")
}
