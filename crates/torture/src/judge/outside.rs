//! What can be seen of any gateway: headers, requests and connections at the engines, the neighbour, keys.

use std::time::Duration;

use super::came::Came;
use super::{Complaint, Evidence, complain, relayed, same};
use crate::client::{Ending, Heard};
use crate::engines::was_left;
use crate::front::{Dialect, Front};
use crate::rows::Manner;
use crate::told;
use crate::truth::ComesBack;

/// How soon an engine must notice that its client's client has left.
const SOON: Duration = Duration::from_secs(5);

/// The head of the answer.
pub(super) fn headers(evidence: &Evidence<'_>, came: &Came) -> Result<(), Complaint> {
    let heard = evidence.call();
    if heard.status.is_none() {
        return Ok(());
    }
    if evidence.scenario.front.dialect == Dialect::Foreign && relayed::is_the_engines(evidence, came) {
        same("x-request-id", &Some(heard.id.as_str()), &heard.header("x-request-id"))?;
        relayed::headers(evidence, heard)?;
        return if matches!(came, Came::Refused(_)) { comes_back(evidence, heard) } else { Ok(()) };
    }
    let kind = heard.header("content-type").unwrap_or("none");
    let streams = evidence.scenario.front.stream && !matches!(came, Came::Refused(_));
    let texts = evidence.scenario.front.dialect == Dialect::Text && !matches!(came, Came::Refused(_));
    let wanted = match (streams, texts) {
        (true, _) => "text/event-stream",
        (_, true) => "text/plain",
        _ => "application/json",
    };
    if !kind.starts_with(wanted) && !matches!(came, Came::Lie(_)) {
        return complain(format!("content-type {wanted}"), kind);
    }
    if evidence.own {
        same("x-request-id", &Some(heard.id.as_str()), &heard.header("x-request-id"))?;
        for name in ["server", "set-cookie", "vary", "content-encoding"] {
            if let Some(value) =
                heard.header(name).filter(|value| value.contains("uvicorn") || name != "server")
            {
                return complain(format!("no header of the engine's such as {name}"), value);
            }
        }
    }
    if matches!(came, Came::Refused(_)) { comes_back(evidence, heard) } else { Ok(()) }
}

fn comes_back(evidence: &Evidence<'_>, heard: &Heard) -> Result<(), Complaint> {
    let (after, milliseconds) = (heard.header("retry-after"), heard.header("retry-after-ms"));
    match evidence.expected.comes_back {
        ComesBack::Anything => Ok(()),
        ComesBack::After(value) => same("retry-after", &Some(value), &after),
        ComesBack::Milliseconds(value) => same("retry-after-ms", &Some(value), &milliseconds),
        ComesBack::Nothing => same("retry-after", &None, &after),
        ComesBack::Perhaps(value) => match after {
            None => Ok(()),
            told => same("retry-after", &Some(value), &told),
        },
        ComesBack::Date if after.is_some_and(|value| value.ends_with(" GMT")) => Ok(()),
        ComesBack::Date => complain("retry-after with the engine's date", format!("{after:?}")),
        ComesBack::Seconds if after.is_some_and(|value| value.parse::<u32>().is_ok()) => Ok(()),
        ComesBack::Seconds => complain("retry-after in seconds", format!("{after:?}")),
    }
}

