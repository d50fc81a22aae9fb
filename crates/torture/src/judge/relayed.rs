//! The passthrough: everything as the engine sent it, head and body, as far as it came.

use simulator::Seen;

use super::body::{promised, refusal};
use super::came::Came;
use super::{Complaint, Evidence, complain, same};
use crate::client::Heard;
use crate::engines::RECORDED;

/// What is about one connection, or nobody's business: it does not go on.
const NOT_RELAYED: [&str; 4] = ["connection", "content-length", "set-cookie", "x-request-id"];

/// What stands where a secret stood.
const MASK: &str = "***";

/// Judges the body.
pub(super) fn check(evidence: &Evidence<'_>, came: &Came, heard: &Heard) -> Result<(), Complaint> {
    match came {
        Came::Refused(status) => match refused(evidence, *status) {
            Some(seen) => {
                let mut sent = String::from_utf8_lossy(&seen.sent).into_owned();
                for secret in evidence.secrets {
                    sent = sent.replace(secret.as_str(), MASK);
                }
                same("the engine's own refusal", &sent.as_str(), &&*String::from_utf8_lossy(&heard.body))
            }
            None => refusal(evidence, heard),
        },
        Came::Relayed => exact(evidence, heard, true),
        Came::Cut | Came::Left => exact(evidence, heard, false),
        _ => Ok(()),
    }
}

/// The engine's own refusal, if there was one that programs can read.
fn refused<'a>(evidence: &'a Evidence<'_>, status: u16) -> Option<&'a Seen> {
    let seen = evidence.source().filter(|seen| seen.status == Some(status))?;
    let json = serde_json::from_slice::<serde_json::Value>(&seen.sent).is_ok();
    json.then_some(seen)
}

/// Byte for byte what the engine sent: all of it, or the beginning.
fn exact(evidence: &Evidence<'_>, heard: &Heard, all: bool) -> Result<(), Complaint> {
    let Some(seen) = evidence.source() else { return Ok(()) };
    let sent = promised(evidence, &seen.sent);
    let common = sent.iter().zip(&heard.body).take_while(|(one, other)| one == other).count();
    let capped = seen.sent.len() >= RECORDED;
    let fits = if capped {
        // no more than this is remembered
        common == sent.len().min(heard.body.len()) && (!all || heard.body.len() >= sent.len())
    } else {
        common == heard.body.len() && (!all || common == sent.len())
    };
    if fits {
        return Ok(());
    }
    let after = |bytes: &[u8]| {
        let to = (common + 60).min(bytes.len());
        String::from_utf8_lossy(&bytes[common.min(to)..to]).into_owned()
    };
    complain(
        format!("the engine's own {} bytes, from byte {common}: {:?}", sent.len(), after(sent)),
        format!("{} bytes: {:?}", heard.body.len(), after(&heard.body)),
    )
}

/// Whether the head is the engine's own; if not, it is ours.
pub(super) fn is_the_engines(evidence: &Evidence<'_>, came: &Came) -> bool {
    match came {
        Came::Relayed | Came::Cut => true,
        Came::Left => evidence.call().status.is_some(),
        Came::Refused(status) => refused(evidence, *status).is_some(),
        _ => false,
    }
}

/// Every header of the engine's is there as it was.
pub(super) fn headers(evidence: &Evidence<'_>, heard: &Heard) -> Result<(), Complaint> {
    let Some(seen) = evidence.source() else { return Ok(()) };
    for (name, value) in seen.answer.iter().filter(|(name, _)| !NOT_RELAYED.contains(&name.as_str())) {
        if !heard.headers.get_all(name).iter().any(|got| got == value) {
            return complain(format!("{name}: {value:?}"), format!("{:?}", heard.headers.get(name)));
        }
    }
    let kind = "content-type";
    same(kind, &seen.answer.get(kind), &heard.headers.get(kind))
}
