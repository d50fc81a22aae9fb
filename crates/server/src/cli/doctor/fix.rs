//! What to do about each thing that can be wrong, in words. Pure, except for a look at whether this is a container.

use std::path::Path;

use gateway::Instance;
use http::StatusCode;
use upstream::{ConnectFault, SendError};

/// What a fix depends on.
pub(super) struct Place<'a> {
    name: &'a str,
    kind: &'a str,
    host: &'a str,
    port: u16,
    tls: bool,
    in_a_container: bool,
}

impl<'a> Place<'a> {
    /// Where this provider is, seen from here.
    pub(super) fn of(configured: &'a config::Instance, instance: &'a Instance) -> Place<'a> {
        Place {
            name: &configured.name,
            kind: instance.spec.name,
            host: instance.target.host(),
            port: instance.target.port(),
            tls: instance.target.tls(),
            // Docker's mark, Podman's mark
            in_a_container: Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists(),
        }
    }

    fn is_here(&self) -> bool {
        let ip: Option<std::net::IpAddr> = self.host.parse().ok();
        self.host == "localhost" || ip.is_some_and(|ip| ip.is_loopback() || ip.is_unspecified())
    }

    /// What to do when no answer came at all.
    pub(super) fn unreachable(&self, error: &SendError) -> String {
        let Place { name, host, port, .. } = self;
        let scheme = if self.tls { "https" } else { "http" };
        match error {
            SendError::Connect { fault: ConnectFault::Refused, .. }
                if self.is_here() && self.in_a_container =>
            {
                format!(
                    "this is a container, and {host} is the container itself: for a server on the host use \
                 {scheme}://host.docker.internal:{port} (on Linux start the container with \
                 --add-host=host.docker.internal:host-gateway), for one in another container its service name"
                )
            }
            SendError::Connect { fault: ConnectFault::Refused, .. } if self.is_here() => {
                format!("start the server, or correct the port{}", self.how_to_start())
            }
            SendError::Connect { fault: ConnectFault::Refused, .. } => format!(
                "is the server running on {host}, on port {port}, and does it listen for other machines \
                 (--host 0.0.0.0) and not only on 127.0.0.1?"
            ),
            SendError::Connect { fault: ConnectFault::Dns, .. } if *host == "host.docker.internal" => {
                if self.in_a_container {
                    "start the container with --add-host=host.docker.internal:host-gateway".into()
                } else {
                    format!("the name exists only inside of Docker: use {scheme}://localhost:{port}")
                }
            }
            SendError::Connect { fault: ConnectFault::Dns, .. } => {
                let compose = if self.in_a_container {
                    "; other containers have names only in a network that both are in"
                } else {
                    ""
                };
                format!("correct the host in {}{compose}", address_setting(name, self.kind))
            }
            SendError::Connect { fault: ConnectFault::Tls, detail, .. } => self.tls_failed(detail),
            SendError::Connect { fault: ConnectFault::Unreachable, .. } => {
                format!(
                    "check the address in {}, the network and the firewall",
                    address_setting(name, self.kind)
                )
            }
            SendError::ConnectTimeout { .. } => format!(
                "nothing answers at {host}:{port}: check the address and the firewall; providers.{name}.timeouts.connect \
                 gives it longer"
            ),
            SendError::FirstByteTimeout { .. } => {
                "it takes connections but does not answer: it may still be loading its model; look at its log"
                    .into()
            }
            SendError::Reset { .. } | SendError::InvalidHead { .. } if !self.tls => format!(
                "if the server speaks TLS, write https:// in {}; else see whether that port is the API's",
                address_setting(name, self.kind)
            ),
            SendError::Reset { .. } | SendError::InvalidHead { .. } => {
                "see whether that port is the API's".into()
            }
            SendError::ClientBody(_) | SendError::InvalidRequest(_) => {
                format!("correct the path in {}", address_setting(name, self.kind))
            }
        }
    }

    fn tls_failed(&self, detail: &str) -> String {
        let detail = detail.to_ascii_lowercase();
        if detail.contains("certificate") || detail.contains("issuer") {
            return "the certificate is not trusted here: install its authority on this machine, or name its file in \
                    SSL_CERT_FILE"
                .into();
        }
        format!(
            "if the server does not speak TLS, write http:// in {}",
            address_setting(self.name, self.kind)
        )
    }

    fn how_to_start(&self) -> String {
        let port = self.port;
        match self.kind {
            "vllm" => format!(": vllm serve MODEL --port {port}"),
            "sglang" => format!(": python -m sglang.launch_server --model-path MODEL --port {port}"),
            "llamacpp" => format!(": llama-server -m MODEL.gguf --port {port}"),
            "ollama" => ": ollama serve".into(),
            _ => String::new(),
        }
    }
}

