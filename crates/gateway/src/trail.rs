//! What happened to one call, while it happens. Closes once, also when the client leaves, and then becomes one log line
//! and the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::{Blame, Dialect, Fault, Operation, Selector, Usage};
use http::HeaderName;
use parking_lot::Mutex;

use crate::Gateway;
use crate::call::{Call, Payload};
use crate::identity::Caller;
use crate::inbound::Inbound;
use crate::log::CallEntry;
use crate::metrics::{InFlight, Outcome};
use crate::reply::{Depth, End, Tap};
use crate::routing::Route;
use crate::slots::Slot;
use dialect::stream::Frame;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A token is about this many bytes of a request: the estimate where nobody reports.
const BYTES_PER_TOKEN: u64 = 4;

/// How far a call has come upstream. Shared with the flight, which may still be under way when the trail closes.
#[derive(Debug, Default)]
pub struct Progress {
    /// Requests sent, retries included.
    pub attempts: AtomicU32,
    /// Whether an upstream was handed the request, so that it may have begun to work.
    pub began: AtomicBool,
    /// Time spent waiting for upstreams that is over.
    waited: AtomicU64,
    /// Since when an upstream is being waited for.
    waiting: Mutex<Option<Instant>>,
}

impl Progress {
    /// From now on an upstream is waited for: for news, for a connection, for an answer, between two tries.
    pub fn wait_begins(&self) {
        *self.waiting.lock() = Some(Instant::now());
    }

    /// There is something.
    pub fn wait_ends(&self) {
        if let Some(since) = self.waiting.lock().take() {
            let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.waited.fetch_add(micros, Ordering::Relaxed);
        }
    }

    /// How long upstreams have been waited for, by now.
    fn waited(&self) -> Duration {
        let now = self.waiting.lock().map_or(Duration::ZERO, |since| since.elapsed());
        now + Duration::from_micros(self.waited.load(Ordering::Relaxed))
    }
}

/// What happened to one call.
pub struct Trail {
    gateway: Arc<Gateway>,
    request_id: Arc<str>,
    trace: Option<String>,
    client: Option<std::net::IpAddr>,
    template: &'static str,
    method: http::Method,
    operation: Option<Operation>,
    dialect: Dialect,
    stream: bool,
    auth: &'static str,
    user_path: Option<String>,
    route: Option<Route>,
    in_flight: Option<InFlight>,
    /// The call's place at its instance. Kept here because it ends when the trail does: once, whatever happens.
    slot: Option<Slot>,
    requested: Option<String>,
    request_bytes: u64,
    progress: Arc<Progress>,
    arrived: Instant,
    status: u16,
    first_byte: Option<Duration>,
    own: Option<Duration>,
    events: u64,
    bytes: u64,
    usage: Option<Usage>,
    /// Events that had passed when usage was reported last.
    reported_at: u64,
    closed: bool,
}

impl Trail {
    /// Opens the trail of a request.
    pub fn open(gateway: &Arc<Gateway>, inbound: &Inbound) -> Trail {
        let trace = inbound.head.headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        gateway.metrics.began();
        Trail {
            gateway: gateway.clone(),
            request_id: inbound.request_id.clone(),
            // version, trace id, span id, flags: the second is what joins logs
            trace: trace.and_then(|t| t.split('-').nth(1)).map(|id| id.chars().take(32).collect()),
            client: inbound.client,
            template: "unknown",
            method: inbound.head.method.clone(),
            operation: None,
            dialect: inbound.dialect,
            stream: false,
            auth: "none",
            user_path: None,
            route: None,
            in_flight: None,
            slot: None,
            requested: None,
            request_bytes: inbound.length().unwrap_or(0),
            progress: Arc::default(),
            arrived: inbound.arrived,
            status: 0,
            first_byte: None,
            own: None,
            events: 0,
            bytes: 0,
            usage: None,
            reported_at: 0,
            closed: false,
        }
    }

    /// Notes which route it is.
    pub fn template(&mut self, template: &'static str, dialect: Option<Dialect>) {
        self.template = template;
        self.dialect = dialect.unwrap_or(self.dialect);
    }

    /// Notes who asks.
    pub fn caller(&mut self, caller: &Caller) {
        self.auth = caller.method.word();
        self.user_path = caller.user_path.as_ref().map(ToString::to_string);
    }

    /// Notes what is asked.
    pub fn call(&mut self, call: &Call) {
        self.operation = Some(call.operation);
        self.stream = call.stream;
        self.request_bytes = match &call.payload {
            Payload::Json(body) => body.len() as u64,
            Payload::Form(form) => form.length().unwrap_or(self.request_bytes),
            _ => self.request_bytes,
        };
    }

    /// Notes the model that nobody could be found for.
    pub fn requested(&mut self, selector: &Selector) {
        self.requested = Some(selector.qualified().to_owned());
    }

    /// Notes who is to answer.
    pub fn route(&mut self, route: &Route) {
        self.route = Some(route.clone());
        self.in_flight = Some(self.gateway.metrics.set_out(route, self.template, self.stream));
    }

    /// Keeps the call's place at its instance until the end.
    pub(crate) fn keep(&mut self, slot: Slot) {
        self.slot = Some(slot);
    }

    /// The dialect in which this client is answered.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The request's id.
    pub fn request_id(&self) -> &Arc<str> {
        &self.request_id
    }

    /// What the flight tells on its way.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Notes the status that the client gets, and that its head goes out now.
    pub fn status(&mut self, status: u16) {
        self.status = status;
        self.own = Some(self.arrived.elapsed().saturating_sub(self.progress.waited()));
    }

