//! `ferrovia health`: asks a running gateway whether it is well, quickly, and needs no provider for it.

use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use clap::Args;
use config::Server;
use serde_json::{Value, json};

use super::fetch::Asker;
use super::{SettingFlags, block_on, duration, load, print};

/// How long `/health` may take.
const HEALTH: Duration = Duration::from_secs(2);
/// How long `/health/ready` may take.
const READY: Duration = Duration::from_secs(4);

/// What `ferrovia health` takes.
#[derive(Args, Debug)]
pub(crate) struct Health {
    /// Base URL of the gateway. Without it the one that the configuration names, on this machine.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Ask whether it is ready to serve (`/health/ready`), not only whether it is alive (`/health`).
    #[arg(long)]
    ready: bool,
    /// How long the answer may take. Without it 2s, with `--ready` 4s.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) settings: SettingFlags,
}

/// GoModel's spelling of the same.
#[derive(Args, Debug)]
pub(crate) struct ProbeFlags {
    /// The same as `ferrovia health`.
    #[arg(long, help_heading = "As GoModel's binary has them", conflicts_with = "ready")]
    health: bool,
    /// The same as `ferrovia health --ready`.
    #[arg(long, help_heading = "As GoModel's binary has them")]
    ready: bool,
    /// How long `--health` may take. Without it 2s.
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "As GoModel's binary has them")]
    health_timeout: Option<Duration>,
    /// How long `--ready` may take. Without it 4s.
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "As GoModel's binary has them")]
    ready_timeout: Option<Duration>,
}

impl ProbeFlags {
    /// The command that these flags mean, if they mean one.
    pub(super) fn asked(&self, settings: &SettingFlags) -> Option<Health> {
        (self.health || self.ready).then(|| Health {
            url: None,
            ready: self.ready,
            timeout: if self.ready { self.ready_timeout } else { self.health_timeout },
            json: false,
            settings: settings.clone(),
        })
    }
}

/// Asks, and tells by the exit code.
pub(super) fn run(health: &Health) -> anyhow::Result<ExitCode> {
    let (base, own) = match &health.url {
        Some(url) => (url.trim_end_matches('/').to_owned(), false),
        None => match load(&health.settings) {
            Ok(loaded) => (here(&loaded.config.server)?, true),
            Err(code) => return Ok(code),
        },
    };
    let (path, patience) = if health.ready { ("/health/ready", READY) } else { ("/health", HEALTH) };
    let patience = health.timeout.unwrap_or(patience);
    let url = format!("{base}{path}");
    let began = Instant::now();
    let asking = async {
        let asker =
            if own { Asker::of_ourselves(&base, patience)? } else { Asker::new(&base, None, patience)? };
        match tokio::time::timeout(patience, asker.get(path)).await {
            Ok(answer) => answer,
            Err(_) => bail!("no answer within {patience:?}"),
        }
    };
    let answer = block_on(asking)?;
    let took = began.elapsed();
    let (ok, status, body, error) = match answer {
        Ok((status, body)) => {
            let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let error = (!status.is_success()).then(|| format!("it answered {}", status.as_u16()));
            (status.is_success(), Some(status.as_u16()), body, error)
        }
        Err(error) => (false, None, Value::Null, Some(format!("{error:#}"))),
    };
    if health.json {
        print::json(&json!({
            "ok": ok,
            "url": url,
            "status": status,
            "answer": body,
            "error": error,
            "milliseconds": took.as_secs_f64() * 1e3,
        }))?;
    } else if let Some(error) = error {
        print::error(&format!("{url}: {error}"));
    } else {
        let word = body["status"].as_str().unwrap_or("ok");
        writeln!(print::out(), "{}  {url}", print::paint(print::GOOD, word))?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where a gateway with these settings is reached from its own machine.
fn here(server: &Server) -> anyhow::Result<String> {
    if server.port == 0 {
        return Err(anyhow!(
            "server.port is 0, so the port is known only to the running gateway; name it with --url"
        ));
    }
    let host = match server.host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) if !ip.is_unspecified() => ip.to_string(),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => "[::1]".into(),
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => "127.0.0.1".into(),
    };
    let scheme = if server.tls.on() { "https" } else { "http" };
    Ok(format!("{scheme}://{host}:{}{}", server.port, server.base_path.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_asked_where_it_listens() {
        let check = |host: &str, base_path: &str, expect: &str| {
            let server =
                Server { host: host.into(), base_path: base_path.into(), port: 9000, ..Server::default() };
            assert_eq!(here(&server).unwrap(), expect);
        };
        check("0.0.0.0", "/", "http://127.0.0.1:9000");
        check("localhost", "/ai", "http://127.0.0.1:9000/ai");
        check("10.1.2.3", "/", "http://10.1.2.3:9000");
        check("::", "/", "http://[::1]:9000");
        check("[::1]", "/", "http://[::1]:9000");
        let files = config::Tls { cert_file: "c".into(), key_file: "k".into() };
        let server = Server { tls: files, port: 9000, ..Server::default() };
        assert_eq!(here(&server).unwrap(), "https://127.0.0.1:9000");
        assert!(here(&Server { port: 0, ..Server::default() }).is_err());
    }
}