/// What to do when the server answers but has no list of models.
pub(super) fn no_list(configured: &config::Instance, status: StatusCode, html: bool, api: &str) -> String {
    let address = address_setting(&configured.name, &configured.kind);
    if html {
        return format!(
            "{} is the address of a web page: name the API's in {address}, which often ends in /v1",
            configured.base_url
        );
    }
    match status.as_u16() {
        200..=299 => format!("what answers there is not an OpenAI-compatible API: correct {address}"),
        300..=399 => {
            format!("it sends elsewhere ({}): write the final address into {address}", status.as_u16())
        }
        404 | 405 | 501 => format!(
            "there is nothing at {api}/models: correct the path in {address}, or list the models in providers.{}.models",
            configured.name
        ),
        429 => "it is asked too often: wait, or look at the plan behind the key".into(),
        500..=599 => "the server itself failed: look at its log".into(),
        _ => format!("correct {address}"),
    }
}

/// What to do about a server that is another engine than its type says.
pub(super) fn other_type(configured: &config::Instance, engine: &provider::Spec) -> String {
    let Some(variable) = variable(&configured.name, &configured.kind, "base_url") else {
        return format!("set providers.{}.type to {}", configured.name, engine.name);
    };
    format!(
        "set {} instead of {variable} (in a file: providers.{}.type: {}); then its own routes and control routes are known",
        engine_variable(engine),
        configured.name,
        engine.name
    )
}

fn engine_variable(engine: &provider::Spec) -> String {
    format!("{}_BASE_URL", engine.name.to_ascii_uppercase())
}

/// The variable, if the instance is named as the environment names it, and the setting.
fn setting(name: &str, kind: &str, field: &str) -> String {
    let path = format!("providers.{name}.{field}");
    match variable(name, kind, field) {
        Some(variable) => format!("{variable} ({path})"),
        None => path,
    }
}

/// The variable of an instance that is named as the environment names it.
fn variable(name: &str, kind: &str, field: &str) -> Option<String> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let (name, kind) = (plain(name), plain(kind));
    let from_the_environment =
        name == kind || name.strip_prefix(&kind).is_some_and(|rest| rest.starts_with('_'));
    let spelt = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (from_the_environment && spelt)
        .then(|| format!("{}_{}", name.to_ascii_uppercase(), field.to_ascii_uppercase()))
}

/// Where the key is set.
pub(super) fn key_setting(configured: &config::Instance) -> String {
    setting(&configured.name, &configured.kind, "api_key")
}

fn address_setting(name: &str, kind: &str) -> String {
    setting(name, kind, "base_url")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> SendError {
        SendError::Connect { at: "x".into(), fault: ConnectFault::Refused, detail: String::new() }
    }

    fn place(host: &str, in_a_container: bool) -> Place<'_> {
        Place { name: "vllm", kind: "vllm", host, port: 8000, tls: false, in_a_container }
    }

    #[test]
    fn a_refused_connection_is_explained_by_where_one_is() {
        let fix = |host, in_a_container| place(host, in_a_container).unreachable(&refused());
        assert!(fix("localhost", true).contains("http://host.docker.internal:8000"));
        assert!(fix("127.0.0.1", true).contains("--add-host"));
        assert!(fix("localhost", false).contains("vllm serve MODEL --port 8000"));
        assert!(fix("gpu-1", true).contains("--host 0.0.0.0"));
    }

    #[test]
    fn tls_and_plain_text_are_told_apart() {
        let tls = |detail: &str| SendError::Connect {
            at: "x".into(),
            fault: ConnectFault::Tls,
            detail: detail.into(),
        };
        let place = Place { tls: true, ..place("gpu-1", false) };
        assert!(place.unreachable(&tls("invalid peer certificate: UnknownIssuer")).contains("SSL_CERT_FILE"));
        assert!(place.unreachable(&tls("received corrupt message")).contains("http://"));
    }

    #[test]
    fn a_name_from_the_environment_is_named_as_there() {
        assert_eq!(setting("vllm", "vllm", "api_key"), "VLLM_API_KEY (providers.vllm.api_key)");
        assert_eq!(
            setting("vllm-test", "vllm", "api_key"),
            "VLLM_TEST_API_KEY (providers.vllm-test.api_key)"
        );
        assert_eq!(setting("my-gpu", "vllm", "api_key"), "providers.my-gpu.api_key");
        assert_eq!(setting("vllmish", "vllm", "api_key"), "providers.vllmish.api_key");
    }
}
