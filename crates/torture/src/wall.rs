//! A run: calls that meet faults, calls beside them, and in the end the evidence.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::Value;
use simulator::{Fault, Seen};

use crate::client::{self, Asking, Door, Ending, Heard, Until};
use crate::engines::{Engines, STEADY, UPSTREAM_KEY};
use crate::front::{Dialect, Front};
use crate::inside::{self, Figures, Inside};
use crate::judge::{self, Connections, Evidence, View};
use crate::plan::{Plan, Scenario};
use crate::report::{Report, State};
use crate::rows::{self, Manner};
use crate::told;
use crate::truth::Expected;

/// No call may take longer.
const LIMIT: Duration = Duration::from_secs(30);

/// What was begun before the end may take so long to be over.
const SETTLING: Duration = Duration::from_secs(10);

/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(20);

/// Our own gateway may never hold more than this, whatever the engines send: 8 MiB compressed, 10 in one event, events
/// without end.
const MEMORY: u64 = 256 << 20;

/// So many bytes a second a client reads that takes its time.
const SLOWLY: u32 = 256 << 10;

/// So much of an answer without end is enough.
const ENOUGH: usize = 4 << 20;

/// What stands before the engines.
#[derive(Debug)]
pub struct Gateway {
    /// What the report calls it.
    pub name: String,
    /// Where it is.
    pub door: Door,
    /// What the engines' models are called there.
    pub names: Names,
    /// What can be seen from inside.
    pub inside: Option<Inside>,
}

/// What the engines' models are called at the gateway: `{model}` stands for the engine's own name.
#[derive(Clone, Debug)]
pub struct Names {
    /// Those of the engine that goes wrong.
    pub faulty: String,
    /// Those of the healthy engine, if the gateway knows it.
    pub steady: Option<String>,
    /// Those of the engine that goes wrong, under short time limits: for silence that only such a limit ends.
    pub hasty: String,
    /// Those of the engine that goes away.
    pub mortal: String,
    /// Those of the engine that goes wrong, for calls that bring a file: our own gateway keeps 1,024 breakers for an
    /// instance, and there are more scenarios than that.
    pub speech: String,
}

impl Names {
    fn of(&self, scenario: &Scenario) -> &str {
        match scenario.row.manner {
            Manner::Gone => &self.mortal,
            _ if Expected::of(scenario).waits => &self.hasty,
            _ if scenario.front.hears() => &self.speech,
            _ => &self.faulty,
        }
    }
}

fn filled(pattern: &str, model: &str) -> String {
    pattern.replace("{model}", model)
}

/// The instance in a pattern.
fn provider(pattern: &str) -> &str {
    pattern.split('/').next().unwrap_or_default()
}

/// A scenario that was played.
struct Played<'a> {
    scenario: &'a Scenario,
    calls: Vec<Heard>,
    probes: Vec<Heard>,
}

/// One run.
struct Wall<'a> {
    engines: &'a Engines,
    gateway: &'a Gateway,
    seed: u64,
    /// Calls to the healthy instance so far.
    probes: AtomicUsize,
}

/// Plays all scenarios, `jobs` at a time, and judges them. `told` hears how many are over.
///
/// # Errors
/// If the healthy engine does not answer, with nothing before it.
pub async fn run(
    plan: &Plan,
    engines: &Engines,
    gateway: &Gateway,
    jobs: usize,
    told: impl Fn(usize),
) -> Result<Report, String> {
    let wall = Wall { engines, gateway, seed: plan.seed, probes: AtomicUsize::new(0) };
    let probe_text = wall.reference().await?;
    let over = AtomicUsize::new(0);
    let (one, counted, told) = (&wall, &over, &told);
    let played = |scenario| async move {
        let played = one.play(scenario).await;
        told(counted.fetch_add(1, Ordering::Relaxed) + 1);
        played
    };
    let of = |test: fn(Manner) -> bool| plan.scenarios.iter().filter(move |one| test(one.row.manner));
    let at_once = of(|manner| !matches!(manner, Manner::Gone | Manner::Reuse));
    let mut all: Vec<Played<'_>> =
        stream::iter(at_once).map(played).buffer_unordered(jobs.max(1)).collect().await;
    engines.bury().await;
    let gone = of(|manner| manner == Manner::Gone);
    all.extend(stream::iter(gone).map(played).buffer_unordered(jobs.max(1)).collect::<Vec<_>>().await);
    for scenario in of(|manner| manner == Manner::Reuse) {
        all.push(played(scenario).await);
    }
    let last = wall.probe("afterwards").await;
    Ok(wall.judge(plan, &all, last, &probe_text).await)
}

