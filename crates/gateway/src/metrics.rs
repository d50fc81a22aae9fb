//! What is counted, in Prometheus' terms. GoModel's names, and ours beside them.
//!
//! Labels are bounded: instances and models come from the inventory, endpoints are route templates.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicI64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domain::{FaultKind, Usage};
use parking_lot::{Mutex, RwLock};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::Gateway;
use crate::call::upload::Spooled;
use crate::reply::End;
use crate::routing::Route;

/// Names that are shared rather than copied for every call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name<T>(T);

impl<T: std::fmt::Display> EncodeLabelValue for Name<T> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        use std::fmt::Write;
        write!(encoder, "{}", self.0)
    }
}

/// A status, or that there was none: nobody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Answered(Option<u16>);

impl std::fmt::Display for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(status) => write!(f, "{status}"),
            None => f.write_str("network_error"),
        }
    }
}

type Text = Name<&'static str>;
type Provider = Name<domain::ProviderName>;
type Model = Name<domain::ModelName>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    provider: Text,
    provider_name: Provider,
    model: Model,
    endpoint: Text,
    status_code: Name<Answered>,
    status_type: Text,
    stream: Text,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    provider: Text,
    provider_name: Provider,
    model: Model,
    endpoint: Text,
    stream: Text,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    provider_name: Provider,
    model: Model,
    kind: Text,
    estimated: Text,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    endpoint: Text,
    outcome: Text,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlightLabels {
    provider: Text,
    provider_name: Provider,
    endpoint: Text,
    stream: Text,
}

/// A call under way, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Series>);

impl InFlight {
    /// It is under way no longer; what it came to is counted here.
    fn over(self) -> Arc<Series> {
        self.0.clone()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: Text,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeploymentLabels {
    provider_name: Provider,
    model: Model,
}

/// What decides in which series calls are counted.
#[derive(Debug, PartialEq, Eq)]
struct Kind(DurationLabels);

impl Hash for Kind {
    /// The model alone: it is nearly always another one, and the rest is long.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.model.hash(state);
    }
}

/// The series of calls of one kind, each made once there is something to count: so the next call of its kind looks for
/// none, and no labels are hashed for each family.
#[derive(Debug)]
struct Series {
    labels: DurationLabels,
    in_flight: Gauge<i64, AtomicI64>,
    times: OnceLock<Times>,
    ends: Mutex<Vec<(Ending, Ended)>>,
    tokens: [OnceLock<Counter>; TOKENS.len()],
    estimated: [OnceLock<Counter>; TOKENS.len()],
}

#[derive(Debug)]
struct Times {
    duration: Histogram,
    first_byte: Histogram,
}

/// How a call ended, as far as it decides where it is counted. There are a few of these for each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    word: &'static str,
    status_code: Answered,
    failed: bool,
}

/// Where calls are counted that ended in one way.
#[derive(Clone, Debug)]
struct Ended {
    calls: Counter,
    requests: Counter,
}

/// Kinds of tokens.
const TOKENS: [&str; 4] = ["input", "output", "cached", "reasoning"];

/// Everything that is counted.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram, fn() -> Histogram>,
    first_bytes: Family<DurationLabels, Histogram, fn() -> Histogram>,
    tokens: Family<TokenLabels, Counter>,
    calls: Family<EndpointLabels, Counter>,
    retries: Family<DeploymentLabels, Counter>,
    overhead: Histogram,
    in_flight: Family<FlightLabels, Gauge<i64, AtomicI64>>,
    open: Gauge<i64, AtomicI64>,
    audio: Family<DeploymentLabels, Counter>,
    /// The series of calls that went before. Bounded as labels are.
    known: RwLock<HashMap<Kind, Arc<Series>>>,
    reloads: Family<ReloadLabels, Counter>,
    last_reload_successful: Gauge<i64, AtomicI64>,
    last_reload_success: Gauge<i64, AtomicI64>,
    /// Request bytes held in memory.
    pub(crate) request_memory: Arc<AtomicUsize>,
    /// Uploads that lie on disk.
    pub(crate) spooled: Spooled,
}

/// Long calls are ordinary here: up to ten minutes.
const SECONDS: [f64; 14] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0];

