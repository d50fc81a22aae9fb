//! What the tests of the other crates are made of. Nothing here is shipped.
//!
//! - [`FakeUpstream`] plays a model server over a real socket and misbehaves as its [`Reply`] scripts say.
//! - [`client`] is the other end: it sends exact bytes, sees exact bytes, and leaves at any moment.
//! - [`Transcript`] is one call told in one text file; [`golden`] compares or rewrites it, [`story`] says what its
//!   setup means.
//! - [`chunks`] cuts bytes in every way for "any chunking, same result".
//! - [`skip`](fn@skip) says loudly what was not tested, [`wait`] and [`ports`] do what their names say.
//!
//! Everything listens on loopback only, is bounded in time, and stops when its value is dropped. What goes
//! wrong inside a test is a panic whose message names what was awaited and what was seen instead.

pub mod chunks;
pub mod client;
mod diff;
mod gate;
pub mod golden;
pub mod ports;
pub mod request;
pub mod response;
pub mod script;
pub mod skip;
pub mod sse;
pub mod story;
pub mod transcript;
pub mod upstream;
pub mod wait;
mod wire;

pub use client::{Connection, Leaving, Phase};
pub use gate::Gate;
pub use request::Request;
pub use response::{Ended, NoResponse, Response};
pub use script::Reply;
pub use skip::skip;
pub use sse::Event;
pub use transcript::Transcript;
pub use upstream::{FakeUpstream, Fate, Received};
pub use wait::eventually;
