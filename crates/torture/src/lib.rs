//! The fault wall: a gateway between real sockets, an engine behind it that goes wrong in every known way, and a
//! judge who asks whether the gateway told the truth.
//!
//! It is a client and an upstream; of the gateway it knows nothing but HTTP, so that any gateway can stand before it.
//! What it is told from inside, a log and a page of metrics, is [`Inside`]; without that the columns about it say n/a.
//!
//! [`Plan::draw`] turns the table of faults ([`mod@rows`]) and the fronts ([`mod@front`]) into scenarios, each with a
//! model of its own, so that a fault is chosen by the model's name and breakers do not mix. [`Engines::start`] plays the
//! upstreams. [`run`] sends the calls and keeps what came ([`mod@client`]); only when all is over is it judged
//! ([`mod@judge`]), by pure functions of what was heard, what the engines saw and what the gateway said of itself. The
//! [`Report`] prints itself as a matrix, as JSON and as a page.
//!
//! How an answer reads is written here once more ([`mod@told`]) and not taken from the gateway: a wall that shared the
//! gateway's eyes would share its mistakes.

mod client;
mod engines;
mod form;
mod front;
mod inside;
mod judge;
mod page;
mod plan;
mod report;
mod rows;
mod table;
mod told;
mod truth;
mod wall;

pub use client::Door;
pub use engines::{Engines, Ports, UPSTREAM_KEY};
pub use front::{Dialect, Front};
pub use inside::{Inside, Log};
pub use plan::{Choice, Plan};
pub use report::{Check, Column, Report, Scored, State};
pub use wall::{Gateway, Names, run};