/// The gateway's own share: tens of microseconds, if all is well.
const OVERHEAD: [f64; 11] = [2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 0.5];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// How one call ended, for counting.
pub struct Outcome<'a> {
    /// The route's template.
    pub template: &'static str,
    /// The client's status.
    pub status: u16,
    /// How it ended.
    pub end: &'a End,
    /// What was used.
    pub usage: Option<Usage>,
    /// From the head of the request to the end of the reply.
    pub total: Duration,
    /// From the head of the request to the first piece of the reply.
    pub first_byte: Option<Duration>,
    /// The gateway's own share of the time to the first piece.
    pub own: Duration,
    /// Requests sent upstream.
    pub attempts: u32,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::default();
        let metrics = Metrics {
            registry: Mutex::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            first_bytes: Family::new_with_constructor(seconds),
            tokens: Family::default(),
            calls: Family::default(),
            retries: Family::default(),
            overhead: Histogram::new(OVERHEAD),
            in_flight: Family::default(),
            open: Gauge::default(),
            audio: Family::default(),
            known: RwLock::default(),
            reloads: Family::default(),
            last_reload_successful: Gauge::default(),
            last_reload_success: Gauge::default(),
            request_memory: Arc::default(),
            spooled: Spooled::default(),
        };
        registry.register("gomodel_requests", "Calls that reached an upstream", metrics.requests.clone());
        registry.register_with_unit(
            "gomodel_request_duration",
            "From the head of a request to the end of its reply",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register(
            "gomodel_requests_in_flight",
            "Calls under way to an upstream",
            metrics.in_flight.clone(),
        );
        registry.register("ferrovia_requests_open", "Requests being answered", metrics.open.clone());
        registry.register_with_unit(
            "ferrovia_time_to_first_byte",
            "From the head of a request to the first piece of its reply",
            Unit::Seconds,
            metrics.first_bytes.clone(),
        );
        registry.register("ferrovia_tokens", "Tokens, as reported or estimated", metrics.tokens.clone());
        registry.register_with_unit(
            "ferrovia_audio",
            "Seconds of audio heard, as reported",
            Unit::Seconds,
            metrics.audio.clone(),
        );
        registry.register(
            "ferrovia_calls",
            "All requests by route and how they ended",
            metrics.calls.clone(),
        );
        registry.register("ferrovia_upstream_retries", "Requests sent again", metrics.retries.clone());
        registry.register_with_unit(
            "ferrovia_overhead",
            "The gateway's own share of the time to the first piece of a reply",
            Unit::Seconds,
            metrics.overhead.clone(),
        );
        registry.register(
            "ferrovia_config_reloads",
            "Times that the configuration was read again",
            metrics.reloads.clone(),
        );
        registry.register(
            "ferrovia_config_last_reload_successful",
            "Whether the configuration was taken when it was last read",
            metrics.last_reload_successful.clone(),
        );
        registry.register_with_unit(
            "ferrovia_config_last_reload_success_timestamp",
            "When the configuration in force was read, in Unix time",
            Unit::Seconds,
            metrics.last_reload_success.clone(),
        );
        metrics.last_reload_successful.set(1);
        metrics.last_reload_success.set(jiff::Timestamp::now().as_second());
        for result in ["success", "failure"] {
            drop(metrics.reloads.get_or_create(&ReloadLabels { result: Name(result) }));
        }
        *metrics.registry.lock() = registry;
        metrics
    }
}

fn yes(value: bool) -> Text {
    Name(if value { "true" } else { "false" })
}

impl Metrics {
    /// The configuration was read again, and taken or refused.
    pub fn reloaded(&self, taken: bool) {
        let result = Name(if taken { "success" } else { "failure" });
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
        self.last_reload_successful.set(i64::from(taken));
        if taken {
            self.last_reload_success.set(jiff::Timestamp::now().as_second());
        }
    }

    pub(crate) fn began(&self) {
        self.open.inc();
    }

    /// A call sets out; what is given back ends the counting.
    pub(crate) fn set_out(&self, route: &Route, template: &'static str, stream: bool) -> InFlight {
        let series = self.series(Kind(DurationLabels {
            provider: Name(route.instance.spec.name),
            provider_name: Name(route.instance.name.clone()),
            model: Name(route.model.clone()),
            endpoint: Name(template),
            stream: yes(stream),
        }));
        series.in_flight.inc();
        InFlight(series)
    }

    /// The series of a kind of calls.
    fn series(&self, kind: Kind) -> Arc<Series> {
        if let Some(series) = self.known.read().get(&kind) {
            return series.clone();
        }
        let flights = FlightLabels {
            provider: kind.0.provider.clone(),
            provider_name: kind.0.provider_name.clone(),
            endpoint: kind.0.endpoint.clone(),
            stream: kind.0.stream.clone(),
        };
        let series = Series {
            labels: kind.0.clone(),
            in_flight: self.in_flight.get_or_create_owned(&flights),
            times: OnceLock::new(),
            ends: Mutex::default(),
            tokens: Default::default(),
            estimated: Default::default(),
        };
        // who came at the same time may have been first
        self.known.write().entry(kind).or_insert_with(|| Arc::new(series)).clone()
    }

