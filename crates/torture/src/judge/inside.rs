//! What our own gateway says of itself: one true line in the log, figures that fit it, and a breaker that is open if and
//! only if the engine failed.

use serde_json::Value;
use simulator::Fault;

use super::came::{self, Came};
use super::{Complaint, Evidence, View, complain, same};
use crate::client::Heard;
use crate::front::Dialect;
use crate::rows::Manner;

/// What the log's word for the end is, the status in it, and whether that is the engine's failure.
fn meant(evidence: &Evidence<'_>, came: &Came, heard: &Heard) -> (&'static [&'static str], Option<u64>) {
    let status = heard.status.map(u64::from);
    match came {
        Came::Whole | Came::Relayed => (&["complete"], status),
        Came::Refused(status) if *status < 500 || *status == 501 => (&["refused"], Some(u64::from(*status))),
        Came::Refused(status) => (&["failed"], Some(u64::from(*status))),
        Came::Late | Came::Failed if !engine_failed(evidence, came) => (&["refused", "failed"], status),
        Came::Late | Came::Failed | Came::Cut => (&["failed"], status),
        Came::Left => (&["client_gone"], Some(status.unwrap_or(499))),
        Came::Lie(_) => (&["failed", "refused", "complete", "client_gone"], None),
    }
}

/// Whether the engine is to blame.
fn engine_failed(evidence: &Evidence<'_>, came: &Came) -> bool {
    let row = &evidence.scenario.row;
    match came {
        Came::Refused(status) => *status >= 500 && *status != 501,
        // an error that the engine calls the caller's own
        Came::Late if row.injection.fault().name().starts_with("error-later") => {
            row.injection.given().first().is_none_or(|code| *code >= 500)
        }
        Came::Late | Came::Failed | Came::Cut => true,
        Came::Whole | Came::Relayed | Came::Left | Came::Lie(_) => false,
    }
}

/// The one line about the call, if there is one.
fn line<'a>(view: &'a View, id: &str) -> Result<&'a Value, Complaint> {
    match view.calls.get(id).map_or(&[][..], Vec::as_slice) {
        [line] => Ok(line),
        lines => complain("one line about the call", format!("{}", lines.len())),
    }
}

/// The call's line in the log.
pub(super) fn log(evidence: &Evidence<'_>, view: &View, came: &Came) -> Result<(), Complaint> {
    for call in evidence.calls {
        line(view, &call.id)?;
    }
    let heard = evidence.call();
    let line = line(view, &heard.id)?;
    let scenario = evidence.scenario;
    let (outcomes, status) = meant(evidence, came, heard);
    let outcome = line["outcome"].as_str().unwrap_or_default();
    if !outcomes.contains(&outcome) {
        return complain(format!("outcome {}", outcomes.join(" or ")), outcome);
    }
    if status.is_some() {
        same("status", &status, &line["status"].as_u64())?;
    }
    same("stream", &Some(scenario.front.stream), &line["stream"].as_bool())?;
    same("provider", &Some(evidence.provider), &line["provider"].as_str())?;
    same("model", &Some(scenario.model.as_str()), &line["model"].as_str())?;
    let told = line["error"].as_str().is_some_and(|error| !error.is_empty());
    same("an error", &matches!(outcome, "failed" | "refused"), &told)?;
    let warned = matches!(came, Came::Refused(_) | Came::Late | Came::Failed | Came::Cut);
    if warned {
        let level = if engine_failed(evidence, came) { "WARN" } else { "INFO" };
        same("level", &Some(level), &line["level"].as_str())?;
    }
    attempts(evidence, view)?;
    tokens(evidence, came, line)
}

/// The requests that the log knows of are those that the engine got.
fn attempts(evidence: &Evidence<'_>, view: &View) -> Result<(), Complaint> {
    let told: u64 =
        evidence.calls.iter().filter_map(|call| line(view, &call.id).ok()?["attempts"].as_u64()).sum();
    let seen = evidence.seen.len() as u64;
    let manner = evidence.scenario.row.manner;
    // a connection that died before a byte came back is replaced without counting
    let stale = matches!(manner, Manner::Reuse) || evidence.scenario.row.name.contains("before-head");
    let fits = match manner {
        Manner::Gone => told >= 1,
        _ if stale => told <= seen && seen <= 2 * told,
        _ => told == seen,
    };
    if fits { Ok(()) } else { complain(format!("attempts {seen}, as the engine saw"), format!("{told}")) }
}

