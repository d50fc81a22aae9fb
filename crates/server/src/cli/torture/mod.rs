//! `ferrovia torture`: the fault wall, against ourselves or any other gateway.

mod own;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use indicatif::ProgressBar;
use torture::{Choice, Door, Engines, Gateway, Names, Plan, Ports, Report};

use super::print;
use crate::shutdown;

/// What `ferrovia torture` takes.
#[derive(Args)]
pub(crate) struct Torture {
    /// A gateway that speaks OpenAI's dialects, at http://host:port. Without it, this program starts itself. Point it at
    /// the engines before: they listen on --upstream-port and the port behind it.
    #[arg(long, value_name = "URL", requires = "upstream_port")]
    url: Option<String>,
    /// The key to that gateway.
    #[arg(long, requires = "url")]
    key: Option<String>,
    /// TCP port of the engine that goes wrong; the healthy one is on the next port.
    #[arg(long, value_name = "PORT", requires = "url")]
    upstream_port: Option<u16>,
    /// IP address on which the engines listen.
    #[arg(long, value_name = "ADDRESS", requires = "url", default_value_t = Ipv4Addr::LOCALHOST.into())]
    upstream_host: IpAddr,
    /// What that gateway calls the models of the engine that goes wrong, as in faulty/{model}.
    #[arg(long, value_name = "PATTERN", requires = "url", default_value = "{model}", value_parser = pattern)]
    model: String,
    /// What it calls the healthy engine's models. Without it nobody looks at the neighbour.
    #[arg(long, value_name = "PATTERN", requires = "url", value_parser = pattern)]
    healthy_model: Option<String>,
    /// How long that gateway may take to find the engines.
    #[arg(long, value_name = "DURATION", requires = "url", default_value = "60s", value_parser = super::duration)]
    wait: Duration,
    /// Decides the order of the scenarios and their words.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Play only scenarios whose id has this in it; * stands for anything. May be repeated.
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// A shortened wall: every fault once, on changing fronts.
    #[arg(long)]
    quick: bool,
    /// List the scenarios instead of playing them.
    #[arg(long)]
    list: bool,
    /// How many scenarios are played at the same time.
    #[arg(long, value_name = "N", default_value_t = 8)]
    jobs: usize,
    /// Write the scorecard as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the scorecard as a page that needs nothing beside it.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn pattern(text: &str) -> Result<String, String> {
    if text.contains("{model}") {
        Ok(text.to_owned())
    } else {
        Err("write {model} where the name stands".into())
    }
}

/// Plays the wall. It fails if a scenario does.
pub(super) fn run(torture: &Torture) -> anyhow::Result<ExitCode> {
    let choice = Choice {
        seed: torture.seed,
        only: torture.only.clone(),
        quick: torture.quick,
        own: torture.url.is_none(),
    };
    let plan = Plan::draw(&choice);
    if plan.is_empty() {
        bail!("no scenario's id has {} in it; --list shows them all", torture.only.join(" or "));
    }
    if torture.list {
        let rows = plan.list().into_iter().map(|(id, about)| vec![id.to_owned(), about.to_owned()]);
        writeln!(print::out(), "{}", print::table(&["SCENARIO", "WHAT HAPPENS"], rows))?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = play(torture, &plan) => report,
            () = shutdown::asked_to_end() => Err(anyhow!("ended before all was played")),
        }
    });
    runtime.shutdown_background();
    tell(torture, &report?)
}

async fn play(torture: &Torture, plan: &Plan) -> anyhow::Result<Report> {
    let ports = Ports { host: torture.upstream_host, first: torture.upstream_port.unwrap_or(0) };
    let engines = Engines::start(plan, ports).await.context("the simulated engines cannot start")?;
    let mut child = None;
    let (gateway, patience) = match &torture.url {
        Some(url) => (foreign(torture, url, &engines)?, torture.wait),
        None => {
            let started = own::start(&engines).await?;
            let gateway = started.gateway();
            child = Some(started);
            (gateway, own::PATIENCE)
        }
    };
    gateway.ready(patience).await.map_err(|error| anyhow!(error))?;
    let bar = ProgressBar::new(plan.len() as u64);
    let report =
        torture::run(plan, &engines, &gateway, torture.jobs, |over| bar.set_position(over as u64)).await;
    bar.finish_and_clear();
    drop(child);
    engines.stop().await;
    report.map_err(|error| anyhow!(error))
}

/// A gateway that somebody else has started.
fn foreign(torture: &Torture, url: &str, engines: &Engines) -> anyhow::Result<Gateway> {
    let door = Door::at(url, torture.key.clone()).map_err(|error| anyhow!("--url {error}"))?;
    anstream::eprintln!(
        "the engine that goes wrong is at http://{}/v1, the healthy one at http://{}/v1; waiting for {url} to find them",
        engines.faulty(),
        engines.steady()
    );
    let model = torture.model.clone();
    let names = Names {
        faulty: model.clone(),
        steady: torture.healthy_model.clone(),
        hasty: model.clone(),
        speech: model.clone(),
        mortal: model,
    };
    Ok(Gateway { name: url.to_owned(), door, names, inside: None })
}

fn tell(torture: &Torture, report: &Report) -> anyhow::Result<ExitCode> {
    let again = match &torture.url {
        None => format!("{} torture", print::program()),
        Some(url) => format!(
            "{} torture --url {url} --upstream-port {} --model '{}'",
            print::program(),
            torture.upstream_port.unwrap_or(0),
            torture.model
        ),
    };
    write!(print::out(), "{}", report.text(true, &again))?;
    if let Some(path) = &torture.json {
        std::fs::write(path, report.json_text()).with_context(|| format!("--json {}", path.display()))?;
    }
    if let Some(path) = &torture.html {
        std::fs::write(path, report.page()).with_context(|| format!("--html {}", path.display()))?;
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_says_where_the_name_stands() {
        assert_eq!(pattern("a/{model}"), Ok("a/{model}".to_owned()));
        assert!(pattern("a/model").is_err());
    }
}
