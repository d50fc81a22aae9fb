//! Sockets: one listener for each core, one task for each connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::edge::{Edge, Patience};
use super::{Front, answer};
use crate::shutdown::Drain;

/// Connections that the kernel holds for us until they are accepted.
const BACKLOG: i32 = 4096;

/// After a failure to accept (no descriptors left), so long nothing is accepted.
const BREATH: Duration = Duration::from_millis(50);

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
    patience: Patience,
    drain: Drain,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        tokio::select! {
            biased;
            () = drain.begun() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    tokio::spawn(connection(stream, peer, front.clone(), patience, drain.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            },
        }
    }
}

/// Serves one connection to its end. When the drain begins, the request under way is the last one.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    front: Arc<Front>,
    patience: Patience,
    drain: Drain,
) {
    // a token is a packet: waiting for more of them would hold it back
    let _ = stream.set_nodelay(true);
    let (stream, phases) = Edge::new(stream, patience);
    let shared = front.clone();
    let service = service_fn(move |request| answer(shared.clone(), request, Some(peer), phases.clone()));
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        // hyper's bound is not exact: a head is measured when it is here, and this one lies above
        .max_buf_size(front.max_head.saturating_mul(2).max(SMALLEST_BUFFER))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
