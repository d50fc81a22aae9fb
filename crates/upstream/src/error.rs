//! What can go wrong between a request and the end of its answer, in words fit for a client.

use std::{fmt, io, time::Duration};

use crate::body::BoxError;

/// Why no response head came. No variant holds a header, a body or a key.
#[derive(Debug)]
pub enum SendError {
    /// No connection could be opened.
    Connect {
        /// `host:port`.
        at: String,
        /// What kind of obstacle it was.
        fault: ConnectFault,
        /// The operating system's or TLS library's words.
        detail: String,
    },
    /// No connection within [`Limits::connect`](crate::Limits::connect).
    ConnectTimeout {
        /// `host:port`.
        at: String,
        /// How long was waited.
        after: Duration,
    },
    /// Connected and sent, but no response head within
    /// [`Limits::first_byte`](crate::Limits::first_byte).
    FirstByteTimeout {
        /// `host:port`.
        at: String,
        /// How long was waited.
        after: Duration,
    },
    /// The connection died before a whole response head came.
    Reset {
        /// `host:port`.
        at: String,
        /// How it died.
        detail: String,
    },
    /// The request's own body failed while it was being sent: its sender's doing, not the upstream's.
    ClientBody(BoxError),
    /// What came back is no HTTP response head, or one beyond every limit.
    InvalidHead {
        /// `host:port`.
        at: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The request cannot be written as HTTP: a fault of the caller, nothing was sent.
    InvalidRequest(&'static str),
}

/// What kept a connection from being opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFault {
    /// Nothing listens there.
    Refused,
    /// The name has no address.
    Dns,
    /// The TLS handshake failed.
    Tls,
    /// No route, out of sockets, and whatever else the operating system says.
    Unreachable,
}

impl SendError {
    /// Whether a limit of time was the cause (a 504, never retried) rather than a failure (a 502).
    pub fn timed_out(&self) -> bool {
        matches!(self, SendError::ConnectTimeout { .. } | SendError::FirstByteTimeout { .. })
    }

    /// Whether the fault lies with the request's sender and says nothing about the upstream.
    pub fn is_callers(&self) -> bool {
        matches!(self, SendError::ClientBody(_) | SendError::InvalidRequest(_))
    }

    /// One sentence for the client: what failed and where, without secrets.
    pub fn sentence(&self) -> String {
        self.to_string()
    }

    pub(crate) fn connect(at: String, error: &io::Error) -> SendError {
        let fault = match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectFault::Refused,
            _ => ConnectFault::Unreachable,
        };
        SendError::Connect { at, fault, detail: words(error) }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Connect { at, fault: ConnectFault::Refused, .. } => {
                write!(f, "connection to {at} refused: no server listens there")
            }
            SendError::Connect { at, fault: ConnectFault::Dns, detail } => {
                write!(f, "the host name of {at} could not be resolved: {detail}")
            }
            SendError::Connect { at, fault: ConnectFault::Tls, detail } => {
                write!(f, "the TLS handshake with {at} failed: {detail}")
            }
            SendError::Connect { at, fault: ConnectFault::Unreachable, detail } => {
                write!(f, "could not connect to {at}: {detail}")
            }
            SendError::ConnectTimeout { at, after } => {
                write!(f, "no connection to {at} within {}", seconds(*after))
            }
            SendError::FirstByteTimeout { at, after } => {
                write!(f, "{at} did not begin to answer within {}", seconds(*after))
            }
            SendError::Reset { at, detail } => {
                write!(f, "{at} closed the connection before answering: {detail}")
            }
            SendError::ClientBody(error) => write!(f, "the request body could not be read: {error}"),
            SendError::InvalidHead { at, detail } => {
                write!(f, "{at} did not answer with valid HTTP: {detail}")
            }
            SendError::InvalidRequest(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SendError::ClientBody(error) => Some(&**error),
            _ => None,
        }
    }
}

/// Why a response body ended before its end. What was read until then is valid.
#[derive(Debug)]
pub enum BodyError {
    /// The upstream closed the connection in the middle of the body.
    Cut,
    /// The connection broke.
    Reset {
        /// How.
        detail: String,
    },
    /// The body's framing (chunk sizes, trailers) is not HTTP.
    Invalid {
        /// What is wrong with it.
        detail: String,
    },
    /// The request body, still being sent, failed: its sender's doing.
    ClientBody(BoxError),
}

impl BodyError {
    /// Whether the fault lies with the request's sender and says nothing about the upstream.
    pub fn is_callers(&self) -> bool {
        matches!(self, BodyError::ClientBody(_))
    }

    /// One sentence for the client, without secrets.
    pub fn sentence(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::Cut => f.write_str("the upstream closed the connection in the middle of its answer"),
            BodyError::Reset { detail } => {
                write!(f, "the connection broke in the middle of the upstream's answer: {detail}")
            }
            BodyError::Invalid { detail } => write!(f, "the upstream's answer is not valid HTTP: {detail}"),
            BodyError::ClientBody(error) => write!(f, "the request body could not be read: {error}"),
        }
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BodyError::ClientBody(error) => Some(&**error),
            _ => None,
        }
    }
}

/// The words of the innermost cause: those around it only say in which part of the work it failed.
pub(crate) fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match cause.downcast_ref::<io::Error>() {
        Some(error) => words(error),
        None => cause.to_string(),
    }
}

/// The operating system's words without its number: they go to clients.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

fn seconds(time: Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (seconds, 0) => format!("{seconds} s"),
        (0, millis) => format!("{millis} ms"),
        (seconds, millis) => format!("{seconds}.{millis:03}").trim_end_matches('0').to_owned() + " s",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_write_them() {
        assert_eq!(seconds(Duration::from_secs(600)), "600 s");
        assert_eq!(seconds(Duration::from_millis(250)), "250 ms");
        assert_eq!(seconds(Duration::from_millis(1500)), "1.5 s");
    }

    #[test]
    fn a_sentence_names_the_place_and_the_fault() {
        let refused = SendError::connect("gpu-1:8000".into(), &io::ErrorKind::ConnectionRefused.into());
        assert_eq!(refused.sentence(), "connection to gpu-1:8000 refused: no server listens there");
        let error = io::Error::from_raw_os_error(113);
        let away = SendError::connect("gpu-1:8000".into(), &error).sentence();
        assert!(away.starts_with("could not connect to gpu-1:8000: "), "{away}");
        assert!(!away.contains("os error"), "{away}");
    }

    #[test]
    fn only_timeouts_count_as_timed_out() {
        let after = Duration::from_secs(2);
        assert!(SendError::ConnectTimeout { at: String::new(), after }.timed_out());
        assert!(SendError::FirstByteTimeout { at: String::new(), after }.timed_out());
        assert!(!SendError::Reset { at: String::new(), detail: String::new() }.timed_out());
    }
}
