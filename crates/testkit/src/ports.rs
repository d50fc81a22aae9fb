//! Addresses on loopback at which something particular happens: nothing listens, or nobody answers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A port that was free a moment ago, for a program that must be told one. Whoever can bind port 0 should:
/// another process may take this one first.
pub fn free() -> u16 {
    let listener = std::net::TcpListener::bind(any()).expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// An address that refuses every connection for as long as this lives, and that nobody else can take.
#[derive(Debug)]
pub struct Refusing {
    address: SocketAddr,
    /// Bound, but not listening: that is what refuses.
    _socket: TcpSocket,
}

impl Refusing {
    /// Takes a free port.
    pub fn start() -> Refusing {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.bind(any()).expect("loopback has a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        Refusing { address, _socket: socket }
    }

    /// Where connections are refused.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// An address at which connecting never succeeds and never fails, as with a host that drops packets.
#[derive(Debug)]
pub struct Unanswering {
    address: SocketAddr,
    _listener: tokio::net::TcpListener,
    /// These fill the listener's queue, so that the system ignores who comes next.
    _queue: Vec<TcpStream>,
}

impl Unanswering {
    /// Takes a free port and fills its queue.
    ///
    /// # Panics
    /// When the system accepts without end, as some do; Linux does not.
    pub async fn start() -> Unanswering {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.bind(any()).expect("loopback has a free port");
        let listener = socket.listen(1).expect("a bound socket can listen");
        let address = listener.local_addr().expect("a bound listener has an address");
        let mut queue = Vec::new();
        while let Ok(connected) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
            queue.push(connected.expect("a queue that is not full takes the connection"));
            assert!(queue.len() < 64, "this system's listen queue never fills");
        }
        Unanswering { address, _listener: listener, _queue: queue }
    }

    /// Where nobody answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[tokio::test]
    async fn a_refusing_address_refuses_and_stays_taken() {
        let refusing = Refusing::start();
        for _ in 0..3 {
            let error = TcpStream::connect(refusing.address()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
        assert!(std::net::TcpListener::bind(refusing.address()).is_err());
    }

    #[tokio::test]
    async fn an_unanswering_address_leaves_the_caller_waiting() {
        let unanswering = Unanswering::start().await;
        let connecting = timeout(Duration::from_millis(300), TcpStream::connect(unanswering.address()));
        assert!(connecting.await.is_err());
    }

    #[test]
    fn a_free_port_can_be_listened_on() {
        assert!(std::net::TcpListener::bind(("127.0.0.1", free())).is_ok());
    }
}
