//! The section `server`: where the gateway listens, who may call, how much it takes in.

use std::net::IpAddr;
use std::time::Duration;

use domain::Secret;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::draft::{Draft, find_type};
use crate::report::nearest;

/// Where the gateway listens, who may call, how much it takes in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// TCP port to listen on. 0 takes any free one.
    #[schemars(extend("x-env" = ["PORT"], "x-restart" = true))]
    pub port: u16,
    /// Address to listen on: an IP address, `0.0.0.0` for every IPv4 interface, `::` for every interface.
    #[schemars(extend("x-env" = ["FERROVIA_HOST"], "x-restart" = true))]
    pub host: String,
    /// TLS on the listener. Without it the gateway speaks plain HTTP.
    pub tls: Tls,
    /// Proxies whose word on a client's address is taken (`X-Forwarded-For`, else `Forwarded`): addresses, networks such as
    /// `10.0.0.0/8`, `loopback`, `private`. None by default.
    #[schemars(extend("x-env" = ["FERROVIA_TRUSTED_PROXIES", "SERVER_TRUSTED_PROXIES"]))]
    pub trusted_proxies: Vec<String>,
    /// Path prefix under which everything is served, such as `/ai`. Other paths answer 404.
    #[schemars(extend("x-env" = ["BASE_PATH"]))]
    pub base_path: String,
    /// Key that grants full access. Without one the gateway is open to everybody who reaches it.
    #[serde(with = "crate::value::secret")]
    #[schemars(with = "String", extend("x-env" = ["FERROVIA_MASTER_KEY", "GOMODEL_MASTER_KEY", "AURORA_MASTER_KEY"], "x-secret" = true))]
    pub master_key: Secret,
    /// Largest JSON request body. A larger one is answered with 413.
    #[serde(with = "crate::value::size")]
    #[schemars(with = "String", extend("x-env" = ["BODY_SIZE_LIMIT"], "x-kind" = "size", "x-min" = 1024, "x-max" = 104857600))]
    pub body_size_limit: u64,
    /// Largest upload (audio, images, files).
    #[serde(with = "crate::value::size")]
    #[schemars(with = "String", extend("x-env" = ["FERROVIA_UPLOAD_SIZE_LIMIT"], "x-kind" = "size", "x-min" = 1024))]
    pub upload_size_limit: u64,
    /// Folder for uploads whose model stands behind the file. Empty: the system's folder for temporary files.
    #[schemars(extend("x-env" = ["FERROVIA_UPLOAD_SPOOL_DIR"]))]
    pub upload_spool_dir: String,
    /// Bytes of uploads stored there by all calls together. Beyond it calls are answered with 503 and `Retry-After`.
    #[serde(with = "crate::value::size")]
    #[schemars(with = "String", extend("x-env" = ["FERROVIA_UPLOAD_SPOOL_LIMIT"], "x-kind" = "size"))]
    pub upload_spool_limit: u64,
    /// Request bytes held in memory by all calls together. Beyond it calls are answered with 503 and `Retry-After`.
    #[serde(with = "crate::value::size")]
    #[schemars(with = "String", extend("x-env" = ["FERROVIA_REQUEST_MEMORY_LIMIT"], "x-kind" = "size", "x-min" = 1048576))]
    pub request_memory_limit: u64,
    /// Largest request head: request line and headers together.
    #[serde(with = "crate::value::size")]
    #[schemars(with = "String", extend("x-env" = ["FERROVIA_MAX_HEADER_SIZE"], "x-kind" = "size", "x-min" = 8192, "x-max" = 1048576))]
    pub max_header_size: u64,
    /// Longest wait for a request's complete head.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["FERROVIA_HEADER_TIMEOUT"], "x-kind" = "seconds"))]
    pub header_timeout: Duration,
    /// Longest silence while a request's body arrives.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["FERROVIA_BODY_IDLE_TIMEOUT"], "x-kind" = "seconds"))]
    pub body_idle_timeout: Duration,
    /// How long a connection without a request is kept.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["FERROVIA_IDLE_TIMEOUT"], "x-kind" = "seconds"))]
    pub idle_timeout: Duration,
    /// Silence after which a stream gets a keep-alive comment. 0 turns the comments off.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["FERROVIA_STREAM_KEEP_ALIVE"], "x-kind" = "seconds"))]
    pub stream_keep_alive: Duration,
    /// How long one write may wait for a client that has stopped reading. 0 waits for ever.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["STREAM_STALL_TIMEOUT"], "x-kind" = "seconds"))]
    pub stream_stall_timeout: Duration,
    /// How long a shutdown lets running calls finish.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["FERROVIA_SHUTDOWN_GRACE"], "x-kind" = "seconds"))]
    pub shutdown_grace: Duration,
    /// Serve `/p/{provider}/…`, which relays a request as it is.
    #[schemars(extend("x-env" = ["ENABLE_PASSTHROUGH_ROUTES"]))]
    pub enable_passthrough_routes: bool,
    /// Take `/p/{provider}/v1/x` for `/p/{provider}/x`.
    #[schemars(extend("x-env" = ["ALLOW_PASSTHROUGH_V1_ALIAS"]))]
    pub allow_passthrough_v1_alias: bool,
    /// Provider types that passthrough serves.
    #[schemars(extend("x-env" = ["ENABLED_PASSTHROUGH_PROVIDERS"]))]
    pub enabled_passthrough_providers: Vec<String>,
    /// Answer passthrough errors in the OpenAI error shape, as GoModel does, instead of relaying them.
    #[schemars(extend("x-env" = ["FERROVIA_PASSTHROUGH_REWRITE_ERRORS"]))]
    pub passthrough_rewrite_errors: bool,
    /// Engine control routes (load an adapter, sleep, reset …) on passthrough. Denied by default.
    pub passthrough_control_routes: ControlRoutes,
    /// Origins whose browsers may call, such as `https://app.example.com`, or `*`. None by default.
    #[schemars(extend("x-env" = ["FERROVIA_CORS_ALLOWED_ORIGINS"]))]
    pub cors_allowed_origins: Vec<String>,
    /// Request header that carries the caller's user path. `X-GoModel-User-Path` is read as well.
    #[schemars(extend("x-env" = ["USER_PATH_HEADER"]))]
    pub user_path_header: String,
    /// Add the member `provider` to JSON replies, as GoModel does.
    #[schemars(extend("x-env" = ["FERROVIA_PROVIDER_MEMBER"]))]
    pub provider_member: bool,
    /// Tell in the header `x-ferrovia-changes` what was changed in a request or a reply.
    #[schemars(extend("x-env" = ["FERROVIA_CHANGES_HEADER"]))]
    pub changes_header: bool,
    /// How the work is spread over the cores.
    #[schemars(extend("x-env" = ["FERROVIA_RUNTIME"], "x-restart" = true))]
    pub runtime: Runtime,
    /// Threads that serve. 0 takes one for each core.
    #[schemars(range(max = 1024), extend("x-env" = ["FERROVIA_THREADS"], "x-restart" = true))]
    pub threads: usize,
}

