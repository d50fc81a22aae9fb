//! `ferrovia check`: is the configuration one that can be started with? Nobody is asked.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use clap::Args;
use config::{Loaded, Report};
use serde_json::json;

use super::{SettingFlags, print, sources};
use crate::app;
use crate::http::tls;

/// What `ferrovia check` takes.
#[derive(Args)]
pub(crate) struct Check {
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) settings: SettingFlags,
}

/// Checks, and prints what was found.
pub(super) fn run(check: &Check) -> anyhow::Result<ExitCode> {
    match config::load(&sources(&check.settings)) {
        Err(report) => failed(check, &report),
        Ok(loaded) => {
            // what only shows when the parts are made stops the start as well
            let named = &loaded.config.server.tls;
            let certificate = || if named.on() { tls::read(named).map(drop) } else { Ok(()) };
            match app::build(&loaded).and_then(|_| certificate()) {
                Ok(()) => passed(check, &loaded),
                Err(error) => unbuildable(check, &error),
            }
        }
    }
}

fn failed(check: &Check, report: &Report) -> anyhow::Result<ExitCode> {
    if check.json {
        let findings: Vec<_> = report.findings.iter().map(print::finding_json).collect();
        let (errors, all) = (report.errors(), findings.len());
        print::json(
            &json!({ "ok": false, "errors": errors, "warnings": all - errors, "findings": findings }),
        )?;
    } else {
        writeln!(print::out(), "{}", print::report(report))?;
    }
    Ok(ExitCode::FAILURE)
}

fn unbuildable(check: &Check, error: &anyhow::Error) -> anyhow::Result<ExitCode> {
    if check.json {
        let finding = json!({ "severity": "error", "problem": format!("{error:#}") });
        print::json(&json!({ "ok": false, "errors": 1, "warnings": 0, "findings": [finding] }))?;
    } else {
        print::error(&format!("{error:#}"));
    }
    Ok(ExitCode::FAILURE)
}

fn passed(check: &Check, loaded: &Loaded) -> anyhow::Result<ExitCode> {
    let server = &loaded.config.server;
    let address = address(&server.host, server.port);
    let scheme = if server.tls.on() { "https" } else { "http" };
    let url = format!("{scheme}://{address}{}", server.base_path.trim_end_matches('/'));
    let file = loaded.file.as_ref().map(|path| path.display().to_string());
    if check.json {
        let findings: Vec<_> = loaded.warnings.iter().map(print::finding_json).collect();
        let providers = loaded.providers.iter().map(|provider| {
            json!({
                "name": provider.name,
                "type": provider.kind,
                "base_url": provider.base_url,
                "keys": provider.api_keys.len(),
                "models": provider.models.len(),
            })
        });
        print::json(&json!({
            "ok": true,
            "errors": 0,
            "warnings": findings.len(),
            "findings": findings,
            "file": file,
            "listen": url,
            "master_key": !server.master_key.is_empty(),
            "providers": providers.collect::<Vec<_>>(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }

    let mut out = print::out();
    for finding in &loaded.warnings {
        writeln!(out, "{}\n", print::finding(finding))?;
    }
    writeln!(out, "{}", print::paint(print::GOOD, "The configuration is valid."))?;
    writeln!(out)?;
    writeln!(out, "File        {}", file.as_deref().unwrap_or("none"))?;
    writeln!(out, "Listens on  {url}")?;
    let key = if server.master_key.is_empty() {
        "none: everybody who reaches the port may use the gateway (FERROVIA_MASTER_KEY)"
    } else {
        "set"
    };
    writeln!(out, "Master key  {key}")?;
    if loaded.providers.is_empty() {
        writeln!(out, "Providers   none; for a vLLM server set VLLM_BASE_URL=http://localhost:8000/v1")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "Providers   {}\n", loaded.providers.len())?;
    let rows = loaded.providers.iter().map(|provider| {
        let keys = match provider.api_keys.len() {
            0 => "none".to_owned(),
            n => n.to_string(),
        };
        let models = match provider.models.len() {
            0 => "asked for".to_owned(),
            n => format!("{n} configured"),
        };
        vec![provider.name.clone(), provider.kind.clone(), provider.base_url.clone(), keys, models]
    });
    writeln!(out, "{}", print::table(&["PROVIDER", "TYPE", "ADDRESS", "KEYS", "MODELS"], rows))?;
    Ok(ExitCode::SUCCESS)
}

fn address(host: &str, port: u16) -> String {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}
