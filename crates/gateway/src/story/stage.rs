//! The gateway of a story: one instance of which everything is known, and nobody to ask.

use std::sync::Arc;
use std::time::Duration;

use dialect::listing::Listed;
use domain::ProviderName;
use jiff::Timestamp;
use provider::{Abilities, Base};
use testkit::story::Setup;
use upstream::{Backoff, BreakerSettings, Limits, Pool, PoolSettings, Target};

use crate::bell::Bell;
use crate::instance::{self, BreakerScope, ListMode, Making, RetryPolicy, State, StatusMatch};
use crate::inventory::filter::Filter;
use crate::mask::Masks;
use crate::{Gateway, Instance, Inventory, Settings, settings, settings_for_tests};

/// A gateway as the story wants it, that never asks anybody.
pub(super) fn gateway(setup: &Setup) -> Arc<Gateway> {
    let instances: Vec<_> = setup.provider.iter().map(|kind| Arc::new(instance(setup, kind))).collect();
    let defaults = settings_for_tests();
    let secrets =
        [&setup.key, &setup.master_key].into_iter().flatten().map(|key| key.as_str().into()).collect();
    Arc::new(Gateway {
        settings: Settings {
            master_key: setup.master_key.as_deref().map(Into::into),
            ask_for_usage: setup.usage,
            provider_member: setup.provider_member,
            passthrough: settings::Passthrough {
                types: setup.provider.iter().cloned().collect(),
                rewrite_errors: setup.rewrite_errors,
                ..defaults.passthrough.clone()
            },
            ..defaults
        },
        inventory: Inventory::new(instances),
        pool: Pool::new(PoolSettings::default()),
        metrics: Arc::default(),
        masks: Masks::new(secrets),
        closing: Bell::default(),
        calls: Arc::default(),
    })
}

fn instance(setup: &Setup, kind: &str) -> Instance {
    let base =
        Base::parse(&format!("http://upstream{}", setup.path)).expect("the story's path fits into a URL");
    let instance = Instance::new(Making {
        name: ProviderName::from(setup.name.as_str()),
        spec: provider::find(kind).expect("the story's provider type exists"),
        target: Target::parse(&base.origin).unwrap(),
        base,
        keys: setup.key.iter().map(|key| key.as_str().into()).collect(),
        limits: Limits {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(600),
            idle_pool: Duration::from_secs(4),
        },
        idle: Duration::from_secs(300),
        retry: RetryPolicy {
            retries: setup.retries,
            statuses: [429, 502, 503, 504, 522, 524].map(StatusMatch::Exact).to_vec(),
            backoff: Backoff {
                initial: Duration::from_millis(1),
                max: Duration::from_secs(30),
                factor: 1.0,
                jitter: 0.0,
            },
        },
        breaker: BreakerSettings::default(),
        breaker_scope: BreakerScope::Model,
        failure_statuses: vec![crate::instance::StatusMatch::Class(5)],
        slow_call: None,
        total: None,
        headers: Vec::new(),
        max_in_flight: None,
        configured: Vec::new(),
        mode: ListMode::Fallback,
        filter: Filter::default(),
    });
    let posts = |path: &String| (path.clone(), vec!["POST".to_owned()]);
    let routes = setup.routes.as_ref().map(|routes| routes.iter().map(posts).collect());
    instance.update(State {
        models: instance::models(setup.models.iter().map(|id| Listed::named(id.as_str()))),
        abilities: Abilities { routes, ..Abilities::default() },
        heard: Some(Timestamp::now()),
        stale_since: None,
        error: None,
    });
    // it was asked just now, so nobody asks it again
    let mut asked = instance.asked_for_news.try_lock().expect("nobody else has it yet");
    *asked = Some(tokio::time::Instant::now());
    drop(asked);
    instance
}