    /// Where calls that end in this way are counted.
    fn ended_in(&self, series: &Series, ending: Ending) -> Ended {
        let mut ends = series.ends.lock();
        if let Some((_, ended)) = ends.iter().find(|(known, _)| *known == ending) {
            return ended.clone();
        }
        let DurationLabels { provider, provider_name, model, endpoint, stream } = series.labels.clone();
        let calls = EndpointLabels { endpoint: endpoint.clone(), outcome: Name(ending.word) };
        let requests = RequestLabels {
            provider,
            provider_name,
            model,
            endpoint,
            status_code: Name(ending.status_code),
            status_type: Name(if ending.failed { "error" } else { "success" }),
            stream,
        };
        let ended = Ended {
            calls: self.calls.get_or_create_owned(&calls),
            requests: self.requests.get_or_create_owned(&requests),
        };
        ends.push((ending, ended.clone()));
        ended
    }

    /// A call is over.
    pub(crate) fn ended(&self, outcome: &Outcome<'_>, in_flight: Option<InFlight>) {
        self.open.dec();
        let word = outcome.end.word();
        let Some(series) = in_flight.map(InFlight::over).filter(|_| outcome.attempts > 0) else {
            let labels = EndpointLabels { endpoint: Name(outcome.template), outcome: Name(word) };
            self.calls.get_or_create(&labels).inc();
            return;
        };
        let DurationLabels { provider_name, model, .. } = &series.labels;
        let failed = matches!(outcome.end, End::Failed(_));
        let answered = !matches!(outcome.end, End::Failed(fault) if fault.upstream_status.is_none()
            && matches!(fault.kind, FaultKind::Unreachable | FaultKind::TimedOut));
        let status_code = Answered(answered.then_some(outcome.status));
        let ending = Ending { word, status_code, failed: failed || outcome.status >= 400 };
        let ended = self.ended_in(&series, ending);
        ended.calls.inc();
        ended.requests.inc();
        let times = series.times.get_or_init(|| Times {
            duration: self.durations.get_or_create_owned(&series.labels),
            first_byte: self.first_bytes.get_or_create_owned(&series.labels),
        });
        times.duration.observe(outcome.total.as_secs_f64());
        if let Some(first) = outcome.first_byte {
            times.first_byte.observe(first.as_secs_f64());
            self.overhead.observe(outcome.own.as_secs_f64());
        }
        if outcome.attempts > 1 {
            let labels = DeploymentLabels { provider_name: provider_name.clone(), model: model.clone() };
            self.retries.get_or_create(&labels).inc_by(u64::from(outcome.attempts - 1));
        }
        if let Some(usage) = outcome.usage {
            if usage.audio_seconds > 0 {
                let labels = DeploymentLabels { provider_name: provider_name.clone(), model: model.clone() };
                self.audio.get_or_create(&labels).inc_by(usage.audio_seconds);
            }
            let tokens = if usage.estimated { &series.estimated } else { &series.tokens };
            let counts = [usage.input, usage.output, usage.cached, usage.reasoning];
            for ((kind, counter), count) in TOKENS.into_iter().zip(tokens).zip(counts) {
                if count > 0 {
                    let of_kind = || {
                        let labels = TokenLabels {
                            provider_name: provider_name.clone(),
                            model: model.clone(),
                            kind: Name(kind),
                            estimated: yes(usage.estimated),
                        };
                        self.tokens.get_or_create_owned(&labels)
                    };
                    // a series exists once there is something to count
                    counter.get_or_init(of_kind).inc_by(count);
                }
            }
        }
    }

    /// The page that Prometheus reads, in its own text format (0.0.4).
    pub fn page(&self, gateway: &Gateway) -> String {
        plain(&self.openmetrics(gateway))
    }

    /// The page in OpenMetrics 1.0, for who asks for it.
    pub fn openmetrics(&self, gateway: &Gateway) -> String {
        let mut page = String::new();
        let mut live = Registry::default();
        live.register_collector(Box::new(Live(Snapshot::of(gateway))));
        let written = prometheus_client::encoding::text::encode_registry(&mut page, &self.registry.lock())
            .and_then(|()| prometheus_client::encoding::text::encode_registry(&mut page, &live))
            .and_then(|()| prometheus_client::encoding::text::encode_eof(&mut page));
        if written.is_err() {
            tracing::error!("the metrics page could not be written");
        }
        page
    }
}

/// OpenMetrics in the words of Prometheus' older format: a counter is described under the name of its samples, and units
/// and the end are not told.
fn plain(openmetrics: &str) -> String {
    let mut page = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("# UNIT") || line == "# EOF" {
            continue;
        }
        let described = |line: &str, word| {
            line.strip_prefix(word)
                .and_then(|rest| rest.split_once(' '))
                .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        };
        let counts = |line: &str| line.starts_with("# TYPE ") && line.ends_with(" counter");
        match (described(line, "# HELP "), described(line, "# TYPE ")) {
            (Some((name, text)), _) if lines.peek().is_some_and(|next| counts(next)) => {
                page.push_str(&format!("# HELP {name}_total {text}"));
            }
            (_, Some((name, kind))) if kind == "counter" => {
                page.push_str(&format!("# TYPE {name}_total {kind}"))
            }
            _ => page.push_str(line),
        }
        page.push('\n');
    }
    page
}