    /// How much of the time to the head of the reply was ours, and how much went to waiting for upstreams.
    pub fn shares(&self) -> (Duration, Duration) {
        let waited = self.progress.waited();
        (self.own.unwrap_or_else(|| self.arrived.elapsed().saturating_sub(waited)), waited)
    }

    /// Closes the trail of a request that is answered with a fault, without a reply that others watch.
    pub fn refuse(mut self, fault: &Fault) {
        self.close(&End::Failed(fault.clone()));
    }

    /// Closes the trail of a request that was answered without an upstream.
    pub fn answered(mut self) {
        self.close(&End::Complete);
    }

    /// Takes the secrets out of a fault: every refusal passes here on its way to the client.
    pub(crate) fn mask(&self, fault: &mut Fault) {
        self.gateway.masks.fault(fault);
    }

    fn close(&mut self, end: &End) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let mut end = end.clone();
        if let End::Failed(fault) = &mut end {
            self.mask(fault);
        }
        let end = &end;
        let in_flight = self.in_flight.take();
        self.slot = None;
        let usage = self.used(end);
        let total = self.arrived.elapsed();
        self.count(end, usage, total, in_flight);
        self.log(end, usage, total);
    }

    /// What was used: as reported, or an estimate where an upstream worked and did not say.
    pub(crate) fn used(&self, end: &End) -> Option<Usage> {
        if let Some(usage) = self.usage {
            return Some(self.with_what_followed(usage, end));
        }
        let generates = matches!(self.operation, Some(Operation::Generate | Operation::Complete));
        let worked = self.progress.began.load(Ordering::Relaxed);
        let refused = matches!(end, End::Failed(fault) if fault.blame == Blame::Caller || fault.upstream_status.is_some() || fault.retry != domain::Retry::Never);
        let nothing_came = self.events == 0 && self.bytes == 0;
        if !generates || !worked || (refused && nothing_came) {
            return None;
        }
        Some(Usage {
            input: self.request_bytes / BYTES_PER_TOKEN,
            output: if self.stream { self.events } else { self.bytes / BYTES_PER_TOKEN },
            estimated: true,
            ..Usage::default()
        })
    }

    /// A stream that broke off may have said more after its last report: Messages tells what came in with its first event
    /// and what went out with its last.
    fn with_what_followed(&self, usage: Usage, end: &End) -> Usage {
        let since = self.events - self.reported_at;
        // events that arrived together with the first report cannot be told from it
        let nothing_yet = usage.output == 0 && self.events > 1;
        if !self.stream || matches!(end, End::Complete) || since == 0 && !nothing_yet {
            return usage;
        }
        let output = if nothing_yet { self.events } else { usage.output + since };
        Usage { output, estimated: true, ..usage }
    }

    fn count(&self, end: &End, usage: Option<Usage>, total: Duration, in_flight: Option<InFlight>) {
        let outcome = Outcome {
            template: self.template,
            status: self.status,
            end,
            usage,
            total,
            first_byte: self.first_byte,
            own: self.own.unwrap_or_default(),
            attempts: self.progress.attempts.load(Ordering::Relaxed),
        };
        self.gateway.metrics.ended(&outcome, in_flight);
    }

    fn log(&self, end: &End, usage: Option<Usage>, total: Duration) {
        if !self.gateway.calls.is_open() {
            return;
        }
        let fault = end.fault();
        let usage = usage.unwrap_or_default();
        let waited = self.progress.waited();
        let requested = || self.requested.as_deref().map(domain::ModelName::from);
        self.gateway.calls.write(CallEntry {
            timestamp: jiff::Timestamp::now(),
            level: match fault.map(|fault| fault.blame) {
                Some(Blame::Upstream | Blame::Gateway) => "WARN",
                _ => "INFO",
            },
            request_id: self.request_id.clone(),
            trace_id: self.trace.clone(),
            method: self.method.clone(),
            route: self.template,
            operation: self.operation.map(Operation::word),
            status: self.status,
            outcome: end.word(),
            provider: self.route.as_ref().map(|route| route.instance.name.clone()),
            model: self.route.as_ref().map(|route| route.model.clone()).or_else(requested),
            stream: self.stream,
            input_tokens: usage.input,
            output_tokens: usage.output,
            cached_tokens: usage.cached,
            audio_seconds: usage.audio_seconds,
            estimated: usage.estimated,
            attempts: self.progress.attempts.load(Ordering::Relaxed),
            duration: total,
            first_byte: self.first_byte,
            upstream: waited,
            gateway: self.own.unwrap_or_else(|| total.saturating_sub(waited)),
            auth: self.auth,
            user_path: self.user_path.clone(),
            client: self.client,
            error: fault.map(|fault| fault.message.clone()),
            error_code: fault.and_then(|fault| fault.code.clone()),
            upstream_status: fault.and_then(|fault| fault.upstream_status),
        });
    }
}

impl Tap for Trail {
    fn depth(&self) -> Depth {
        Depth::Marks
    }

    fn see(&mut self, frame: &Frame) {
        if self.first_byte.is_none() {
            self.first_byte = Some(self.arrived.elapsed());
        }
        self.events += u64::from(frame.marks.events);
        self.bytes += frame.raw.len() as u64;
        if frame.marks.usage.is_some() {
            self.usage = frame.marks.usage;
            self.reported_at = self.events;
        }
    }

    fn end(mut self, end: &End) {
        self.close(end);
    }
}

impl Drop for Trail {
    /// Nobody closed it: the client left before there was a reply, or a panic ended the call.
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        if std::thread::panicking() {
            let fault = Fault::new(domain::FaultKind::Internal, "an unexpected error occurred");
            self.status = 500;
            self.close(&End::Failed(fault));
        } else {
            self.status = if self.status == 0 { 499 } else { self.status };
            self.close(&End::ClientGone);
        }
    }
}
