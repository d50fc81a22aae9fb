//! One configured provider instance: where it is, how it is called, what is known of it right now.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use dialect::edit::json_string;
use dialect::listing::Listed;
use domain::{Blame, Dialect, Fault, FaultKind, ModelName, Operation, ProviderName, Secret};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use parking_lot::Mutex;
use provider::{Abilities, Base, Spec};
use tokio::time::Instant;
use upstream::{Backoff, BreakerSettings, Breakers, Fields, Limits, Target};

use crate::headers;
use crate::inventory::filter::Filter;
use crate::slots::Slots;

/// A configured provider instance.
pub struct Instance {
    /// Its name, which is the public prefix of its models.
    pub name: ProviderName,
    /// What kind of provider it is.
    pub spec: &'static Spec,
    /// Where its routes are.
    pub base: Base,
    /// Where to connect.
    pub target: Arc<Target>,
    /// How long to wait for what.
    pub limits: Limits,
    /// The longest silence between two pieces of a reply.
    pub idle: Duration,
    /// What to try again, and when.
    pub retry: RetryPolicy,
    /// Which of its models are not asked for now.
    pub breakers: Breakers,
    /// Whether models fail apart or together.
    pub breaker_scope: BreakerScope,
    /// Statuses that count as its failures.
    pub failure_statuses: Vec<StatusMatch>,
    /// An answer that takes longer to begin counts as a failure.
    pub slow_call: Option<Duration>,
    /// The bound on calls that do not stream, from start to end.
    pub total: Option<Duration>,
    /// Headers that the operator adds to every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How many calls it may have at one time.
    pub slots: Slots,
    /// Models that the operator lists.
    pub configured: Vec<Configured>,
    /// What the operator's list means.
    pub mode: ListMode,
    /// Which of the upstream's models are shown.
    pub filter: Filter,
    /// The name of its kind, as JSON.
    pub(crate) kind: Bytes,
    /// The header in which it takes a request's id, unless the operator sets it.
    pub(crate) request_id_header: Option<HeaderName>,
    authorizations: Vec<HeaderValue>,
    /// What the head of a call begins with, for each key.
    heads: Vec<Fields>,
    next_key: AtomicUsize,
    state: ArcSwap<State>,
    learned: Mutex<HashMap<(Operation, Dialect, ModelName), Learned>>,
    /// Whether it was asked for its models since it was made.
    pub(crate) asked: AtomicBool,
    /// When it was last asked because a client named a model that it does not have.
    pub(crate) asked_for_news: tokio::sync::Mutex<Option<Instant>>,
}

/// What [`Instance::new`] needs to know.
pub struct Making {
    /// Its name.
    pub name: ProviderName,
    /// What kind of provider it is.
    pub spec: &'static Spec,
    /// Where its routes are.
    pub base: Base,
    /// Where to connect.
    pub target: Target,
    /// Its keys; several are used in turn.
    pub keys: Vec<Secret>,
    /// How long to wait for what.
    pub limits: Limits,
    /// The longest silence between two pieces of a reply.
    pub idle: Duration,
    /// What to try again, and when.
    pub retry: RetryPolicy,
    /// When to stop asking.
    pub breaker: BreakerSettings,
    /// Whether models fail apart or together.
    pub breaker_scope: BreakerScope,
    /// Statuses that count as its failures.
    pub failure_statuses: Vec<StatusMatch>,
    /// An answer that takes longer to begin counts as a failure.
    pub slow_call: Option<Duration>,
    /// The bound on calls that do not stream, from start to end.
    pub total: Option<Duration>,
    /// Headers that the operator adds to every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How many calls it may have at one time. `None`: as many as come.
    pub max_in_flight: Option<usize>,
    /// Models that the operator lists.
    pub configured: Vec<Configured>,
    /// What the operator's list means.
    pub mode: ListMode,
    /// Which of the upstream's models are shown.
    pub filter: Filter,
}

/// Whether an instance's models fail apart or together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerScope {
    /// One breaker for each model.
    Model,
    /// One breaker for the instance.
    Provider,
}

