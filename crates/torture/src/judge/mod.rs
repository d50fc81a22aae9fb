//! Judging a scenario when all is over: pure functions of what was heard, what the engines saw and what the gateway said
//! of itself.

mod body;
mod came;
mod inside;
mod outside;
mod relayed;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use simulator::Seen;

use crate::client::Heard;
use crate::inside::Figures;
use crate::plan::Scenario;
use crate::report::{Check, Column, Scored};
use crate::rows::Manner;
use crate::truth::{Expected, Truth};

use came::Came;

/// What is known of one scenario.
pub(crate) struct Evidence<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) expected: Expected,
    /// The gateway is our own, and held to what we decided.
    pub(crate) own: bool,
    /// The calls, in order. The last one is what is judged; before it came what leads there.
    pub(crate) calls: &'a [Heard],
    /// The calls to the healthy instance: one beside, one afterwards; none if there is no such instance.
    pub(crate) probes: &'a [Heard],
    /// What the healthy instance says.
    pub(crate) probe_text: &'a str,
    /// What the engine got for this model, in order.
    pub(crate) seen: &'a [Seen],
    pub(crate) connections: &'a Connections,
    pub(crate) secrets: &'a [String],
    /// What the gateway says of itself, if it can be seen.
    pub(crate) inside: Option<&'a View>,
    /// The instance that was asked, as the gateway names it.
    pub(crate) provider: &'a str,
}

/// The engine's connections when all was over.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    /// Which are open.
    pub(crate) open: HashSet<u64>,
    /// When the last request came on each.
    pub(crate) last: HashMap<u64, std::time::Instant>,
}

/// What the gateway said of itself.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Lines about calls, by request id.
    pub(crate) calls: HashMap<String, Vec<Value>>,
    pub(crate) figures: Figures,
    /// Connections that it keeps for later, and those that the engines had open at that moment.
    pub(crate) idle: usize,
    pub(crate) open: usize,
}

/// Why a check fails: what should be, and what is.
type Complaint = (String, String);

/// A check that fails.
fn complain<T>(expected: impl Into<String>, got: impl Into<String>) -> Result<T, Complaint> {
    Err((expected.into(), got.into()))
}

/// A check of two things that should be the same.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, got: &T) -> Result<(), Complaint> {
    if expected == got { Ok(()) } else { complain(format!("{what} {expected:?}"), format!("{got:?}")) }
}

impl Evidence<'_> {
    /// The call that is judged.
    fn call(&self) -> &Heard {
        self.calls.last().expect("a scenario makes at least one call")
    }

    /// The request at the engine that its answer came from, if one did: a success before anything else.
    fn source(&self) -> Option<&Seen> {
        let answered = |seen: &&Seen| seen.status.is_some_and(|status| status < 400);
        let mut latest = self.seen.iter().rev();
        match self.scenario.row.manner {
            Manner::Again => None,
            _ => latest.clone().find(answered).or_else(|| latest.next()),
        }
    }

    fn allowed(&self) -> &[Truth] {
        if self.own { &self.expected.own } else { &self.expected.tolerated }
    }
}

/// Judges a scenario.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Scored {
    let came = came::of(evidence);
    let checks = Column::ALL.into_iter().map(|column| {
        let check = |complaint| Check::of(column, complaint);
        match column {
            Column::Status => check(status(evidence, &came)),
            Column::Headers => check(outside::headers(evidence, &came)),
            Column::Body => check(body::check(evidence, &came)),
            Column::Retries => check(outside::retries(evidence, &came)),
            Column::Connection => check(outside::connection(evidence)),
            Column::Neighbour if evidence.probes.is_empty() => Check::not_seen(column),
            Column::Neighbour => check(outside::neighbour(evidence)),
            Column::Secrets => check(outside::secrets(evidence)),
            Column::Log | Column::Accounting | Column::Breaker => match evidence.inside {
                None => Check::not_seen(column),
                Some(view) => check(match column {
                    Column::Log => inside::log(evidence, view, &came),
                    Column::Accounting => inside::accounting(evidence, view),
                    _ => inside::breaker(evidence, view, &came),
                }),
            },
        }
    });
    let checks = checks.collect();
    let Scenario { id, front, row, .. } = evidence.scenario;
    let (fault, about) = (row.name.clone(), row.about.clone());
    Scored { id: id.clone(), fault, front: front.name(), about, came: came.to_string(), checks }
}

/// Whether the call ended in one of the ways in which it may.
fn status(evidence: &Evidence<'_>, came: &Came) -> Result<(), Complaint> {
    let allowed = evidence.allowed();
    if allowed.iter().any(|truth| came.is(truth)) {
        return Ok(());
    }
    let words: Vec<String> = allowed.iter().map(came::words).collect();
    complain(words.join(" or "), came.to_string())
}