/// What is not counted but looked up when somebody asks.
#[derive(Debug)]
struct Snapshot {
    providers: Vec<(String, i64, i64)>,
    in_flight: Vec<(String, i64)>,
    limits: Vec<(String, i64)>,
    breakers: Vec<(String, i64)>,
    idle_connections: i64,
    request_memory: i64,
    spooled: i64,
}

impl Snapshot {
    fn of(gateway: &Gateway) -> Snapshot {
        let providers = gateway.inventory.instances().iter().map(|instance| {
            let state = instance.state();
            let fresh = state.has_answered() && state.stale_since.is_none();
            (instance.name.to_string(), i64::from(fresh), state.models.len() as i64)
        });
        let instances = || gateway.inventory.instances().iter();
        let figure = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Snapshot {
            providers: providers.collect(),
            in_flight: instances()
                .map(|instance| (instance.name.to_string(), figure(instance.slots.taken())))
                .collect(),
            limits: instances()
                .filter_map(|instance| Some((instance.name.to_string(), figure(instance.slots.limit()?))))
                .collect(),
            breakers: gateway
                .inventory
                .instances()
                .iter()
                .flat_map(|instance| {
                    let named = move |key: String| match key.is_empty() {
                        true => instance.name.to_string(),
                        false => format!("{}/{key}", instance.name),
                    };
                    let states = instance.breakers.states().into_iter();
                    states.map(move |(key, state)| {
                        (named(key), i64::from(state != upstream::BreakerState::Closed))
                    })
                })
                .collect(),
            idle_connections: gateway.pool.idle_connections() as i64,
            request_memory: gateway.metrics.request_memory.load(std::sync::atomic::Ordering::Relaxed) as i64,
            spooled: i64::try_from(gateway.metrics.spooled.bytes()).unwrap_or(i64::MAX),
        }
    }
}

#[derive(Debug)]
struct Live(Snapshot);

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Snapshot { providers, in_flight, limits, breakers, idle_connections, request_memory, spooled } =
            &self.0;
        let mut gauge =
            |name: &str, help: &str, rows: &mut dyn Iterator<Item = (Vec<(&str, String)>, i64)>| {
                let mut family =
                    encoder.encode_descriptor(name, help, None, ConstGauge::new(0i64).metric_type())?;
                for (labels, value) in rows {
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
                Ok::<(), std::fmt::Error>(())
            };
        let named = |name: &String| vec![("provider_name", name.clone())];
        gauge(
            "ferrovia_provider_up",
            "Whether the provider's model list could be read the last time",
            &mut providers.iter().map(|(name, up, _)| (named(name), *up)),
        )?;
        gauge(
            "ferrovia_provider_models",
            "Models known of the provider",
            &mut providers.iter().map(|(name, _, models)| (named(name), *models)),
        )?;
        gauge(
            "ferrovia_provider_in_flight",
            "Calls that the provider has now",
            &mut in_flight.iter().map(|(name, count)| (named(name), *count)),
        )?;
        gauge(
            "ferrovia_provider_max_in_flight",
            "Calls that the provider may have at one time, if that is limited",
            &mut limits.iter().map(|(name, limit)| (named(name), *limit)),
        )?;
        gauge(
            "ferrovia_breaker_open",
            "Whether a deployment is not asked for now",
            &mut breakers.iter().map(|(key, open)| (vec![("deployment", key.clone())], *open)),
        )?;
        gauge(
            "ferrovia_idle_connections",
            "Connections to upstreams waiting for their next use",
            &mut std::iter::once((Vec::new(), *idle_connections)),
        )?;
        gauge(
            "ferrovia_request_memory_bytes",
            "Bytes of request bodies held in memory",
            &mut std::iter::once((Vec::new(), *request_memory)),
        )?;
        gauge(
            "ferrovia_upload_spool_bytes",
            "Bytes of uploads that wait on disk",
            &mut std::iter::once((Vec::new(), *spooled)),
        )?;
        let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        gauge("ferrovia_build_info", "Which version this is", &mut std::iter::once((build, 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_describes_counters_under_the_name_of_their_samples() {
        let openmetrics = "# HELP a Things.\n# TYPE a counter\na_total{x=\"1\"} 2\n# HELP b Time.\n# TYPE b histogram\n# UNIT b seconds\nb_sum 1.0\n# EOF\n";
        let expect = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n# HELP b Time.\n# TYPE b histogram\nb_sum 1.0\n";
        assert_eq!(plain(openmetrics), expect);
    }
}