/// A model that the operator lists for an instance.
#[derive(Clone, Debug)]
pub struct Configured {
    /// Its id, as the upstream spells it.
    pub id: String,
    /// What the operator says of it; wins over what the upstream says.
    pub metadata: Option<serde_json::Value>,
}

/// What an operator's list of models means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListMode {
    /// Used where the upstream's list fails or is empty.
    Fallback,
    /// The only models there are; the upstream is not asked.
    Allowlist,
    /// In addition to the upstream's.
    Merge,
}

/// What to try again at the same deployment, and when.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub retries: u32,
    /// Statuses that are tried again.
    pub statuses: Vec<StatusMatch>,
    /// How long to wait before each.
    pub backoff: Backoff,
}

/// A status, or a class of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusMatch {
    /// Exactly this one.
    Exact(u16),
    /// All that begin with this digit.
    Class(u16),
}

impl StatusMatch {
    fn covers(self, status: u16) -> bool {
        match self {
            StatusMatch::Exact(exact) => exact == status,
            StatusMatch::Class(class) => class == status / 100,
        }
    }
}

impl RetryPolicy {
    /// Whether this status is tried again.
    pub fn covers(&self, status: u16) -> bool {
        self.statuses.iter().any(|m| m.covers(status))
    }
}

/// A model that an instance has.
#[derive(Clone, Debug)]
pub struct Offered {
    /// What its list says of it.
    pub listed: Listed,
    /// Its name, as it stands in the body of a call.
    pub json: Bytes,
}

impl From<Listed> for Offered {
    fn from(listed: Listed) -> Offered {
        Offered { json: json_string(&listed.id), listed }
    }
}

/// Models by their names.
pub type Models = HashMap<ModelName, Arc<Offered>>;

/// The models of a list, by their names.
pub fn models(list: impl IntoIterator<Item = Listed>) -> Models {
    list.into_iter().map(|listed| (ModelName::from(listed.id.as_str()), Arc::new(listed.into()))).collect()
}

/// What is known of an instance right now.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Its models.
    pub models: Models,
    /// What the probe found.
    pub abilities: Abilities,
    /// When its list was last read.
    pub heard: Option<Timestamp>,
    /// Since when its list cannot be read, if it cannot.
    pub stale_since: Option<Timestamp>,
    /// Why its list could not be read the last time.
    pub error: Option<String>,
}

impl State {
    /// Whether there is an inventory, even an old one.
    pub fn has_answered(&self) -> bool {
        self.heard.is_some()
    }
}

/// What calls taught about an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learned {
    /// This path worked.
    Path(Arc<str>),
    /// No path worked, as of then.
    Unsupported(Instant),
}

/// For so long a route that was missing is not asked for again: a proxy in front of an engine that restarts answers 404
/// as well.
const MISSING_FOR: Duration = Duration::from_secs(300);

/// More than this many lessons are not kept.
const LESSONS: usize = 4096;

