//! `ferrovia doctor`: examines every configured provider at the same time, and says what to fix.

mod examine;
mod fix;

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use config::{Finding, Loaded};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::{SettingFlags, block_on, load, print};
use crate::app;
use examine::{Examination, Outcome, Serves, Step};

/// What `ferrovia doctor` takes.
#[derive(Args)]
pub(crate) struct Doctor {
    /// Only this provider, by its name. May be repeated.
    #[arg(value_name = "PROVIDER")]
    providers: Vec<String>,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) settings: SettingFlags,
}

/// A provider that is configured but cannot be used.
#[derive(Serialize)]
struct LeftOut {
    provider: String,
    problem: String,
    fix: String,
}

/// Examines, and tells by the exit code whether all is well.
pub(super) fn run(doctor: &Doctor) -> anyhow::Result<ExitCode> {
    let loaded = match load(&doctor.settings) {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    for name in &doctor.providers {
        if !loaded.config.providers.contains_key(name) {
            let known: Vec<&str> = loaded.config.providers.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            anyhow::bail!("there is no provider {name:?} in the configuration; there is: {known}");
        }
    }
    let wanted = |name: &str| doctor.providers.is_empty() || doctor.providers.iter().any(|one| one == name);
    let left_out: Vec<LeftOut> = left_out(&loaded).into_iter().filter(|one| wanted(&one.provider)).collect();
    let examined = block_on(examine_all(&loaded, &wanted))??;
    let well = left_out.is_empty() && examined.iter().all(|one| one.ok);
    if doctor.json {
        print::json(&json!({ "ok": well, "providers": examined, "left_out": left_out }))?;
    } else {
        say(&examined, &left_out)?;
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is configured and not among the providers that can be used, with the reason that loading gave.
fn left_out(loaded: &Loaded) -> Vec<LeftOut> {
    let missing =
        loaded.config.providers.keys().filter(|name| loaded.providers.iter().all(|p| p.name != **name));
    missing
        .map(|name| {
            let about = |finding: &&Finding| {
                let rest = finding
                    .setting
                    .strip_prefix("providers.")
                    .and_then(|rest| rest.strip_prefix(name.as_str()));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let finding = loaded.warnings.iter().find(about);
            LeftOut {
                provider: name.clone(),
                problem: finding
                    .map_or_else(|| "it is left out".to_owned(), |finding| finding.problem.clone()),
                fix: finding.map(|finding| finding.fix.clone()).unwrap_or_default(),
            }
        })
        .collect()
}

/// Examines the providers that are wanted, side by side; in the order of their names.
async fn examine_all(loaded: &Loaded, wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Examination>> {
    let gateway = app::build(loaded)?;
    let mut asking: FuturesUnordered<_> = loaded
        .providers
        .iter()
        .filter(|configured| wanted(&configured.name))
        .filter_map(|configured| {
            let instance = gateway.inventory.named(&configured.name)?;
            Some(examine::examine(&gateway, instance, configured))
        })
        .collect();
    let bar = ProgressBar::new(asking.len() as u64);
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} asking {len} providers, {pos} answered {wide_msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    let mut examined = Vec::new();
    while let Some(one) = asking.next().await {
        bar.set_message(one.provider.clone());
        bar.inc(1);
        examined.push(one);
    }
    bar.finish_and_clear();
    examined.sort_by(|a, b| a.provider.cmp(&b.provider));
    Ok(examined)
}

fn say(examined: &[Examination], left_out: &[LeftOut]) -> anyhow::Result<()> {
    let mut out = print::out();
    if examined.is_empty() && left_out.is_empty() {
        writeln!(out, "No provider is configured.")?;
        fix(&mut out, "for a vLLM server set VLLM_BASE_URL=http://localhost:8000/v1")?;
        return Ok(());
    }
    for one in examined {
        writeln!(out, "{}  {}", print::paint(print::BOLD, &one.provider), about(one))?;
        for step in &one.steps {
            line(&mut out, step)?;
        }
        writeln!(out)?;
    }
    for one in left_out {
        writeln!(out, "{}", print::paint(print::BOLD, &one.provider))?;
        writeln!(out, "  {}  {:<8} {}", word(Outcome::Failed), "settings", one.problem)?;
        fix(&mut out, &one.fix)?;
        writeln!(out)?;
    }
    let failed = examined.iter().filter(|one| !one.ok).count() + left_out.len();
    let all = examined.len() + left_out.len();
    let (style, verdict) = match failed {
        0 => (print::GOOD, format!("All well: {all} of {all} providers can be used.")),
        _ => (print::BAD, format!("{failed} of {all} providers cannot be used.")),
    };
    writeln!(out, "{}", print::paint(style, verdict))?;
    Ok(())
}

fn about(one: &Examination) -> String {
    print::paint(print::DIM, format!("{} at {}", one.kind, one.base_url))
}

fn line(out: &mut impl Write, step: &Step) -> std::io::Result<()> {
    writeln!(out, "  {}  {:<8} {}", word(step.outcome), step.name, step.said)?;
    step.fix.as_deref().map_or(Ok(()), |sentence| fix(out, sentence))
}

fn fix(out: &mut impl Write, sentence: &str) -> std::io::Result<()> {
    if sentence.is_empty() {
        return Ok(());
    }
    writeln!(out, "          {} {sentence}", print::paint(print::NOTE, "fix:"))
}

/// Four columns wide, as a screen reader or a log shows it too.
fn word(outcome: Outcome) -> String {
    match outcome {
        Outcome::Ok => print::paint(print::GOOD, "ok  "),
        Outcome::Note => print::paint(print::NOTE, "note"),
        Outcome::Failed => print::paint(print::BAD, "FAIL"),
    }
}

impl Serves {
    /// The fronts in words: what it serves, and what is learnt when it is used.
    fn sentence(&self) -> String {
        let list = |words: &[&str]| words.join(", ");
        match (self.yes.is_empty(), self.learnt_on_use.is_empty()) {
            (false, true) => list(&self.yes),
            (false, false) => format!("{}; learnt on use: {}", list(&self.yes), list(&self.learnt_on_use)),
            (true, false) => format!("learnt on use: {}", list(&self.learnt_on_use)),
            (true, true) => "nothing".into(),
        }
    }
}
