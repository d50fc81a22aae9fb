//! One call as a client makes it, on a connection of its own: every byte that comes, how it ends, and leaving at will.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::told;

/// The most that is read of an answer.
const MOST: usize = 32 << 20;

/// The room for received bytes of a client that takes its time.
const ROOM: u32 = 16 << 10;

/// Where a gateway is, and the key to it.
#[derive(Clone, Debug)]
pub struct Door {
    /// `host:port`.
    pub address: String,
    /// What stands before every path, without a slash at its end.
    pub prefix: String,
    /// The key, if it asks for one.
    pub key: Option<String>,
}

impl Door {
    /// The door at an `http://` URL, with or without `/v1`.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn at(url: &str, key: Option<String>) -> Result<Door, String> {
        let uri: http::Uri =
            url.parse().map_err(|error| format!("{url}: {error}; write http://host:port"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!(
                "{url}: write http://host:port; the wall looks at bare connections and speaks no TLS"
            ));
        }
        let host = uri.host().ok_or_else(|| format!("{url}: it names no host; write http://host:port"))?;
        let prefix = uri.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        Ok(Door { address: format!("{host}:{}", uri.port_u16().unwrap_or(80)), prefix, key })
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) path: String,
    /// The media type of the body.
    pub(crate) kind: &'static str,
    /// What to post; nothing to get.
    pub(crate) body: Option<Bytes>,
    pub(crate) id: String,
    /// Whether the connection is reset when it is let go, rather than closed.
    pub(crate) resets: bool,
    /// How many bytes of the answer are read in a second, where the client takes its time.
    pub(crate) pace: Option<u32>,
}

/// How far an answer is listened to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    End,
    /// So many bytes of its body.
    Bytes(usize),
    /// So many events.
    Events(usize),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As its framing promised.
    Clean,
    /// Before.
    Cut(String),
    /// There was no answer at all.
    Nothing(String),
    /// The client left.
    Left,
    /// It did not end in time.
    Late,
}

/// What was heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) id: String,
    pub(crate) status: Option<u16>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) ending: Ending,
    pub(crate) ended: Instant,
}

impl Heard {
    /// The value of a header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Lets the connection go when the call is over.
struct Held(JoinHandle<()>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes a call. It is given up after `limit`, and left as soon as `leave` is there.
pub(crate) async fn call(
    door: &Door,
    asking: &Asking,
    until: Until,
    limit: Duration,
    leave: impl Future<Output = ()>,
) -> Heard {
    let mut heard = Heard {
        id: asking.id.clone(),
        status: None,
        headers: HeaderMap::new(),
        body: Vec::new(),
        ending: Ending::Late,
        ended: Instant::now(),
    };
    let ending = tokio::select! {
        ending = talk(door, asking, until, &mut heard) => ending,
        () = leave => Ending::Left,
        () = tokio::time::sleep(limit) => Ending::Late,
    };
    heard.ending = ending;
    heard.ended = Instant::now();
    heard
}

async fn talk(door: &Door, asking: &Asking, until: Until, heard: &mut Heard) -> Ending {
    let nothing = |what: &str, error: &dyn std::fmt::Display| Ending::Nothing(format!("{what}: {error}"));
    let stream = match connect(door, asking).await {
        Ok(stream) => stream,
        Err(error) => return nothing("no connection", &error),
    };
    // neither can fail on a connection that has just been made
    let _ = stream.set_nodelay(true);
    if asking.resets {
        let _ = stream.set_zero_linger();
    }
    let (mut sender, connection) = match hyper::client::conn::http1::handshake(TokioIo::new(stream)).await {
        Ok(pair) => pair,
        Err(error) => return nothing("no connection", &error),
    };
    let _held = Held(tokio::spawn(async move {
        // what goes wrong is told to who reads
        let _ = connection.await;
    }));
    let request = match request(door, asking) {
        Ok(request) => request,
        Err(error) => return nothing("no request", &error),
    };
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        Err(error) => return nothing("no answer", &error),
    };
    let (head, mut body) = response.into_parts();
    heard.status = Some(head.status.as_u16());
    heard.headers = head.headers;
    loop {
        match body.frame().await {
            None => return Ending::Clean,
            Some(Err(error)) => return Ending::Cut(error.to_string()),
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(&[][..], |bytes| bytes);
                heard.body.extend_from_slice(bytes);
                if let Some(pace) = asking.pace {
                    let time = bytes.len() as f64 / f64::from(pace);
                    tokio::time::sleep(Duration::from_secs_f64(time)).await;
                }
            }
        }
        let enough = match until {
            Until::End => heard.body.len() > MOST,
            Until::Bytes(bytes) => heard.body.len() > bytes,
            Until::Events(count) => told::events(&heard.body).len() >= count && heard.body.ends_with(b"\n\n"),
        };
        if enough {
            return Ending::Left;
        }
    }
}

/// Connects. Who takes its time has little room for what it does not take, so that others must keep it.
async fn connect(door: &Door, asking: &Asking) -> std::io::Result<TcpStream> {
    if asking.pace.is_none() {
        return TcpStream::connect(&door.address).await;
    }
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "no such host");
    for address in tokio::net::lookup_host(&door.address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_recv_buffer_size(ROOM)?;
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn request(door: &Door, asking: &Asking) -> Result<Request<Full<Bytes>>, http::Error> {
    let target = format!("{}{}", door.prefix, asking.path);
    let method = if asking.body.is_some() { http::Method::POST } else { http::Method::GET };
    let mut request = Request::builder().method(method).uri(target).header(header::HOST, &door.address);
    request = request.header("x-request-id", &asking.id);
    if let Some(key) = &door.key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    if asking.path == "/v1/messages" {
        request = request.header("anthropic-version", "2023-06-01");
    }
    if asking.body.is_some() {
        request = request.header(header::CONTENT_TYPE, asking.kind);
    }
    request.body(Full::from(asking.body.clone().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_have_a_path_and_no_port() {
        let at = |url: &str| Door::at(url, None).map(|door| (door.address, door.prefix));
        let door = |address: &str, prefix: &str| Ok((address.to_owned(), prefix.to_owned()));
        assert_eq!(at("http://h:1"), door("h:1", ""));
        assert_eq!(at("http://h:1/ai/v1/"), door("h:1", "/ai"));
        assert_eq!(at("http://h/v1"), door("h:80", ""));
        assert!(at("https://h").is_err_and(|error| error.contains("http://host:port")));
        assert!(at("h:1").is_err());
    }
}