/// TLS on the listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate, followed by those that lead from it to its root. Together with `key_file` it turns
    /// TLS on. Both files are read again when the configuration is.
    #[schemars(extend("x-env" = ["FERROVIA_TLS_CERT_FILE"]))]
    pub cert_file: String,
    /// PEM file with the certificate's private key, not encrypted.
    #[schemars(extend("x-env" = ["FERROVIA_TLS_KEY_FILE"]))]
    pub key_file: String,
}

impl Tls {
    /// Whether the listener speaks TLS.
    pub fn on(&self) -> bool {
        !self.cert_file.is_empty() && !self.key_file.is_empty()
    }
}

/// How the work is spread over the cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// One single-threaded runtime for each core, each with its own listener.
    PerCore,
    /// One runtime whose threads share the work.
    MultiThread,
}

/// Engine control routes on passthrough. Paths are matched on the decoded path; `*` stands for anything.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControlRoutes {
    /// Paths that a caller with the master key may use although the engine's list denies them, such as `/sleep`.
    #[schemars(extend("x-env" = ["FERROVIA_PASSTHROUGH_CONTROL_ROUTES_ALLOW"]))]
    pub allow: Vec<String>,
    /// Paths to deny besides the engine's list.
    #[schemars(extend("x-env" = ["FERROVIA_PASSTHROUGH_CONTROL_ROUTES_DENY"]))]
    pub deny: Vec<String>,
}

