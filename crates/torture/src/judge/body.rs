//! The answer itself: what passes must be what the engine sent, byte for byte, and what is added must be an honest error
//! in the client's dialect.

use serde_json::Value;
use simulator::{Fault, Seen};

use super::came::{self, Came};
use super::{Complaint, Evidence, complain, relayed, same};
use crate::client::{Ending, Heard};
use crate::engines::RECORDED;
use crate::front::Dialect;
use crate::rows::Manner;
use crate::told::{self, Told};

/// The marker that ends a stream of OpenAI's.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// Judges the body of a call that ended in this way.
pub(super) fn check(evidence: &Evidence<'_>, came: &Came) -> Result<(), Complaint> {
    let heard = evidence.call();
    let front = evidence.scenario.front;
    if evidence.own && (front.hears() || front.dialect == Dialect::Foreign) {
        asked(evidence)?;
    }
    if front.dialect == Dialect::Foreign {
        return relayed::check(evidence, came, heard);
    }
    match came {
        // the status says it already
        Came::Lie(_) | Came::Cut | Came::Relayed => Ok(()),
        Came::Refused(_) => refusal(evidence, heard),
        Came::Whole => {
            words(evidence, &told::read(front, &heard.body))?;
            if evidence.own { exact(evidence, heard, &heard.body, true) } else { Ok(()) }
        }
        Came::Failed if evidence.own => exact(evidence, heard, &heard.body, front.stream),
        Came::Failed => Ok(()),
        Came::Late => late(evidence, heard),
        Came::Left if evidence.own && front.stream => exact(evidence, heard, &heard.body, false),
        Came::Left => Ok(()),
    }
}

/// Every request at the engine is what the client sent, but for the model's name.
fn asked(evidence: &Evidence<'_>) -> Result<(), Complaint> {
    let meant = evidence.scenario.request(&evidence.scenario.model);
    let meant = (meant.len(), Seen::hash(&meant));
    for seen in evidence.seen {
        same(
            "a request of this length and hash at the engine:",
            &meant,
            &(seen.body_length, seen.body_hash),
        )?;
    }
    Ok(())
}

/// An error in the client's dialect, with a message.
pub(super) fn refusal(evidence: &Evidence<'_>, heard: &Heard) -> Result<(), Complaint> {
    let shown = || String::from_utf8_lossy(&heard.body[..heard.body.len().min(200)]).into_owned();
    let dialect = evidence.scenario.front.dialect;
    if !evidence.own {
        let told = told::whole(dialect, &heard.body);
        return if told.explains_itself() { Ok(()) } else { complain("an error with a message", shown()) };
    }
    let Ok(body) = serde_json::from_slice::<Value>(&heard.body) else {
        return complain("an error as JSON", shown());
    };
    let error = &body["error"];
    let anthropic = dialect == Dialect::Messages;
    let members: &[&str] =
        if anthropic { &["type", "message"] } else { &["type", "message", "param", "code"] };
    if members.iter().any(|name| error.get(name).is_none()) || anthropic && body["type"] != "error" {
        return complain(format!("an error with {}", members.join(", ")), shown());
    }
    let message = error["message"].as_str().unwrap_or_default();
    if message.is_empty() || message.contains('<') {
        return complain("a message for people", shown());
    }
    if evidence.scenario.row.manner == Manner::Again && !anthropic {
        return same("the code", &"circuit_breaker_open", &error["code"].as_str().unwrap_or_default());
    }
    Ok(())
}

/// The same words as the engine's.
fn words(evidence: &Evidence<'_>, told: &Told) -> Result<(), Complaint> {
    let front = evidence.scenario.front;
    let Some(sent) = evidence.source().and_then(|seen| came::sent(front, seen)) else { return Ok(()) };
    if told.more {
        return complain("nothing after the last word", "more");
    }
    let shorter =
        front.dialect == Dialect::Text && evidence.scenario.row.injection.fault() == Fault::LengthTooShort;
    if shorter { Ok(()) } else { same("the text", &sent.text, &told.text) }
}

