//! Connections to providers: the only crate that opens them.
//!
//! # The life of one send
//!
//! 1. [`Pool::send`] turns an [`Outbound`] into one HTTP/1.1 request for a [`Target`]: `host` and the
//!    body's framing are set here, so a caller cannot get them wrong.
//! 2. It takes the most recently used idle connection of that target from the shard of the runtime it
//!    runs on. A connection that the server closed while it was idle is noticed before a byte is
//!    written; the request comes back whole, and the next one is taken. A body that cannot be sent again
//!    takes none of them.
//! 3. If none is left it connects: names from a short-lived cache, addresses raced, TLS if the target
//!    asks for it, all within [`Limits::connect`].
//! 4. The request flows and the head is awaited, within [`Limits::first_byte`]. A *reused* connection
//!    that dies before the first byte of its response is replaced once by a new one.
//! 5. The [`Answer`] carries the head and an [`Incoming`] body. Read to its end, the connection goes back
//!    to its shard, unless either side said that it must not be used again or the upload is unfinished.
//!
//! # Who drives a connection
//!
//! Nobody but its user: there is no task per connection. [`Pool::send`] and [`Incoming`] poll the
//! connection they hold. So dropping either closes the socket on the spot, in whatever phase it is;
//! back-pressure is the caller not polling; and an event costs no hand-over between tasks.
//!
//! # What else lives here
//!
//! [`Breakers`] say whether a call may be tried at all, [`Backoff`] and [`retry::retry_after`] how long to
//! wait before the next try. Neither opens a connection; both are about calls that do.

mod body;
pub mod breaker;
mod connect;
mod error;
mod fields;
pub mod http1;
mod incoming;
mod io;
mod link;
mod output;
mod pool;
mod resolve;
pub mod retry;
mod shard;
mod target;
mod tls;

pub use body::{BoxError, OutBody, Outbound, Pieces};
pub use breaker::{BreakerSettings, BreakerState, Breakers, Open, Pass};
pub use error::{BodyError, ConnectFault, SendError};
pub use fields::Fields;
pub use incoming::Incoming;
pub use pool::{Answer, Limits, Pool, PoolSettings};
pub use retry::Backoff;
pub use target::{InvalidUrl, Target};
pub use tls::default_tls;
