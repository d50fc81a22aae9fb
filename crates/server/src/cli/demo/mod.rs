//! `ferrovia demo`: the gateway at work on a machine that has nothing else.
//!
//! It starts a simulated vLLM and a gateway in front of it, proves itself with one streamed request, and prints lines
//! to paste. Environment, configuration and working folder of the user are left alone, so that it always works.

mod invitation;
mod proof;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use config::{Loaded, Sources};
use gateway::inventory::refresh;

use super::{print, serve};
use crate::{app, shutdown, telemetry};

/// The gateway's key: a real one is set as FERROVIA_MASTER_KEY.
const KEY: &str = "sk-demo";

/// The port that is tried first.
const USUAL: u16 = 8080;

/// The simulated model's id; clients write `vllm/` before it.
const MODEL: &str = "simulated";

/// The model's own id, as clients write it.
const PUBLIC: &str = "vllm/simulated";

/// How long the proof may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `ferrovia demo` takes.
#[derive(Args)]
pub(crate) struct Demo {
    /// TCP port of the gateway. Without it 8080, or any free one if 8080 is taken; 0 takes any free one.
    #[arg(long)]
    port: Option<u16>,
    /// End after the proof instead of serving on.
    #[arg(long)]
    once: bool,
}

/// Shows the gateway at work.
pub(super) fn run(demo: &Demo) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(show(demo));
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

async fn show(demo: &Demo) -> anyhow::Result<()> {
    let models = vec![simulator::Model::named(MODEL)];
    let settings = simulator::Settings { models, ..simulator::Settings::default() };
    let engine = simulator::start(settings).await.context("the simulated vLLM cannot start")?;
    let gateway = match demo.port {
        Some(port) => gateway(port, engine.address())?,
        None => gateway(USUAL, engine.address()).or_else(|_| gateway(0, engine.address()))?,
    };
    let (engine_url, url) = (engine.base_url(), format!("http://{}", gateway.address));
    let shown = tokio::select! {
        shown = to_the_end(demo, &gateway, &engine_url, &url) => shown,
        () = shutdown::asked_to_end() => Ok(()),
    };
    gateway.stop().await;
    engine.stop().await;
    shown
}

/// The proof and the invitation. Ends after the proof if it is meant to, else never.
async fn to_the_end(demo: &Demo, gateway: &serve::Running, engine: &str, url: &str) -> anyhow::Result<()> {
    let mut out = print::out();
    writeln!(
        out,
        "{}",
        print::paint(print::BOLD, concat!("Ferrovia ", env!("CARGO_PKG_VERSION"), ", a demo"))
    )?;
    writeln!(out)?;
    writeln!(out, "  a simulated vLLM   {engine}")?;
    writeln!(out, "  the gateway        {url}")?;
    writeln!(out)?;
    out.flush()?;
    // the gateway asks by itself as well; asking here tells when the answer is there
    let instance =
        gateway.gateway.inventory.named("vllm").ok_or_else(|| anyhow!("the demo has no provider"))?;
    refresh::refresh_one(&gateway.gateway, instance).await;
    let proof = tokio::time::timeout(PATIENCE, proof::give(url));
    proof.await.map_err(|_| anyhow!("the request through the gateway did not end within {PATIENCE:?}"))??;
    if demo.once {
        return Ok(());
    }
    invitation::print(url)?;
    std::future::pending().await
}

/// Starts the gateway on this port, with a configuration of the demo's own.
fn gateway(port: u16, engine: SocketAddr) -> anyhow::Result<serve::Running> {
    let loaded = loaded(port, engine)?;
    telemetry::start(&loaded.config.log);
    serve::start(&loaded)
}

fn loaded(port: u16, engine: SocketAddr) -> anyhow::Result<Loaded> {
    let set = |path: &str, value: String| (path.to_owned(), value);
    let nowhere = std::env::temp_dir().join(format!("ferrovia-demo-{}", uuid::Uuid::new_v4()));
    let sources = Sources {
        types: app::provider_types(),
        env: Vec::new(),
        // a folder that does not exist holds no `.env` and no configuration file
        cwd: nowhere,
        config_path: None,
        flags: vec![
            set("server.host", Ipv4Addr::LOCALHOST.to_string()),
            set("server.port", port.to_string()),
            set("server.master_key", KEY.to_owned()),
            set("server.threads", "2".to_owned()),
            set("server.shutdown_grace", "2s".to_owned()),
            set("log.level", "warn".to_owned()),
            set("log.format", "text".to_owned()),
            set("providers.vllm.type", "vllm".to_owned()),
            set("providers.vllm.base_url", format!("http://{engine}/v1")),
        ],
    };
    let mut loaded = config::load(&sources)?;
    // nothing is kept: the next demo has another port
    loaded.config.cache.model.local.cache_dir.clear();
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_a_configuration_of_its_own() {
        let engine = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let loaded = loaded(0, engine).expect("the demo's configuration is valid");
        assert_eq!(loaded.warnings, []);
        assert_eq!(loaded.providers.len(), 1);
        assert_eq!(loaded.providers[0].base_url, "http://127.0.0.1:9/v1");
        assert!(app::rhythm(&loaded).file.is_none(), "no file is written");
        assert!(loaded.file.is_none());
    }
}