/// One error at the end of what had passed, and nothing behind it.
fn late(evidence: &Evidence<'_>, heard: &Heard) -> Result<(), Complaint> {
    let front = evidence.scenario.front;
    let told = told::stream(front.dialect, &heard.body);
    if told.errors.len() > 1 {
        return complain("one error event", format!("{} of them", told.errors.len()));
    }
    if !told.explains_itself() {
        return complain("an error with a message", format!("{:?}", told.errors));
    }
    if told.ended && (evidence.own || front.dialect != Dialect::Chat && front.dialect != Dialect::Completions)
    {
        return complain("no last word", "a stream that failed and has its last word all the same");
    }
    if told.more && evidence.own {
        return complain("nothing after the error", "more");
    }
    if let Some(sent) = evidence.source().and_then(|seen| came::sent(front, seen))
        && told.finishes.iter().any(|finish| !sent.finishes.contains(finish))
    {
        return complain("no reason to end that the engine did not give", format!("{:?}", told.finishes));
    }
    if !evidence.own {
        return Ok(());
    }
    if heard.ending != Ending::Clean {
        return complain(
            "a body that ends cleanly, so that clients read the error",
            format!("{:?}", heard.ending),
        );
    }
    let fault = evidence.scenario.row.injection.fault();
    if !fault.name().starts_with("error-later") && front.dialect != Dialect::Messages {
        same("the code", &Some("stream_incomplete"), &told.code())?;
    }
    let events = told::events(&heard.body);
    let error = events.last().map_or(0, |event| event.len());
    let passed = &heard.body[..heard.body.len() - error];
    exact(evidence, heard, passed, false)?;
    // what had been sent before the fault must have arrived, unless it travelled with a reset or a bad frame
    let sure = !fault.name().starts_with("reset-") && fault != Fault::LengthTooShort;
    let before = fault.parameters().iter().find(|(name, _)| *name == "events").map_or(0, |(_, usual)| *usual);
    if sure && (events.len() as u64) < before + 1 {
        return complain(format!("{before} events before the error"), format!("{}", events.len() - 1));
    }
    Ok(())
}

/// Byte for byte what the engine sent: all of it up to its last word, or the beginning.
fn exact(evidence: &Evidence<'_>, heard: &Heard, body: &[u8], all: bool) -> Result<(), Complaint> {
    let Some(seen) = evidence.source() else { return Ok(()) };
    let sent = seen.sent.as_slice();
    let capped = sent.len() >= RECORDED;
    let fault = evidence.scenario.row.injection.fault();
    if heard.headers.contains_key("content-encoding") {
        return complain("a plain body", "a compressed one");
    }
    if fault == Fault::JsonForStream || sent.starts_with(&[0x1f, 0x8b]) {
        return Ok(()); // told in other bytes; the words were compared
    }
    if !evidence.scenario.front.stream {
        let sent = promised(evidence, sent);
        if evidence.scenario.front.dialect == Dialect::Text {
            let same = if capped { body.starts_with(sent) } else { body == sent };
            return if same { Ok(()) } else { complain("the engine's own bytes", "others") };
        }
        return whole(sent, body, capped);
    }
    let sent = &sent[..told::length(evidence.scenario.front.dialect, sent)];
    let hides = !evidence.scenario.asks_usage;
    let shown = told::events(sent).into_iter().filter(|event| !hides || !told::is_usage_alone(event));
    let sent = shown.collect::<Vec<_>>().concat();
    let sent = sent.as_slice();
    let passed = body.strip_suffix(DONE).filter(|_| !sent.ends_with(DONE)).unwrap_or(body);
    let common = sent.iter().zip(passed).take_while(|(one, other)| one == other).count();
    let enough = if all && !capped { common == sent.len() } else { common == passed.len().min(sent.len()) };
    if common < passed.len() && !capped || !enough {
        let at = |bytes: &[u8]| {
            let from = common.saturating_sub(20).min(bytes.len());
            String::from_utf8_lossy(&bytes[from..(common + 60).min(bytes.len())]).into_owned()
        };
        return complain(
            format!("the engine's own bytes, from byte {common}: {:?}", at(sent)),
            format!("{:?}", at(passed)),
        );
    }
    Ok(())
}

/// What of a whole answer its length promised.
pub(super) fn promised<'a>(evidence: &Evidence<'_>, sent: &'a [u8]) -> &'a [u8] {
    let injection = &evidence.scenario.row.injection;
    if injection.fault() != Fault::LengthTooShort || evidence.scenario.front.stream {
        return sent;
    }
    let fewer = injection.fault().parameters().first().map_or(0, |(_, usual)| *usual);
    &sent[..sent.len().saturating_sub(usize::try_from(fewer).unwrap_or(0))]
}

/// A whole answer: the engine's, with nothing but a `provider` member added before its last brace.
fn whole(sent: &[u8], body: &[u8], capped: bool) -> Result<(), Complaint> {
    if capped {
        let sent = sent.trim_ascii_end();
        let sent = sent.strip_suffix(b"}").unwrap_or(sent);
        return if body.starts_with(sent) { Ok(()) } else { complain("the engine's own bytes", "others") };
    }
    let before = sent.trim_ascii_end().strip_suffix(b"}").unwrap_or(sent);
    let rest = body.strip_prefix(before).map(<[u8]>::trim_ascii_end);
    match rest {
        Some(b"}") => Ok(()),
        Some(rest) if rest.starts_with(b",\"provider\":\"") && rest.ends_with(b"\"}") && rest.len() < 60 => {
            Ok(())
        }
        _ => complain("the engine's own bytes", String::from_utf8_lossy(&body[..body.len().min(300)])),
    }
}
