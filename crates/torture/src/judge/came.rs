//! How a call ended, told from what was heard and what the engine had sent: where the two do not fit, it is a lie.

use std::fmt;

use simulator::Seen;

use super::Evidence;
use crate::client::{Ending, Heard};
use crate::engines::RECORDED;
use crate::front::{Dialect, Front};
use crate::told::{self, Told};
use crate::truth::Truth;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Whole,
    /// What the engine sent, to the end that its framing gave it.
    Relayed,
    Refused(u16),
    Late,
    Failed,
    Cut,
    Left,
    /// What was said is not what happened.
    Lie(String),
}

impl Came {
    /// Whether this is what is meant.
    pub(super) fn is(&self, truth: &Truth) -> bool {
        match (self, truth) {
            (Came::Refused(status), Truth::Refused(allowed)) => {
                allowed.is_empty() || allowed.contains(status)
            }
            (Came::Whole, Truth::Whole)
            | (Came::Relayed, Truth::Relayed)
            | (Came::Late, Truth::Late)
            | (Came::Failed, Truth::Failed)
            | (Came::Cut, Truth::Cut)
            | (Came::Left, Truth::Left) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Came {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Came::Whole => out.write_str("the whole answer"),
            Came::Relayed => out.write_str("what the engine sent, as it was"),
            Came::Refused(status) => write!(out, "a refusal with {status}"),
            Came::Late => out.write_str("a stream that ends with an error event"),
            Came::Failed => out.write_str("an answer that says it failed"),
            Came::Cut => out.write_str("an answer that is cut off"),
            Came::Left => out.write_str("the client left"),
            Came::Lie(lie) => out.write_str(lie),
        }
    }
}

/// What is meant, in words.
pub(super) fn words(truth: &Truth) -> String {
    match truth {
        Truth::Whole => Came::Whole.to_string(),
        Truth::Relayed => Came::Relayed.to_string(),
        Truth::Refused(statuses) if statuses.is_empty() => "a refusal".to_owned(),
        Truth::Refused(statuses) => {
            let statuses: Vec<String> = statuses.iter().map(u16::to_string).collect();
            format!("a refusal with {}", statuses.join(" or "))
        }
        Truth::Late => Came::Late.to_string(),
        Truth::Failed => Came::Failed.to_string(),
        Truth::Cut => Came::Cut.to_string(),
        Truth::Left => Came::Left.to_string(),
    }
}

/// What an engine has sent, as far as it can be read.
pub(super) fn sent(front: Front, seen: &Seen) -> Option<Told> {
    let packed = seen.sent.starts_with(&[0x1f, 0x8b]);
    if packed || seen.sent.len() >= RECORDED {
        return None;
    }
    let dialect = match front.dialect {
        heard if front.hears() => heard,
        // other routes of the engine's may have been tried
        _ => Front::dialect_of(path(seen))?,
    };
    Some(told::sniff(dialect, &seen.sent))
}

fn path(seen: &Seen) -> &str {
    seen.target.split('?').next().unwrap_or_default()
}

/// How the judged call ended.
pub(super) fn of(evidence: &Evidence<'_>) -> Came {
    let before = evidence.calls.len() - 1;
    for (at, call) in evidence.calls[..before].iter().enumerate() {
        // what leads there on a connection that dies later must be whole as well
        if evidence.scenario.row.manner == crate::rows::Manner::Reuse {
            let came = ended(evidence.scenario.front, call, evidence.seen.get(at));
            if !matches!(came, Came::Whole | Came::Relayed) {
                return Came::Lie(format!("{came}, at the first of two calls"));
            }
        }
    }
    ended(evidence.scenario.front, evidence.call(), evidence.source())
}

fn ended(front: Front, heard: &Heard, source: Option<&Seen>) -> Came {
    let lie = |text: &str| Came::Lie(text.to_owned());
    match (&heard.ending, heard.status) {
        (Ending::Left, _) => return Came::Left,
        (Ending::Nothing(why), _) => return Came::Lie(format!("no answer ({why})")),
        (Ending::Late, None) => return lie("no answer in time"),
        (Ending::Late, Some(_)) => return lie("an answer that does not end in time"),
        (Ending::Cut(_), Some(status)) if status >= 400 => return lie("a refusal that is cut off"),
        (_, Some(status)) if status >= 400 => return Came::Refused(status),
        (_, Some(status)) if status != 200 => return Came::Lie(format!("a status of {status}")),
        _ => {}
    }
    if front.dialect == Dialect::Foreign {
        return match source {
            _ if heard.ending != Ending::Clean => Came::Cut,
            Some(source) if source.status == heard.status => Came::Relayed,
            _ => lie("a success that no engine gave"),
        };
    }
    let told = told::read(front, &heard.body);
    if heard.ending != Ending::Clean {
        return if told.ended && front.stream {
            lie("a whole stream on a connection that breaks")
        } else {
            Came::Cut
        };
    }
    if told.failed {
        return Came::Failed;
    }
    if front.stream && !told.errors.is_empty() {
        return Came::Late;
    }
    if !told.errors.is_empty() {
        return lie("an error under status 200");
    }
    if let Some(broken) = told.broken {
        return Came::Lie(format!("a success that cannot be read: {broken}"));
    }
    if !told.ended {
        return lie(if front.stream {
            "a stream that just ends, without its last word and without an error"
        } else {
            "a success without an answer in it"
        });
    }
    let speaks = front.gives_reasons();
    if speaks && told.finishes.is_empty() {
        return lie("a success that gives no reason to end");
    }
    let Some(source) = source else { return lie("a success that no engine gave") };
    match sent(front, source) {
        Some(sent) if speaks && sent.finishes.is_empty() => {
            lie("a whole answer, although the engine never finished")
        }
        Some(sent) if sent.broken.is_some() => lie("a whole answer, although the engine's was broken"),
        Some(sent) if !sent.errors.is_empty() => lie("a whole answer, although the engine told of an error"),
        _ => Came::Whole,
    }
}
