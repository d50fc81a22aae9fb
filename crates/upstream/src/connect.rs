//! Opening connections: addresses raced, TLS on top.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::TcpStream,
    sync::OnceCell,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    error::{ConnectFault, SendError, root, words},
    io::{Socket, Stream},
    link::Link,
    resolve::Names,
    target::Target,
    tls::default_tls,
};

/// How long an address may take before the next is tried alongside (RFC 8305 5 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// Opens connections for a pool.
pub(crate) struct Dialer {
    names: Names,
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Dialer {
    pub(crate) fn new(tls: Option<Arc<ClientConfig>>) -> Dialer {
        Dialer { names: Names::default(), tls: OnceCell::new_with(tls) }
    }

    /// A connection ready for its first request, within `limit`.
    pub(crate) async fn open(&self, target: &Target, limit: Duration) -> Result<Box<Link>, SendError> {
        match timeout(limit, self.dial(target)).await {
            Ok(result) => result,
            Err(_) => {
                self.names.doubt(target.host());
                Err(SendError::ConnectTimeout { at: target.place(), after: limit })
            }
        }
    }

    async fn dial(&self, target: &Target) -> Result<Box<Link>, SendError> {
        let tcp = self.reach(target).await?;
        let socket = Socket::new(tcp);
        let stream = match target.server_name() {
            None => Stream::Plain(socket),
            Some(name) => {
                let failed = |error: &io::Error| SendError::Connect {
                    at: target.place(),
                    fault: ConnectFault::Tls,
                    detail: root(error),
                };
                let connector = TlsConnector::from(self.tls().await.map_err(|e| failed(&e))?);
                let encrypted = connector.connect(name.clone(), socket).await.map_err(|e| failed(&e))?;
                Stream::Tls(Box::new(encrypted))
            }
        };
        Ok(Link::new(stream))
    }

    async fn reach(&self, target: &Target) -> Result<TcpStream, SendError> {
        let result = match target.ip() {
            Some(ip) => plain(SocketAddr::new(ip, target.port())).await,
            None => {
                let addresses = self.names.find(target.host()).await.map_err(|error| SendError::Connect {
                    at: target.place(),
                    fault: ConnectFault::Dns,
                    detail: words(&error),
                })?;
                let result =
                    race(addresses.iter().map(|&ip| SocketAddr::new(ip, target.port())), STAGGER).await;
                if result.is_err() {
                    self.names.doubt(target.host());
                }
                result
            }
        };
        result.map_err(|error| SendError::connect(target.place(), &error))
    }

    async fn tls(&self) -> io::Result<Arc<ClientConfig>> {
        // Reading a machine's certificates takes milliseconds: not on a core that serves streams.
        let build = || async { tokio::task::spawn_blocking(default_tls).await.map_err(io::Error::other) };
        self.tls.get_or_try_init(build).await.cloned()
    }
}

/// The first address that answers wins. The next one starts when one fails, or when the last start
/// was `stagger` ago.
async fn race(mut addresses: impl Iterator<Item = SocketAddr>, stagger: Duration) -> io::Result<TcpStream> {
    let mut running = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
    let mut more = true;
    let mut start = true;
    loop {
        if std::mem::take(&mut start) {
            match addresses.next() {
                Some(address) => running.push(plain(address)),
                None => more = false,
            }
        }
        if running.is_empty() {
            return Err(last);
        }
        tokio::select! {
            Some(result) = running.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    last = error;
                    start = more;
                }
            },
            () = sleep(stagger), if more => start = true,
        }
    }
}

async fn plain(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // An event is small and must not wait for the next one.
    stream.set_nodelay(true)?;
    // A long generation is a long silence: probes notice a peer that vanished meanwhile.
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(15));
    if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "no keep-alive probes on this connection");
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next() {
        let refusing = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let dead = refusing.local_addr().expect("address");
        drop(refusing);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let live = listener.local_addr().expect("address");
        let stream = race([dead, live].into_iter(), Duration::from_secs(60)).await.expect("connects");
        assert_eq!(stream.peer_addr().expect("peer"), live);
    }

    #[tokio::test]
    async fn if_every_address_refuses_so_does_the_race() {
        let refusing = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let dead = refusing.local_addr().expect("address");
        drop(refusing);
        let error = race([dead, dead].into_iter(), STAGGER).await.expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_silent_address_does_not_hold_up_the_next() {
        // A listener whose queue is full drops further attempts without an answer.
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
        full.bind(&"127.0.0.1:0".parse::<SocketAddr>().expect("address").into()).expect("bind");
        full.listen(0).expect("listen");
        let silent = full.local_addr().expect("address").as_socket().expect("inet");
        let mut queued = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(silent)).await {
            queued.push(stream.expect("queued"));
            assert!(queued.len() < 64, "the queue never fills");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let live = listener.local_addr().expect("address");
        let both = race([silent, live].into_iter(), Duration::from_millis(20));
        let stream = timeout(Duration::from_secs(5), both).await.expect("in time").expect("connects");
        assert_eq!(stream.peer_addr().expect("peer"), live);
    }
}
