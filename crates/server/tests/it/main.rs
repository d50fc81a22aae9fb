//! The gateway's behaviour as clients and upstreams see it: the built binary between real sockets.
//!
//! [`gateway`] starts it, [`vllm`] plays the server behind it, [`peer`] a client that speaks HTTP/2 or TLS; every other
//! module is one subject.

mod gateway;
mod peer;
mod vllm;

mod accounting;
mod breaker;
mod disguised;
mod edges;
mod endings;
mod envelope;
mod fidelity;
mod headers;
mod identity;
mod in_flight;
mod large;
mod leaving;
mod limits;
mod listener;
mod load;
mod models;
mod operations;
mod passthrough;
mod passthrough_closed;
mod probes;
mod refusals;
mod reload;
mod rerank;
mod retries;
mod secrets;
mod selectors;
mod shapes;
mod shutdown;
mod silence;
mod slow_clients;
mod smuggling;
mod streams;
mod transcription;
mod unsupported;