impl Wall<'_> {
    /// What the healthy engine says when nothing is before it.
    async fn reference(&self) -> Result<String, String> {
        let door = Door {
            address: self.engines.steady().to_string(),
            prefix: String::new(),
            key: Some(UPSTREAM_KEY.to_owned()),
        };
        let heard =
            client::call(&door, &probe(STEADY, "reference".to_owned()), Until::End, LIMIT, never()).await;
        if heard.status != Some(200) {
            return Err(format!("the simulated engine does not answer: {:?}", heard.ending));
        }
        Ok(told::whole(Dialect::Chat, &heard.body).text)
    }

    /// Asks the healthy instance.
    async fn probe(&self, why: &str) -> Option<Heard> {
        let pattern = self.gateway.names.steady.as_ref()?;
        let number = self.probes.fetch_add(1, Ordering::Relaxed);
        let asking = probe(&filled(pattern, STEADY), format!("torture-{}-{why}-{number}", self.seed));
        Some(client::call(&self.gateway.door, &asking, Until::End, LIMIT, never()).await)
    }

    async fn play<'a>(&self, scenario: &'a Scenario) -> Played<'a> {
        let mut calls = Vec::new();
        if matches!(scenario.row.manner, Manner::Reuse | Manner::Again) {
            calls.push(self.call(scenario, 1).await);
        }
        let (call, beside) = tokio::join!(self.call(scenario, 2), self.probe("beside"));
        calls.push(call);
        let after = self.probe("after").await;
        Played { scenario, calls, probes: beside.into_iter().chain(after).collect() }
    }

    async fn call(&self, scenario: &Scenario, number: usize) -> Heard {
        let Scenario { front, row, model, .. } = scenario;
        let (fault, pattern) = (row.injection.fault(), self.gateway.names.of(scenario));
        // on the passthrough the instance stands in the path, and the model's name is the engine's own
        let name = if front.dialect == Dialect::Foreign { model.clone() } else { filled(pattern, model) };
        let asking = Asking {
            path: front.path_at(provider(pattern)),
            kind: front.kind(),
            body: Some(scenario.request(&name)),
            id: format!("torture-{}-{model}-{number}", self.seed),
            resets: row.manner == Manner::ResetLate,
            pace: (row.manner == Manner::ReadSlowly).then_some(SLOWLY),
        };
        let until = match row.manner {
            Manner::LeaveLate | Manner::ResetLate => Until::Events(2),
            _ if matches!(fault, Fault::Endless | Fault::EndlessEvent) => Until::Bytes(ENOUGH),
            _ => Until::End,
        };
        let leave = async {
            if row.manner == Manner::LeaveEarly { self.arrived(model).await } else { never().await }
        };
        client::call(&self.gateway.door, &asking, until, LIMIT, leave).await
    }

    /// Waits until the engine has a request for a model.
    async fn arrived(&self, model: &str) {
        while !self.engines.faulty.seen().iter().any(|seen| seen.model.as_deref() == Some(model)) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What the engines got, by model, once nothing is under way any more and what must be closed had its time.
    async fn settled(&self, plan: &Plan) -> (HashMap<String, Vec<Seen>>, Connections) {
        let spoilt: HashSet<&str> = plan
            .scenarios
            .iter()
            .filter(|scenario| Expected::of(scenario).spoils)
            .map(|scenario| scenario.model.as_str())
            .collect();
        let until = Instant::now() + SETTLING;
        loop {
            let seen = self.engines.faulty.seen();
            let connections = Connections {
                open: self.engines.faulty.open_connections().into_iter().collect(),
                last: seen.iter().map(|seen| (seen.connection, seen.at)).collect(),
            };
            let busy = |seen: &Seen| {
                let open = || connections.open.contains(&seen.connection);
                seen.ended.is_none()
                    || open() && seen.model.as_deref().is_some_and(|model| spoilt.contains(model))
            };
            if Instant::now() > until || !seen.iter().any(busy) {
                let mut by_model: HashMap<String, Vec<Seen>> = HashMap::new();
                for one in seen {
                    if let Some(model) = one.model.clone() {
                        by_model.entry(model).or_default().push(one);
                    }
                }
                return (by_model, connections);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What the gateway says of itself, once it has told of every call.
    async fn view(&self, inside: &Inside, ids: &[&str]) -> View {
        let mut log = inside.log.clone();
        let told = log.wait_for(|log| {
            let calls = inside::calls(log);
            log.over || ids.iter().all(|id| calls.contains_key(*id))
        });
        // what is missing then is missing
        let _ = tokio::time::timeout(SETTLING, told).await;
        let until = Instant::now() + SETTLING;
        loop {
            let asking = Asking {
                path: inside.metrics.to_owned(),
                kind: "",
                body: None,
                id: "metrics".to_owned(),
                resets: false,
                pace: None,
            };
            let page = client::call(&self.gateway.door, &asking, Until::End, LIMIT, never()).await;
            let figures = Figures::read(&String::from_utf8_lossy(&page.body));
            let calls = inside::calls(&inside.log.borrow());
            let lines: usize = calls.values().map(Vec::len).sum();
            let (idle, open) = self.connections(&figures);
            // a call that is counted just now is told in a moment, and a connection that is closed just now is closed
            if figures.sum("ferrovia_calls_total", &[]) == lines as f64 && idle == open
                || Instant::now() > until
            {
                return View { calls, figures, idle, open };
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How many connections the gateway keeps for later, and how many the engines have open.
    fn connections(&self, figures: &Figures) -> (usize, usize) {
        let open = [&self.engines.faulty, &self.engines.steady].map(|engine| engine.open_connections().len());
        (figures.sum("ferrovia_idle_connections", &[]) as usize, open.iter().sum())
    }

    async fn judge(&self, plan: &Plan, all: &[Played<'_>], last: Option<Heard>, probe_text: &str) -> Report {
        let (seen, connections) = self.settled(plan).await;
        let ids: Vec<&str> = all
            .iter()
            .flat_map(|played| played.calls.iter().chain(&played.probes))
            .chain(&last)
            .map(|heard| heard.id.as_str())
            .collect();
        let view = match &self.gateway.inside {
            Some(inside) => Some(self.view(inside, &ids).await),
            None => None,
        };
        let secrets = self.secrets(&seen);
        let mut scenarios: Vec<_> = all
            .iter()
            .map(|played| {
                let pattern = self.gateway.names.of(played.scenario);
                judge::judge(&Evidence {
                    scenario: played.scenario,
                    expected: Expected::of(played.scenario),
                    own: plan.own,
                    calls: &played.calls,
                    probes: &played.probes,
                    probe_text,
                    seen: seen.get(&played.scenario.model).map_or(&[], Vec::as_slice),
                    connections: &connections,
                    secrets: &secrets,
                    inside: view.as_ref(),
                    provider: provider(pattern),
                })
            })
            .collect();
        let names: Vec<String> = rows::all().into_iter().map(|row| row.name).collect();
        scenarios.sort_by_key(|scored| {
            let row = names.iter().position(|name| *name == scored.fault);
            (row, Front::ALL.iter().position(|front| front.name() == scored.front))
        });
        let afterwards = self.afterwards(view.as_ref(), last.as_ref(), &secrets, all);
        Report { gateway: self.gateway.name.clone(), seed: plan.seed, scenarios, afterwards }
    }

    /// Every key that must not be told.
    fn secrets(&self, seen: &HashMap<String, Vec<Seen>>) -> Vec<String> {
        let inside = self.gateway.inside.iter().flat_map(|inside| inside.secrets.iter().cloned());
        let sent = seen.values().flatten().filter_map(|seen| {
            let value = seen.headers.get("authorization")?.to_str().ok()?;
            Some(value.strip_prefix("Bearer ").unwrap_or(value).to_owned())
        });
        let all: HashSet<String> = inside.chain(sent).chain(self.gateway.door.key.clone()).collect();
        all.into_iter().filter(|secret| secret.len() >= 8).collect()
    }

    /// What is looked at once.
    fn afterwards(
        &self,
        view: Option<&View>,
        last: Option<&Heard>,
        secrets: &[String],
        all: &[Played<'_>],
    ) -> Vec<(&'static str, State)> {
        let truth = |holds: bool, expected: &str, got: String| match holds {
            true => State::Passed,
            false => State::Failed { expected: expected.to_owned(), got },
        };
        let answers = match last {
            None => State::NotSeen,
            Some(last) => {
                truth(last.status == Some(200), "200", format!("{:?}, {:?}", last.status, last.ending))
            }
        };
        let mut checks = vec![("the gateway still answers", answers)];
        let (Some(view), Some(inside)) = (view, &self.gateway.inside) else { return checks };
        let log = inside.log.borrow();
        let lines: usize = view.calls.values().map(Vec::len).sum();
        let counted = view.figures.sum("ferrovia_calls_total", &[]);
        let figure = |name: &str| view.figures.sum(name, &[]);
        let open: Vec<f64> = [
            "gomodel_requests_in_flight",
            "ferrovia_requests_open",
            "ferrovia_request_memory_bytes",
            "ferrovia_upload_spool_bytes",
        ]
        .map(figure)
        .into();
        let steady = self.gateway.names.steady.as_deref().unwrap_or_default();
        let memory = match inside::peak_memory(inside.process) {
            None => State::NotSeen,
            Some(peak) => truth(peak < MEMORY, "less", format!("{} MiB", peak >> 20)),
        };
        let deployment = filled(steady, STEADY);
        let healthy = view.figures.sum("ferrovia_breaker_open", &[("deployment", &deployment)]);
        let probes: Vec<&str> =
            all.iter().flat_map(|played| &played.probes).map(|probe| probe.id.as_str()).collect();
        let complete = |line: &Value| line["outcome"] == "complete" && line["attempts"] == 1;
        let whole =
            |id: &&&str| matches!(view.calls.get(**id).map(Vec::as_slice), Some([line]) if complete(line));
        let told = probes.iter().filter(whole).count();
        checks.extend([
            (
                "the log tells of every call once, and the figures count as many",
                truth(counted == lines as f64, "as many", format!("{lines} lines, {counted} counted")),
            ),
            (
                "every call of the healthy instance is one line, complete at the first attempt",
                truth(told == probes.len(), "all of them", format!("{told} of {}", probes.len())),
            ),
            (
                "nothing is under way and nothing is held in memory or on disk",
                truth(open.iter().all(|figure| *figure == 0.0), "0, 0, 0, 0", format!("{open:?}")),
            ),
            (
                "the engines' open connections are those that the gateway keeps for later",
                truth(view.idle == view.open, "as many", format!("{} open, {} kept", view.open, view.idle)),
            ),
            ("its memory stayed below 256 MiB", memory),
            ("the healthy instance's breaker is closed", truth(healthy == 0.0, "closed", "open".to_owned())),
            (
                "no key stands in the log",
                truth(
                    !secrets.iter().any(|secret| log.text.contains(secret.as_str())),
                    "none",
                    "one".to_owned(),
                ),
            ),
            ("nothing panicked", truth(!log.text.contains("panicked at"), "no panic", "one".to_owned())),
        ]);
        checks
    }
}

/// The question for the healthy instance.
fn probe(model: &str, id: String) -> Asking {
    let front = Front { dialect: Dialect::Chat, stream: false };
    let body = front.request(model, "Is everything well on the other track?", false, false);
    Asking {
        path: front.path().to_owned(),
        kind: front.kind(),
        body: Some(body),
        id,
        resets: false,
        pace: None,
    }
}

async fn never() {
    std::future::pending().await
}

impl Gateway {
    /// Waits until the gateway knows the engines: a call to the healthy model is answered, or, where it knows none, one to
    /// the other's. At most for `patience`.
    ///
    /// # Errors
    /// What it said last.
    pub async fn ready(&self, patience: Duration) -> Result<(), String> {
        let calm = || filled(&self.names.faulty, "calm");
        let mut models = vec![calm()];
        models.extend(self.names.steady.as_ref().map(|pattern| filled(pattern, STEADY)));
        let until = Instant::now() + patience;
        for model in models {
            loop {
                let heard = client::call(
                    &self.door,
                    &probe(&model, "torture-ready".to_owned()),
                    Until::End,
                    LIMIT,
                    never(),
                )
                .await;
                if heard.status == Some(200) {
                    break;
                }
                if Instant::now() > until {
                    let said = match &heard.ending {
                        Ending::Nothing(why) => why.clone(),
                        _ => String::from_utf8_lossy(&heard.body).chars().take(300).collect(),
                    };
                    return Err(format!("the gateway does not answer for the model {model}: {said}"));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }
}
