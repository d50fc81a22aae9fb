//! The one error that a call can end with: what went wrong, whose fault it is, and what may be tried.
//!
//! Decided where the failure is seen, obeyed everywhere else. The kind chooses status and error type (in
//! `dialect::fault`), the blame the log level and what the breaker counts, the retry what failover does.

use std::fmt;
use std::time::Duration;

/// Why a call failed.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// Whose doing it is.
    pub blame: Blame,
    /// What may be tried before the client is told.
    pub retry: Retry,
    /// A sentence for the client. Holds no secret.
    pub message: String,
    /// The request member at fault, as the client wrote it.
    pub param: Option<String>,
    /// A word for programs: `stream_incomplete`, `unsupported_operation`.
    pub code: Option<String>,
    /// What the client should wait before it asks again, as a `Retry-After` header's value.
    pub retry_after: Option<String>,
    /// Response headers of the upstream that the client may see (rate limits, request id).
    pub headers: Vec<(String, String)>,
    /// The status that the upstream answered with, if it answered.
    pub upstream_status: Option<u16>,
}

/// What went wrong, finely enough to choose a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The request makes no sense. 400.
    Invalid,
    /// Who is asking is not known. 401.
    Unauthenticated,
    /// Known, but not allowed. 403.
    Forbidden,
    /// No such route, model or object. 404.
    NotFound,
    /// The route exists, the method does not. 405.
    MethodNotAllowed,
    /// The request's body did not arrive in time. 408.
    RequestTimeout,
    /// The body is larger than allowed. 413.
    TooLarge,
    /// Too much at once. 429.
    RateLimited,
    /// Nobody here can do this. 501.
    Unsupported,
    /// The upstream refused with this status, which the client gets too.
    Refused(u16),
    /// The upstream could not be reached, or hung up. 502.
    Unreachable,
    /// The upstream's answer is not one. 502.
    Broken,
    /// The upstream did not answer in time. 504.
    TimedOut,
    /// Nothing is there to serve this now: breaker open, inventory unknown, too busy. 503.
    Unavailable,
    /// A mistake of ours. 500.
    Internal,
}

/// Whose doing a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The client asked for something it cannot have.
    Caller,
    /// The far side failed: counts for the breaker.
    Upstream,
    /// We failed.
    Gateway,
}

/// What may be tried after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing: tell the client.
    Never,
    /// The same deployment again, after the usual back-off.
    Same,
    /// The same deployment, but not before this time has passed: the upstream asked for it.
    After(Duration),
}

impl Fault {
    /// A fault of this kind with the blame and retry that usually go with it.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Fault {
        let blame = match kind {
            FaultKind::Refused(status) if status >= 500 => Blame::Upstream,
            FaultKind::Unreachable | FaultKind::Broken | FaultKind::TimedOut => Blame::Upstream,
            FaultKind::Unavailable | FaultKind::Internal => Blame::Gateway,
            _ => Blame::Caller,
        };
        let retry = if kind == FaultKind::Unreachable { Retry::Same } else { Retry::Never };
        Fault {
            kind,
            blame,
            retry,
            message: message.into(),
            param: None,
            code: None,
            retry_after: None,
            headers: Vec::new(),
            upstream_status: None,
        }
    }

    /// The request makes no sense.
    pub fn invalid(message: impl Into<String>) -> Fault {
        Fault::new(FaultKind::Invalid, message)
    }

    /// Names the request member at fault.
    pub fn param(mut self, param: impl Into<String>) -> Fault {
        self.param = Some(param.into());
        self
    }

    /// Adds the word for programs.
    pub fn code(mut self, code: impl Into<String>) -> Fault {
        self.code = Some(code.into());
        self
    }

    /// Says what may be tried.
    pub fn retry(mut self, retry: Retry) -> Fault {
        self.retry = retry;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