impl Instance {
    /// An instance of which nothing is known yet.
    pub fn new(making: Making) -> Instance {
        let bearer = |key: &Secret| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.reveal())).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        let authorizations: Vec<_> = making.keys.iter().filter_map(bearer).collect();
        let set_by_operator = |name: &HeaderName| making.headers.iter().any(|(set, _)| set == name);
        let request_id_header = making.spec.request_id_header.map(HeaderName::from_static);
        Instance {
            heads: headers::of_every_call(making.spec.auth, &authorizations, &making.headers),
            authorizations,
            kind: json_string(making.spec.name),
            request_id_header: request_id_header.filter(|name| !set_by_operator(name)),
            name: making.name,
            spec: making.spec,
            base: making.base,
            target: Arc::new(making.target),
            limits: making.limits,
            idle: making.idle,
            retry: making.retry,
            breakers: Breakers::new(making.breaker),
            breaker_scope: making.breaker_scope,
            failure_statuses: making.failure_statuses,
            slow_call: making.slow_call,
            total: making.total,
            headers: making.headers,
            slots: Slots::new(making.max_in_flight),
            configured: making.configured,
            mode: making.mode,
            filter: making.filter,
            next_key: AtomicUsize::new(0),
            state: ArcSwap::default(),
            learned: Mutex::default(),
            asked: AtomicBool::new(false),
            asked_for_news: tokio::sync::Mutex::default(),
        }
    }

    /// Takes over what is known of the instance that had this name before, as far as it holds for this one: connections
    /// and models of the same address, breakers that open by the same rules. It is to be asked all the same.
    pub fn take_over(&mut self, before: &Instance) {
        if self.spec.name != before.spec.name || self.base != before.base {
            return;
        }
        self.target = before.target.clone();
        self.slots.follow(&before.slots);
        if self.breakers.settings() == before.breakers.settings()
            && self.breaker_scope == before.breaker_scope
        {
            self.breakers = before.breakers.clone();
        }
        let mut state = (*before.state()).clone();
        let only = self.mode == ListMode::Allowlist && !self.configured.is_empty();
        state.models.retain(|id, _| {
            self.filter.shows(id.as_str()) && (!only || self.configured.iter().any(|c| c.id == id.as_str()))
        });
        self.state.store(Arc::new(state));
        *self.learned.get_mut() = before.learned.lock().clone();
    }

    /// The credential for the next request: several keys take turns.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorizations.get(self.turn())
    }

    /// What the head of the next call has in common with all others.
    pub(crate) fn fixed_fields(&self) -> Fields {
        self.heads[self.turn()].clone()
    }

    fn turn(&self) -> usize {
        match self.authorizations.len() {
            0 | 1 => 0,
            several => self.next_key.fetch_add(1, Ordering::Relaxed) % several,
        }
    }

    /// What is known right now.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Whether it has this model, and under which shared name.
    ///
    /// Where names have a tag that may be left out, the name is found without it.
    pub fn model(&self, id: &str) -> Option<(ModelName, Bytes)> {
        let state = self.state.load();
        let known = |id: &str| {
            let (name, offered) = state.models.get_key_value(id)?;
            Some((name.clone(), offered.json.clone()))
        };
        known(id).or_else(|| {
            let tag = self.spec.default_tag?;
            let untagged = !id.rsplit('/').next().unwrap_or(id).contains(':');
            untagged.then(|| known(&format!("{id}:{tag}"))).flatten()
        })
    }

    /// Replaces what is known.
    pub fn update(&self, state: State) {
        self.state.store(Arc::new(state));
    }

    /// Whether the breaker counts this as a failure: what the upstream broke, and of its refusals those that the operator
    /// lists.
    pub fn fails_by(&self, fault: &Fault) -> bool {
        match fault.kind {
            // it is well, and says when it will be ready
            FaultKind::Refused(503) if self.state().abilities.loading => false,
            FaultKind::Refused(status) => self.failure_statuses.iter().any(|m| m.covers(status)),
            _ => fault.blame == Blame::Upstream,
        }
    }

    /// The key of the breaker that guards this model.
    pub fn breaker_key<'a>(&self, model: &'a ModelName) -> &'a str {
        match self.breaker_scope {
            BreakerScope::Model => model.as_str(),
            BreakerScope::Provider => "",
        }
    }

    /// What calls taught about an operation on a model.
    pub fn learned(&self, operation: Operation, dialect: Dialect, model: &ModelName) -> Option<Learned> {
        let lesson = self.learned.lock().get(&(operation, dialect, model.clone())).cloned();
        lesson.filter(|lesson| !matches!(lesson, Learned::Unsupported(at) if at.elapsed() > MISSING_FOR))
    }

    /// Remembers what a call taught.
    pub fn learn(&self, operation: Operation, dialect: Dialect, model: &ModelName, lesson: Learned) {
        let mut learned = self.learned.lock();
        if learned.len() < LESSONS {
            learned.insert((operation, dialect, model.clone()), lesson);
        }
    }

    /// Forgets what was found missing: a restarted engine may have it.
    pub fn forget_what_is_missing(&self) {
        self.learned.lock().retain(|_, lesson| !matches!(lesson, Learned::Unsupported(_)));
    }
}
