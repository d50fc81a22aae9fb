//! The upstreams: one engine that goes wrong by model, a healthy one beside it, and one that goes away.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use parking_lot::Mutex;
use simulator::{Ending, Model, Running, Schedule, Seen, Settings};

use crate::plan::Plan;

/// The key that our own gateway sends to the engines. It must never be told to anybody.
pub const UPSTREAM_KEY: &str = "sk-torture-upstream-0b5c1f";

/// The model of the healthy engine.
pub(crate) const STEADY: &str = "steady";

/// How much of every answer is remembered, to be held against what the client got.
pub(crate) const RECORDED: usize = 64 << 10;

/// Where the engines listen.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The address.
    pub host: std::net::IpAddr,
    /// The port of the engine that goes wrong; the healthy one is on the next. 0: any two.
    pub first: u16,
}

impl Default for Ports {
    fn default() -> Ports {
        Ports { host: Ipv4Addr::LOCALHOST.into(), first: 0 }
    }
}

/// The running engines.
#[derive(Debug)]
pub struct Engines {
    pub(crate) faulty: Running,
    pub(crate) steady: Running,
    mortal: Mutex<Option<Running>>,
    mortal_address: Option<SocketAddr>,
}

impl Engines {
    /// Starts the engines that a plan needs. Behind our own gateway they ask for [`UPSTREAM_KEY`].
    ///
    /// # Errors
    /// If an address is taken.
    pub async fn start(plan: &Plan, ports: Ports) -> io::Result<Engines> {
        let port = |more: u16| if ports.first == 0 { 0 } else { ports.first.saturating_add(more) };
        let settings = |port: u16, models: Vec<String>, faults: Schedule| {
            let settings = Settings {
                listen: SocketAddr::new(ports.host, port),
                models: models.into_iter().map(Model::named).collect(),
                api_key: plan.own.then(|| UPSTREAM_KEY.to_owned()),
                remembered: 16 << 10,
                // the rest of an upload is told by its length and its hash
                remembered_body: 4 << 10,
                subtitles: true,
                recorded: RECORDED,
                faults,
                ..Settings::default()
            };
            settings.at_full_speed()
        };
        let mut models = plan.models(false);
        // an engine has at least one model
        models.push("calm".to_owned());
        let faulty = simulator::start(settings(port(0), models, plan.schedule())).await?;
        let steady =
            simulator::start(settings(port(1), vec![STEADY.to_owned()], Schedule::default())).await?;
        let gone = plan.models(true);
        let mortal = match gone.is_empty() {
            true => None,
            false => Some(simulator::start(settings(0, gone, Schedule::default())).await?),
        };
        let mortal_address = mortal.as_ref().map(Running::address);
        Ok(Engines { faulty, steady, mortal: Mutex::new(mortal), mortal_address })
    }

    /// Where the engine that goes wrong listens.
    pub fn faulty(&self) -> SocketAddr {
        self.faulty.address()
    }

    /// Where the healthy engine listens.
    pub fn steady(&self) -> SocketAddr {
        self.steady.address()
    }

    /// Where the engine listens, or listened, that goes away; there is one if the plan needs it.
    pub fn mortal(&self) -> Option<SocketAddr> {
        self.mortal_address
    }

    /// Lets the mortal engine go.
    pub(crate) async fn bury(&self) {
        let mortal = self.mortal.lock().take();
        if let Some(mortal) = mortal {
            mortal.stop().await;
        }
    }

    /// Stops them all.
    pub async fn stop(self) {
        self.bury().await;
        self.faulty.stop().await;
        self.steady.stop().await;
    }
}

/// Whether its client left it, as far as the engine noticed.
pub(crate) fn was_left(seen: &Seen) -> bool {
    matches!(seen.ended, Some(Ending::Aborted { .. }))
}
