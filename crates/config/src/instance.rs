//! Provider instances that can be used: type known, address and key at hand, limits worked out.

use std::time::Duration;

use domain::Secret;
use serde_json::json;

use crate::draft::{Draft, provider_path};
use crate::provider::{ConfiguredModel, ModelFilter, Provider};
use crate::report::{Origin, nearest};
use crate::resilience::{Breaker, Retry};
use crate::server::is_token;
use crate::setting::catalog;
use crate::{Config, ProviderType};

/// A provider that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its name, the public prefix of its models.
    pub name: String,
    /// The name of its type.
    pub kind: String,
    /// Address of its API, as configured or the type's usual one.
    pub base_url: String,
    /// Its keys, the first one first, none twice. Empty where a keyless type has none.
    pub api_keys: Vec<Secret>,
    /// Whether a session stays on one key.
    pub session_sticky_keys: bool,
    /// Models that the operator says are there.
    pub models: Vec<ConfiguredModel>,
    /// Which of its models exist here.
    pub filter: ModelFilter,
    /// How many calls it may have at one time. `None`: no limit.
    pub max_in_flight: Option<u32>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// Trying again.
    pub retry: Retry,
    /// Leaving it alone.
    pub breaker: Breaker,
    /// Which of its APIs to use, where it has several.
    pub api_mode: Option<String>,
    /// Headers to add to every request.
    pub headers: Vec<(String, Secret)>,
}

/// How long an upstream may take. `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included. Never zero.
    pub connect: Duration,
    /// For the first byte of an answer.
    pub first_byte: Option<Duration>,
    /// Between two pieces of an answer.
    pub idle: Option<Duration>,
    /// For a whole call that does not stream.
    pub total: Option<Duration>,
}

impl Draft<'_> {
    /// Reports that an instance is of a type that is not built.
    pub(crate) fn leave_out(&mut self, instance: &str, kind: &ProviderType, origin: &Origin) {
        if self.left_out.insert(instance.to_owned()) {
            let problem = format!(
                "providers of type {} are known, but not built in this version; `{instance}` is left out",
                kind.name
            );
            self.warn(
                origin,
                &format!("providers.{instance}"),
                problem,
                "nothing needs to be done; remove it to be rid of this warning",
            );
        }
    }

    /// Gives every instance a type, and what all providers have in common.
    pub(crate) fn complete_instances(&mut self) {
        let common: Vec<_> = self
            .leaves
            .iter()
            .filter(|(p, _)| p[0] == "resilience")
            .map(|(p, l)| (p.clone(), l.clone()))
            .collect();
        for (name, origin) in self.instances.clone() {
            let path = provider_path(&name, "type");
            match self.kind_of(&name) {
                Some(kind) => {
                    let setting = catalog().find(&path).expect("providers have a type");
                    let origin = self.leaves.get(&path).map_or(Origin::Default, |l| l.origin.clone());
                    self.set(path, setting, json!(kind.name), origin);
                }
                None => self.no_type(&name, &origin),
            }
            for (path, leaf) in &common {
                let own = provider_path(&name, &path.join("."));
                self.leaves
                    .entry(own)
                    .or_insert_with(|| crate::draft::Leaf { inherited: true, ..leaf.clone() });
            }
        }
    }

    fn no_type(&mut self, name: &str, origin: &Origin) {
        let setting = format!("providers.{name}.type");
        let types: Vec<&str> = self.types.iter().filter(|t| t.built).map(|t| t.name).collect();
        let fix = format!("write one of {}", types.join(", "));
        match self.leaves.get(&provider_path(name, "type")) {
            Some(leaf) => {
                let (origin, word) =
                    (leaf.origin.clone(), leaf.value.as_str().unwrap_or_default().to_owned());
                let nearest = nearest(&word, self.types.iter().map(|t| t.name));
                self.error(&origin, &setting, format!("there is no provider type `{word}`"), fix).nearest =
                    nearest;
            }
            None => {
                let nearest = nearest(name, self.types.iter().map(|t| t.name));
                let problem = "the provider has no type, and its name is not that of one";
                self.error(origin, &setting, problem, fix).nearest = nearest;
            }
        }
        // what else is wrong with it is told in the same report
        let address = self.leaves.get(&provider_path(name, "base_url")).and_then(|leaf| leaf.value.as_str());
        if let Some(address) = address.map(str::to_owned) {
            check_url(self, &format!("providers.{name}.base_url"), &address);
        }
    }
}