/// What GoModel has served at some time, and every self-hosted type.
const PASSTHROUGH: [&str; 16] = [
    "openai",
    "anthropic",
    "openrouter",
    "zai",
    "vllm",
    "cohere",
    "kilo",
    "sglang",
    "llmd",
    "deepseek",
    "bailian",
    "llamacpp",
    "edenai",
    "jev",
    "ollama",
    "openai_compatible",
];

impl Default for Server {
    fn default() -> Self {
        Server {
            port: 8080,
            host: "0.0.0.0".into(),
            tls: Tls::default(),
            trusted_proxies: Vec::new(),
            base_path: "/".into(),
            master_key: Secret::default(),
            body_size_limit: 10 << 20,
            upload_size_limit: 100 << 20,
            upload_spool_dir: String::new(),
            upload_spool_limit: 4 << 30,
            request_memory_limit: 256 << 20,
            max_header_size: 64 << 10,
            header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            stream_keep_alive: Duration::from_secs(15),
            stream_stall_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(30),
            enable_passthrough_routes: true,
            allow_passthrough_v1_alias: true,
            enabled_passthrough_providers: PASSTHROUGH.map(String::from).into(),
            passthrough_rewrite_errors: false,
            passthrough_control_routes: ControlRoutes::default(),
            cors_allowed_origins: Vec::new(),
            user_path_header: "X-Ferrovia-User-Path".into(),
            provider_member: true,
            changes_header: true,
            runtime: Runtime::PerCore,
            threads: 0,
        }
    }
}

impl Server {
    /// The networks whose proxies are believed.
    pub fn trusted_networks(&self) -> Vec<IpNet> {
        self.trusted_proxies.iter().filter_map(|word| networks(word)).flatten().collect()
    }

    /// Normalises what may be written in several ways, and reports what no type can.
    pub(crate) fn settle(&mut self, draft: &mut Draft<'_>) {
        self.base_path = clean_path(&self.base_path);
        if self.host.trim_matches(['[', ']']).parse::<IpAddr>().is_err() && self.host != "localhost" {
            let problem = format!("`{}` is not an IP address", self.host);
            draft.error_at(
                "server.host",
                problem,
                "write an address of this machine, such as 0.0.0.0 or 127.0.0.1",
            );
        }
        match (self.tls.cert_file.is_empty(), self.tls.key_file.is_empty()) {
            (false, true) => draft.error_at(
                "server.tls.cert_file",
                "a certificate is of no use without its private key",
                "set server.tls.key_file (FERROVIA_TLS_KEY_FILE) as well, or remove both",
            ),
            (true, false) => draft.error_at(
                "server.tls.key_file",
                "a private key is of no use without its certificate",
                "set server.tls.cert_file (FERROVIA_TLS_CERT_FILE) as well, or remove both",
            ),
            _ => {}
        }
        for word in self.trusted_proxies.clone() {
            if networks(&word).is_none() {
                draft.error_at(
                    "server.trusted_proxies",
                    format!("`{word}` is neither an address nor a network"),
                    "write addresses such as 10.0.0.7, networks such as 10.0.0.0/8, `loopback` or `private`",
                );
            }
        }
        if self.base_path.contains(['?', '#', '%'])
            || self.base_path.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            let problem = format!("`{}` cannot be the beginning of a path", self.base_path);
            draft.error_at(
                "server.base_path",
                problem,
                "write a path such as /ai, without query, spaces or escapes",
            );
        }
        let blank = self.master_key.reveal();
        if !blank.is_empty() && blank.trim().is_empty() {
            draft.error_at("server.master_key", "the key is blank", "set a real key, or remove the setting");
        }
        if !is_token(&self.user_path_header) {
            let problem = format!("`{}` is not a header name", self.user_path_header);
            draft.error_at("server.user_path_header", problem, "use letters, digits and hyphens only");
        }
        for word in self.enabled_passthrough_providers.clone() {
            let near = nearest(&word, draft.types.iter().map(|t| t.name));
            if let Some(near) = near
                .filter(|_| find_type(draft.types, &word).is_none() && !PASSTHROUGH.contains(&word.as_str()))
            {
                let problem = format!("there is no provider type `{word}`; did you mean `{near}`?");
                draft.warn_at(
                    "server.enabled_passthrough_providers",
                    problem,
                    "correct the name, or remove it",
                );
            }
        }
        for origin in self.cors_allowed_origins.clone() {
            let host = origin.split_once("://").map(|(_, host)| host);
            if origin != "*" && host.is_none_or(|h| h.is_empty() || h.contains('/')) {
                let problem = format!("`{origin}` is not an origin");
                draft.error_at(
                    "server.cors_allowed_origins",
                    problem,
                    "write scheme://host or scheme://host:port, without a path, or *",
                );
            }
        }
        for (setting, routes) in [
            ("server.passthrough_control_routes.allow", &self.passthrough_control_routes.allow),
            ("server.passthrough_control_routes.deny", &self.passthrough_control_routes.deny),
        ] {
            for route in routes.iter().filter(|r| !r.starts_with(['/', '*'])) {
                draft.error_at(setting, format!("`{route}` is not a path"), "begin it with a slash");
            }
        }
    }
}

