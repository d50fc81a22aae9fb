//! The pool against servers made of plain sockets, so that every byte and every close is seen.

mod bodies;
mod closing;
mod faults;
mod reuse;
mod runtimes;
mod secure;
mod server;