/// The instances that can be used. What cannot is reported and left out.
pub(crate) fn instances(draft: &mut Draft<'_>, config: &Config) -> Vec<Instance> {
    let usable = config.providers.iter().filter_map(|(name, provider)| {
        let kind = draft.kind_of(name)?;
        instance(draft, config, name, provider, kind)
    });
    usable.collect()
}

fn instance(
    draft: &mut Draft<'_>,
    config: &Config,
    name: &str,
    provider: &Provider,
    kind: &ProviderType,
) -> Option<Instance> {
    let path = |field: &str| format!("providers.{name}.{field}");
    let place = draft.instances.get(name).cloned().unwrap_or(Origin::Default);
    let mut gap = |field: &'static str| draft.unresolved.remove(&(name.to_owned(), field));
    let (no_url, no_key) = (gap("base_url"), gap("api_key"));
    let lost = no_url.map(|g| (g, "base_url")).or(no_key.map(|g| (g, "api_key")));
    if let Some(((variable, origin), field)) = lost {
        let only_the_key = field == "api_key" && kind.keyless;
        let consequence = if only_the_key {
            format!("`{name}` is used without a key")
        } else {
            format!("`{name}` is left out")
        };
        let problem = format!("${{{variable}}} is not set; {consequence}");
        draft.warn(
            &origin,
            &path(field),
            problem,
            format!("set {variable}, or write ${{{variable}:-default}}"),
        );
        if !only_the_key {
            return None;
        }
    }

    let mut api_keys: Vec<Secret> = Vec::new();
    for key in std::iter::once(&provider.api_key).chain(&provider.api_keys) {
        if !key.is_empty() && !api_keys.contains(key) {
            api_keys.push(key.clone());
        }
    }
    if api_keys.iter().any(|k| !is_header_value(k.reveal())) {
        draft.error_at(
            &path("api_key"),
            "the key holds a character that cannot be sent in a header",
            "look for line breaks and blanks around the key",
        );
    }
    if api_keys.is_empty() && !kind.keyless {
        let problem = format!("providers of type {} need a key; `{name}` is left out", kind.name);
        draft.warn(&place, &path("api_key"), problem, "set `api_key`, or its variable");
        return None;
    }

    let base_url = base_url(draft, name, provider, kind);
    if base_url.is_empty() {
        let problem = format!("providers of type {} need an address; `{name}` is left out", kind.name);
        draft.warn(&place, &path("base_url"), problem, "set `base_url`, or its variable");
        return None;
    }
    check_url(draft, &path("base_url"), &base_url);
    if !provider.proxy_url.is_empty() && !is_proxy(provider.proxy_url.reveal()) {
        draft.error_at(
            &path("proxy_url"),
            "the value is not the address of a proxy",
            "write http, https, socks5 or socks5h, then ://host:port",
        );
    }
    check_headers(draft, name, provider);
    if is_proxy(provider.proxy_url.reveal()) {
        let problem = format!(
            "outbound proxies are known, but not built in this version; `{name}` would be reached directly, so it is left out"
        );
        draft.warn(&place, &path("proxy_url"), problem, "remove `proxy_url` if it may be reached directly");
        return None;
    }
    if !provider.api_mode.is_empty() {
        let problem = "known, but not built in this version; it is ignored".to_owned();
        draft.warn(&place, &path("api_mode"), problem, "remove it to be rid of this warning");
    }

    let mut resilience = provider.resilience.clone();
    resilience.settle(&path("resilience"), draft);
    Some(Instance {
        name: name.to_owned(),
        kind: kind.name.to_owned(),
        base_url,
        api_keys,
        session_sticky_keys: provider.session_sticky_keys,
        models: distinct(&provider.models),
        filter: provider.model_filter.clone(),
        max_in_flight: Some(provider.max_in_flight).filter(|most| *most > 0),
        timeouts: timeouts(draft, config, provider, kind),
        retry: resilience.retry,
        breaker: resilience.circuit_breaker,
        api_mode: Some(provider.api_mode.clone()).filter(|m| !m.is_empty()),
        headers: provider.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    })
}

