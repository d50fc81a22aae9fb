//! `ferrovia serve`: load, build, run, reload, drain.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use arc_swap::ArcSwap;
use config::{Loaded, Runtime, Sources};
use gateway::Gateway;
use gateway::inventory::file;
use gateway::inventory::refresh::{self, Kept};
use tokio::sync::watch;
use upstream::Target;

use super::{SettingFlags, load_from, sources};
use crate::http::cors::Cors;
use crate::http::edge::Patience;
use crate::http::forwarded::Trusted;
use crate::http::tls::{self, Tls};
use crate::http::{Front, Terms, listen};
use crate::reload::{self, Reloads};
use crate::{app, shutdown, telemetry};

/// So long the threads of a shared runtime may take to let go of what they hold.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(1);

/// Serves until it is asked to end.
pub(crate) fn run(flags: &SettingFlags) -> ExitCode {
    let sources = sources(flags);
    let loaded = match load_from(&sources) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    telemetry::start(&loaded.config.log);
    reload::warn(&loaded);
    match serve(sources, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(sources: Sources, loaded: Loaded) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let began = || -> anyhow::Result<(Reloads, Running)> {
        // whoever is asked to reload before it can must not end by it
        let reloads = Reloads::new(sources, loaded)?;
        let running = start(reloads.loaded())?;
        Ok((reloads, running))
    };
    let (mut reloads, mut running) = {
        let _within = runtime.enter();
        began()?
    };
    runtime.block_on(async {
        let mut end = std::pin::pin!(shutdown::asked_to_end());
        loop {
            tokio::select! {
                biased;
                () = end.as_mut() => break,
                cause = reloads.asked() => {
                    let metrics = running.gateway.metrics.clone();
                    reloads.reload(cause, &metrics, |before, now| running.take_over(before, now));
                }
            }
        }
        tracing::info!("ending: no new connections, replies may finish");
        running.stop().await;
    });
    // a disk that does not answer must not hold up the end
    runtime.shutdown_background();
    Ok(())
}

/// A gateway that listens.
pub(crate) struct Running {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What it serves.
    pub(crate) gateway: Arc<Gateway>,
    front: Arc<Front>,
    kept: watch::Sender<Kept>,
    ending: shutdown::Ending,
    grace: std::time::Duration,
    threads: Vec<std::thread::JoinHandle<()>>,
    log: std::thread::JoinHandle<()>,
}

impl Running {
    /// Goes on under another configuration. Either all of it takes effect or, if a part cannot be made, nothing: new calls
    /// are answered by what is built here, those under way by what they began with.
    pub(crate) fn take_over(&mut self, before: &Loaded, now: &Loaded) -> anyhow::Result<()> {
        let files = &now.config.server.tls;
        // read even if it takes a restart to show it: what cannot be started with is refused
        let certificate = if files.on() { Some(tls::read(files)?) } else { None };
        let gateway = app::rebuild(now, before, &self.gateway)?;
        // nothing fails from here on
        if let (Some(tls), Some(certificate)) = (&self.front.tls, certificate) {
            tls::warn_of_the_end(&certificate, &files.cert_file);
            tls.show(certificate);
        }
        self.front.terms.store(Arc::new(terms(now, gateway.clone())));
        let old = std::mem::replace(&mut self.gateway, gateway.clone());
        let stays =
            |target: &Target| gateway.inventory.instances().iter().any(|i| i.target.id() == target.id());
        for gone in old.inventory.instances().iter().filter(|instance| !stays(&instance.target)) {
            gateway.pool.forget(&gone.target);
        }
        gateway.inventory.heard();
        self.kept.send_replace(Kept { gateway, rhythm: app::rhythm(now) });
        self.grace = now.config.server.shutdown_grace;
        Ok(())
    }

    /// Ends it: replies finish within the grace period, the rest are told.
    pub(crate) async fn stop(self) {
        self.front.draining.store(true, Ordering::Relaxed);
        let finished = self.ending.drain(self.grace, &self.gateway.closing).await;
        if !finished {
            tracing::warn!(after = ?self.grace, "some replies were ended early");
        }
        for thread in self.threads {
            let _ = thread.join();
        }
        self.gateway.calls.close();
        let _ = self.log.join();
    }
}

/// Builds everything and begins to listen, on threads of its own.
pub(crate) fn start(loaded: &Loaded) -> anyhow::Result<Running> {
    let server = &loaded.config.server;
    let gateway = app::build(loaded)?;
    let tls = open_tls(&server.tls)?;
    let rhythm = app::rhythm(loaded);
    if let Some(path) = &rhythm.file {
        match file::load(path, &gateway.inventory) {
            Ok(0) => {}
            Ok(models) => tracing::info!(models, file = %path.display(), "last known model inventory loaded"),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the last model inventory could not be read; it will be asked for")
            }
        }
    }
    let host = if server.host == "localhost" { "127.0.0.1" } else { server.host.trim_matches(['[', ']']) };
    let ip = host.parse().with_context(|| format!("server.host: {host:?} is not an IP address"))?;
    let threads = match server.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        some => some,
    };
    let cores = if server.runtime == Runtime::PerCore { threads } else { 1 };
    let wanted = SocketAddr::new(ip, server.port);
    let cannot = |address: SocketAddr| {
        format!("cannot listen on {address} (server.host, server.port; PORT): is another program using it?")
    };
    // another program that shares the address would take half of our connections: the first socket does not share,
    // so that it fails where anything listens already
    drop(listen::open(wanted, false).with_context(|| cannot(wanted))?);
    let first = listen::open(wanted, cores > 1).with_context(|| cannot(wanted))?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..cores {
        listeners.push(listen::open(address, true).with_context(|| cannot(address))?);
    }

    let scheme = if tls.is_some() { "https" } else { "http" };
    let front = Arc::new(Front {
        terms: ArcSwap::from_pointee(terms(loaded, gateway.clone())),
        tls,
        draining: AtomicBool::new(false),
    });
    let (drain, ending) = shutdown::pair();
    let kept = watch::Sender::new(Kept { gateway: gateway.clone(), rhythm });
    let log = telemetry::write_calls(&loaded.config.log, &gateway.calls)?;
    let mut running = Vec::new();
    for (core, listener) in listeners.into_iter().enumerate() {
        let (front, drain) = (front.clone(), drain.clone());
        let keep = (core == 0).then(|| kept.subscribe());
        let shared = server.runtime == Runtime::MultiThread;
        let mut builder = match server.runtime {
            Runtime::PerCore => tokio::runtime::Builder::new_current_thread(),
            Runtime::MultiThread => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                builder.worker_threads(threads);
                builder
            }
        };
        let runtime = builder.enable_all().thread_name("ferrovia").build()?;
        let thread = std::thread::Builder::new().name(format!("ferrovia-{core}")).spawn(move || {
            runtime.block_on(async move {
                // asking providers goes on beside serving, and ends with it
                let keeper = keep.map(|keep| tokio::spawn(refresh::keep_fresh(keep)));
                if let Err(error) = listen::serve(listener, front, drain.clone()).await {
                    tracing::error!(%error, "the listener failed");
                }
                if let Some(keeper) = keeper {
                    keeper.abort();
                }
                // connections hold the drain too: they are served until they end
                drain.over().await;
            });
            if shared {
                // its other threads drop what they hold, so that every call's end is told
                runtime.shutdown_timeout(LAST_WORDS);
            } else {
                runtime.shutdown_background();
            }
        })?;
        running.push(thread);
    }
    drop(drain);

    tracing::info!(
        address = %address,
        url = format!("{scheme}://{address}{}", server.base_path.trim_end_matches('/')),
        providers = loaded.providers.len(),
        threads,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    if loaded.config.server.master_key.is_empty() {
        tracing::warn!(
            "no master key is set: everybody who reaches this port may use it; set FERROVIA_MASTER_KEY"
        );
    }
    if loaded.providers.is_empty() {
        tracing::warn!(
            "no provider is configured; for a vLLM server set VLLM_BASE_URL=http://localhost:8000/v1"
        );
    }
    Ok(Running { address, gateway, front, kept, ending, grace: server.shutdown_grace, threads: running, log })
}

/// How requests are answered under this configuration.
fn terms(loaded: &Loaded, gateway: Arc<Gateway>) -> Terms {
    let server = &loaded.config.server;
    let unless_zero = |d: std::time::Duration| (!d.is_zero()).then_some(d);
    Terms {
        gateway,
        base_path: server.base_path.trim_end_matches('/').to_owned(),
        cors: Cors::new(&server.cors_allowed_origins),
        metrics: loaded.config.metrics.enabled.then(|| loaded.config.metrics.endpoint.clone()),
        max_head: usize::try_from(server.max_header_size).unwrap_or(usize::MAX),
        patience: Patience {
            head: unless_zero(server.header_timeout),
            body: unless_zero(server.body_idle_timeout),
            idle: unless_zero(server.idle_timeout),
            write: unless_zero(server.stream_stall_timeout),
        },
        trusted: Trusted::new(server.trusted_networks()),
    }
}

/// TLS, if it is configured.
fn open_tls(settings: &config::Tls) -> anyhow::Result<Option<Tls>> {
    if !settings.on() {
        return Ok(None);
    }
    let certificate = tls::read(settings)?;
    tls::warn_of_the_end(&certificate, &settings.cert_file);
    Tls::new(certificate).map(Some)
}
