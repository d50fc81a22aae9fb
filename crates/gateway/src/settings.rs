//! What an operator chose, valid and ready to be used on every call.

use std::time::Duration;

use domain::Secret;
use http::HeaderName;

use crate::call::upload::SpoolSettings;

/// Settings that calls read. Built once from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The key that opens everything. `None`: the gateway is open.
    pub master_key: Option<Secret>,
    /// The largest JSON body, in bytes.
    pub body_limit: usize,
    /// The largest body of any other kind, in bytes.
    pub upload_limit: usize,
    /// All request bodies held in memory at one time, in bytes.
    pub memory_limit: usize,
    /// Where uploads wait that cannot be sent on at once.
    pub spool: SpoolSettings,
    /// Headers in which a caller may state its user path, first match wins.
    pub user_path_headers: Vec<HeaderName>,
    /// Whether usage is asked for on streams that did not ask.
    pub ask_for_usage: bool,
    /// Whether JSON replies get the `provider` member.
    pub provider_member: bool,
    /// After how much silence a stream gets a keep-alive, and its status is settled.
    pub keep_alive: Duration,
    /// Whether replies tell in a header what was changed.
    pub changes_header: bool,
    /// What the passthrough may do.
    pub passthrough: Passthrough,
    /// Whether `/v1/models` lists bare ids.
    pub bare_model_ids: bool,
    /// Whether `/v1/models` lists no concrete models at all, only aliases.
    pub only_aliases: bool,
}

/// What `/p/{provider}/…` may do.
#[derive(Clone, Debug)]
pub struct Passthrough {
    /// Whether the routes exist.
    pub enabled: bool,
    /// Whether `/p/{provider}/v1/…` means the same as `/p/{provider}/…`.
    pub v1_alias: bool,
    /// The types that may be reached.
    pub types: Vec<String>,
    /// Control routes that are open to the master key: globs on the decoded path.
    pub control_allow: Vec<String>,
    /// Routes that are closed besides the engine's own control routes: globs on the decoded path.
    pub control_deny: Vec<String>,
    /// Whether refusals are re-written into our envelope, as GoModel does.
    pub rewrite_errors: bool,
}