fn base_url(draft: &mut Draft<'_>, name: &str, provider: &Provider, kind: &ProviderType) -> String {
    let (ours, bifrost) = (provider.base_url.trim(), provider.network_config.base_url.trim());
    if !ours.is_empty() && !bifrost.is_empty() && ours != bifrost {
        let setting = format!("providers.{name}.network_config.base_url");
        draft.error_at(
            &setting,
            "this and `base_url` are two names of one setting, and have different values",
            "keep one of the two",
        );
    }
    let written = if ours.is_empty() { bifrost } else { ours };
    if written.is_empty() { kind.default_base_url.unwrap_or_default().to_owned() } else { written.to_owned() }
}

/// Reports what is wrong with an address, without showing what may be a credential in it.
fn check_url(draft: &mut Draft<'_>, setting: &str, url: &str) {
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let (lead, rest) = url.split_at_checked(scheme.len())?;
        lead.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let Some(rest) = rest else {
        return draft.error_at(
            setting,
            "the address begins neither with http:// nor with https://",
            "write http://host:port/v1",
        );
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        draft.error_at(
            setting,
            "the address holds credentials",
            "put the key into `api_key`, or a header into `headers`",
        );
    } else if !is_authority(authority) {
        draft.error_at(setting, "the address has no valid host and port", "write http://host:port/v1");
    } else if path.contains(['?', '#']) || path.contains(|c: char| c.is_whitespace() || c.is_control()) {
        draft.error_at(setting, "the address holds a query, a fragment or a space", "end it with the path");
    }
}

fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((host, tail)) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
                return tail.is_empty() || tail.strip_prefix(':').is_some_and(is_port);
            }
            _ => return false,
        },
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_') || !b.is_ascii();
    !host.is_empty() && host.bytes().all(named) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|p| p > 0)
}

fn is_proxy(url: &str) -> bool {
    let rest =
        ["http://", "https://", "socks5://", "socks5h://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|r| is_authority(r.trim_end_matches('/').rsplit('@').next().unwrap_or_default()))
}

fn is_header_value(text: &str) -> bool {
    text.trim() == text && text.chars().all(|c| !c.is_control())
}

/// Headers that frame a request, which an operator cannot set.
const FRAMING: [&str; 6] = ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade"];

fn check_headers(draft: &mut Draft<'_>, name: &str, provider: &Provider) {
    let setting = format!("providers.{name}.headers");
    for (header, value) in &provider.headers {
        if !is_token(header) {
            draft.error_at(
                &setting,
                format!("`{header}` is not a header name"),
                "use letters, digits and hyphens only",
            );
        } else if FRAMING.contains(&header.to_ascii_lowercase().as_str()) {
            draft.error_at(&setting, format!("`{header}` is set by the gateway itself"), "remove it");
        } else if !is_header_value(value.reveal()) {
            draft.error_at(
                &setting,
                format!("the value of `{header}` holds a character that cannot be sent"),
                "look for line breaks and blanks around it",
            );
        }
    }
}

fn distinct(models: &[ConfiguredModel]) -> Vec<ConfiguredModel> {
    let mut seen: Vec<ConfiguredModel> = Vec::new();
    for model in models.iter().filter(|m| !m.id.trim().is_empty()) {
        if !seen.iter().any(|s| s.id == model.id) {
            seen.push(model.clone());
        }
    }
    seen
}

/// The provider's own limits, else those for all, else those of its kind: a self-hosted engine is near, and may think long.
fn timeouts(draft: &Draft<'_>, config: &Config, provider: &Provider, kind: &ProviderType) -> Timeouts {
    let limit = |duration: Duration| Some(duration).filter(|d| !d.is_zero());
    let own = &provider.timeouts;
    let connect = own.connect.or(config.http.connect_timeout).and_then(limit);
    let total_is_set = draft.leaves.contains_key(&vec!["http".to_owned(), "timeout".to_owned()]);
    let total = own.total.or(provider.network_config.default_request_timeout_in_seconds);
    let total_for_all = if kind.keyless && !total_is_set { None } else { limit(config.http.timeout) };
    Timeouts {
        connect: connect.unwrap_or(Duration::from_secs(if kind.keyless { 2 } else { 10 })),
        first_byte: own.first_byte.map_or(limit(config.http.response_header_timeout), limit),
        idle: own.idle.map_or(limit(config.http.stream_idle_timeout), limit),
        total: total.map_or(total_for_all, limit),
    }
}
