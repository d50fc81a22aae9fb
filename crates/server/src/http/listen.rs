//! Sockets: one listener for each core, one task for each connection. What is spoken on a connection is settled here: TLS
//! or not, HTTP/2 by ALPN or by its first bytes, or HTTP/1.1.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::edge::{Edge, Phases};
use super::tls::Tls;
use super::{Front, answer, h2};
use crate::shutdown::Drain;

/// Connections that the kernel holds for us until they are accepted.
const BACKLOG: i32 = 4096;

/// After a failure to accept (no descriptors left), so long nothing is accepted.
const BREATH: Duration = Duration::from_millis(50);

/// A TLS handshake takes no longer, whatever a request's head may.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A buffer for requests has room for so many bytes at least.
const SMALLEST_BUFFER: usize = 64 << 10;

/// Opens a listening socket. `share` lets several listeners have the same address, one for each core.
pub(crate) fn open(address: SocketAddr, share: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    if share {
        socket.set_reuse_port(true)?;
    }
    #[cfg(not(unix))]
    let _ = share;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until the drain begins. Connections go on in tasks of their own, each with its own copy of the drain.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    front: Arc<Front>,
    drain: Drain,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        tokio::select! {
            biased;
            () = drain.begun() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    tokio::spawn(connection(stream, peer, front.clone(), drain.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            },
        }
    }
}

/// Serves one connection to its end. When the drain begins, the requests under way are the last ones.
async fn connection(stream: TcpStream, peer: SocketAddr, front: Arc<Front>, drain: Drain) {
    // a token is a packet: waiting for more of them would hold it back
    let _ = stream.set_nodelay(true);
    // the rare ones are boxed: every connection would be as large as the largest
    let ended = if front.tls.is_some() {
        Box::pin(secure(stream, peer, front, drain)).await
    } else {
        plain(stream, peer, front, drain).await
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A connection without TLS: a client that knows that we speak HTTP/2 says so with its first bytes.
async fn plain(stream: TcpStream, peer: SocketAddr, front: Arc<Front>, drain: Drain) -> Ended {
    let terms = front.terms.load_full();
    let (patience, max_head) = (terms.patience, terms.max_head);
    drop(terms);
    let (mut edge, phases) = Edge::new(stream, patience);
    let http2 = tokio::select! {
        biased;
        begins = edge.begins_http2() => begins?,
        () = drain.begun() => return Ok(()),
    };
    if http2 {
        Ok(Box::pin(h2::serve(edge.many_at_a_time(), peer, front, patience, max_head, drain)).await?)
    } else {
        one_at_a_time(edge, phases, peer, front, max_head, drain).await
    }
}

/// A connection with TLS: what is spoken in it is settled by the handshake.
async fn secure(stream: TcpStream, peer: SocketAddr, front: Arc<Front>, drain: Drain) -> Ended {
    let terms = front.terms.load_full();
    let (patience, max_head) = (terms.patience, terms.max_head);
    drop(terms);
    let Some(tls) = &front.tls else { return Ok(()) };
    let stream = tokio::select! {
        biased;
        shaken = handshake(tls, stream, patience.head) => shaken?,
        () = drain.begun() => return Ok(()),
    };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let (edge, phases) = Edge::new(stream, patience);
    if http2 {
        Ok(Box::pin(h2::serve(edge.many_at_a_time(), peer, front, patience, max_head, drain)).await?)
    } else {
        one_at_a_time(edge, phases, peer, front, max_head, drain).await
    }
}

async fn handshake(
    tls: &Tls,
    stream: TcpStream,
    head: Option<Duration>,
) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    tls.accept(stream, head.map_or(HANDSHAKE, |head| head.min(HANDSHAKE))).await
}

/// A connection that carries one request at a time: HTTP/1.1.
async fn one_at_a_time<S>(
    edge: Edge<S>,
    phases: Phases,
    peer: SocketAddr,
    front: Arc<Front>,
    max_head: usize,
    drain: Drain,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request| answer(front.clone(), request, peer, phases.clone()));
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        // hyper's bound is not exact: a head is measured when it is here, and this one lies above
        .max_buf_size(max_head.saturating_mul(2).max(SMALLEST_BUFFER))
        .serve_connection(TokioIo::new(edge), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = drain.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    Ok(ended?)
}