/// How many requests the engine got: none after the client had heard anything, and no more than it takes.
pub(super) fn retries(evidence: &Evidence<'_>, came: &Came) -> Result<(), Complaint> {
    let count = evidence.seen.len();
    let scenario = evidence.scenario;
    let times = |least: usize, most: usize| {
        if (least..=most).contains(&count) {
            return Ok(());
        }
        let range = if least == most { format!("{least}") } else { format!("{least} to {most}") };
        complain(format!("{range} requests at the engine"), format!("{count}"))
    };
    let once = evidence.own && scenario.front.asks_once();
    match scenario.row.manner {
        Manner::Gone => times(0, 0),
        Manner::Again => times(1, 1),
        // what was begun may have been done; a connection that was kept and died before it said anything is another thing
        Manner::FirstOnly | Manner::Once if once => {
            let stale =
                scenario.row.name.contains("before-head") && scenario.front.dialect == Dialect::Foreign;
            times(1, if stale { 2 } else { 1 })
        }
        Manner::Reuse => times(2, 2),
        Manner::FirstOnly if evidence.own => times(2, 2),
        // a 404 about nobody knows what is tried on other routes
        Manner::Once if matches!(came, Came::Refused(404 | 501)) => times(1, 12),
        // two retries, and a connection that died before a byte came back may be replaced each time
        Manner::Once if matches!(came, Came::Refused(_)) && evidence.expected.retries => {
            let stale = scenario.row.name.contains("before-head");
            times(
                1,
                if !evidence.own {
                    8
                } else if stale {
                    6
                } else {
                    3
                },
            )
        }
        Manner::FirstOnly => times(1, 8),
        _ if matches!(came, Came::Refused(_)) && !evidence.own => times(1, 8),
        Manner::Once | Manner::LeaveEarly | Manner::LeaveLate | Manner::ResetLate | Manner::ReadSlowly => {
            times(1, 1)
        }
    }
}

/// What became of the engine's connections.
pub(super) fn connection(evidence: &Evidence<'_>) -> Result<(), Complaint> {
    let left =
        matches!(evidence.scenario.row.manner, Manner::LeaveEarly | Manner::LeaveLate | Manner::ResetLate);
    for seen in evidence.seen {
        if seen.ended.is_none() {
            return complain("no request still under way", "one that the gateway has not let go of");
        }
        if left {
            if !was_left(seen) {
                return complain("a connection closed before the answer's end", format!("{:?}", seen.ended));
            }
            if let Some(simulator::Ending::Aborted { at, .. }) = seen.ended
                && at.saturating_duration_since(evidence.call().ended) > SOON
            {
                return complain(
                    format!("a connection closed within {SOON:?} of the client's leaving"),
                    "later",
                );
            }
        }
        if !evidence.expected.spoils {
            continue;
        }
        if evidence.connections.open.contains(&seen.connection) {
            return complain("a spoilt connection closed", "it is still open");
        }
        if evidence.connections.last.get(&seen.connection).is_some_and(|last| *last > seen.at) {
            return complain("a spoilt connection never used again", "it was");
        }
    }
    Ok(())
}

/// The healthy instance answers as ever, and does not wait for the broken one.
pub(super) fn neighbour(evidence: &Evidence<'_>) -> Result<(), Complaint> {
    let front = Front { dialect: Dialect::Chat, stream: false };
    for probe in evidence.probes {
        if (probe.status, &probe.ending) != (Some(200), &Ending::Clean) {
            return complain(
                "200 from the healthy instance",
                format!("{:?}, {:?}", probe.status, probe.ending),
            );
        }
        same(
            "the healthy instance's words",
            &evidence.probe_text,
            &told::read(front, &probe.body).text.as_str(),
        )?;
    }
    let beside = evidence.probes.first().filter(|_| evidence.expected.waits);
    if beside.is_some_and(|probe| probe.ended > evidence.call().ended) {
        return complain("an answer of the healthy instance during the other's silence", "one after it");
    }
    Ok(())
}

/// No key is told to anybody.
pub(super) fn secrets(evidence: &Evidence<'_>) -> Result<(), Complaint> {
    for heard in evidence.calls.iter().chain(evidence.probes) {
        let text = format!("{:?}{}", heard.headers, String::from_utf8_lossy(&heard.body));
        if evidence.secrets.iter().any(|secret| text.contains(secret.as_str())) {
            return complain("no key in what the client gets", "one");
        }
    }
    Ok(())
}