/// The networks that a word of `trusted_proxies` means. An IPv4 network in the clothes of IPv6 is one of IPv4.
fn networks(word: &str) -> Option<Vec<IpNet>> {
    let of = |list: &[&str]| list.iter().filter_map(|text| text.parse().ok()).collect();
    let one: IpNet = match word.trim() {
        "loopback" => return Some(of(&["127.0.0.0/8", "::1/128"])),
        "private" => return Some(of(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"])),
        text => match text.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().into(),
            Err(_) => text.parse().ok()?,
        },
    };
    let mapped = match one {
        IpNet::V6(six) if six.prefix_len() >= 96 => {
            six.addr().to_ipv4_mapped().map(|four| (four, six.prefix_len() - 96))
        }
        _ => None,
    };
    Some(vec![match mapped {
        Some((four, length)) => IpNet::new(four.into(), length).ok()?,
        None => one,
    }])
}

/// A path with one leading slash, no trailing one, no empty segments, and `.` and `..` resolved.
pub(crate) fn clean_path(text: &str) -> String {
    let mut segments = Vec::new();
    for segment in text.trim().split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Whether this can be the name of a header (RFC 9110, token).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_operators_write_them() {
        let read =
            |word: &str| networks(word).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
        for (word, meant) in [
            ("10.0.0.7", &["10.0.0.7/32"][..]),
            (" 10.0.0.0/8 ", &["10.0.0.0/8"]),
            ("2001:db8::/32", &["2001:db8::/32"]),
            ("::ffff:10.0.0.7", &["10.0.0.7/32"]),
            ("::ffff:10.0.0.0/104", &["10.0.0.0/8"]),
            ("loopback", &["127.0.0.0/8", "::1/128"]),
        ] {
            assert_eq!(
                read(word).as_deref(),
                Some(meant.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice()),
                "{word}"
            );
        }
        assert_eq!(read("private").map(|all| all.len()), Some(4));
        for word in ["", "10.0.0.0/33", "proxy.example", "10.0.0", "*"] {
            assert_eq!(read(word), None, "{word}");
        }
    }

    #[test]
    fn paths_are_cleaned_as_gomodel_cleans_them() {
        for (written, meant) in
            [("g", "/g"), ("/g/", "/g"), ("", "/"), ("//a//./b/../c/", "/a/c"), ("/../x", "/x")]
        {
            assert_eq!(clean_path(written), meant);
        }
    }
}
