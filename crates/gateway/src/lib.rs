//! What happens to a call, from the head of a request to the last byte of its reply.
//!
//! Read [`pipeline`] first. This crate knows no HTTP server and no database: it takes an [`Inbound`] and gives a
//! response of bytes.

pub mod alarm;
pub mod bell;
pub mod call;
mod figures;
pub mod flight;
pub mod front;
pub mod headers;
pub mod identity;
pub mod inbound;
pub mod instance;
pub mod inventory;
pub mod log;
pub mod mask;
pub mod metrics;
pub mod models;
pub mod passthrough;
pub mod pipeline;
pub mod reply;
pub mod routing;
pub mod settings;
pub mod slots;
#[cfg(test)]
mod story;
pub mod trail;
pub mod unsupported;

pub use inbound::{Inbound, InboundBody};
pub use instance::Instance;
pub use inventory::Inventory;
pub use metrics::Metrics;
pub use pipeline::serve;
pub use reply::ReplyBody;
pub use settings::Settings;

use std::sync::Arc;

use bell::Bell;
use log::CallLog;
use mask::Masks;
use upstream::Pool;

/// Everything that calls share. A call keeps to the gateway that it began with: a changed configuration is a new one, with
/// the same connections, figures and log, and with those instances that did not change.
pub struct Gateway {
    /// What the operator chose.
    pub settings: Settings,
    /// The configured instances and the deployments known right now.
    pub inventory: Inventory,
    /// Connections to upstreams.
    pub pool: Pool,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Configured secrets, to be kept out of everything that is said.
    pub masks: Masks,
    /// Where a line for each call goes.
    pub calls: Arc<CallLog>,
    /// Rung when the time for finishing replies is over: those that still run tell their clients and end.
    pub closing: Bell,
}

/// Settings as they are by default, for the tests of this crate.
#[cfg(test)]
pub(crate) fn settings_for_tests() -> Settings {
    use http::HeaderName;
    use std::time::Duration;
    Settings {
        master_key: None,
        body_limit: 10 << 20,
        upload_limit: 100 << 20,
        memory_limit: 256 << 20,
        spool: call::upload::SpoolSettings { folder: None, limit: 1 << 30 },
        user_path_headers: vec![
            HeaderName::from_static("x-ferrovia-user-path"),
            HeaderName::from_static("x-gomodel-user-path"),
        ],
        ask_for_usage: true,
        provider_member: true,
        keep_alive: Duration::from_secs(15),
        changes_header: true,
        passthrough: settings::Passthrough {
            enabled: true,
            v1_alias: true,
            types: vec!["vllm".into()],
            control_allow: Vec::new(),
            control_deny: Vec::new(),
            rewrite_errors: false,
        },
        bare_model_ids: false,
        only_aliases: false,
    }
}