/// The tokens are those that the engine reported, or marked as an estimate, or none.
fn tokens(evidence: &Evidence<'_>, came: &Came, line: &Value) -> Result<(), Complaint> {
    let told = (line["input_tokens"].as_u64().unwrap_or(0), line["output_tokens"].as_u64().unwrap_or(0));
    let estimated = line["estimated"] == true;
    let front = evidence.scenario.front;
    let sent = evidence.source().and_then(|seen| came::sent(front, seen));
    let finished = sent.as_ref().is_some_and(|sent| sent.failed || !sent.finishes.is_empty());
    let seconds = sent.as_ref().and_then(|sent| sent.seconds).filter(|_| *came == Came::Whole);
    if seconds.is_some() {
        same("seconds of audio, as reported:", &seconds, &line["audio_seconds"].as_u64())?;
    }
    let reported = sent.and_then(|sent| sent.usage);
    // whoever says that it is something else, or less than it is, is not looked through
    let fault = evidence.scenario.row.injection.fault();
    let hidden = ["content-type-", "gzip"].iter().any(|begin| fault.name().starts_with(begin))
        || fault == Fault::LengthTooShort;
    match came {
        Came::Relayed if hidden && told == (0, 0) => Ok(()),
        Came::Whole | Came::Relayed => match reported {
            Some(reported) => {
                same("tokens in and out, as reported:", &reported, &told)?;
                same("estimated", &false, &estimated)
            }
            None => Ok(()),
        },
        _ if estimated || told == (0, 0) || finished && reported == Some(told) => Ok(()),
        _ => complain("tokens that are reported or marked as estimated", format!("{told:?}")),
    }
}

/// The figures add up to what the lines of the log say.
pub(super) fn accounting(evidence: &Evidence<'_>, view: &View) -> Result<(), Complaint> {
    let labels = [("provider_name", evidence.provider), ("model", evidence.scenario.model.as_str())];
    let sum = |name: &str, more: &[(&str, &str)]| {
        let labels: Vec<_> = labels.iter().chain(more).copied().collect();
        view.figures.sum(name, &labels)
    };
    let lines: Vec<&Value> = evidence.calls.iter().filter_map(|call| line(view, &call.id).ok()).collect();
    let sent: Vec<&&Value> = lines.iter().filter(|line| line["attempts"].as_u64() > Some(0)).collect();
    let count = |lines: &[&&Value], test: &dyn Fn(&Value) -> bool| {
        lines.iter().filter(|line| test(line)).count() as f64
    };
    let total = |member: &str| lines.iter().filter_map(|line| line[member].as_u64()).sum::<u64>() as f64;
    same("calls counted:", &(sent.len() as f64), &sum("gomodel_requests_total", &[]))?;
    let good = count(&sent, &|line| {
        matches!(line["outcome"].as_str(), Some("complete" | "client_gone"))
            && line["status"].as_u64() < Some(400)
    });
    same("successes counted:", &good, &sum("gomodel_requests_total", &[("status_type", "success")]))?;
    let retries = total("attempts") - sent.len() as f64;
    same("retries counted:", &retries, &sum("ferrovia_upstream_retries_total", &[]))?;
    same("tokens in, counted:", &total("input_tokens"), &sum("ferrovia_tokens_total", &[("kind", "input")]))?;
    same(
        "tokens out, counted:",
        &total("output_tokens"),
        &sum("ferrovia_tokens_total", &[("kind", "output")]),
    )
}

/// The breaker, which one failure opens in the wall's configuration.
pub(super) fn breaker(evidence: &Evidence<'_>, view: &View, came: &Came) -> Result<(), Complaint> {
    let deployment = format!("{}/{}", evidence.provider, evidence.scenario.model);
    let open = view.figures.sum("ferrovia_breaker_open", &[("deployment", &deployment)]) > 0.0;
    let failed = evidence.scenario.row.manner == Manner::Again || engine_failed(evidence, came);
    // the passthrough neither asks the breaker nor tells it
    let meant = failed && evidence.scenario.front.dialect != Dialect::Foreign;
    same("breaker open:", &meant, &open)
}
