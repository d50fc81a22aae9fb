//! The truth of the passthrough: what comes goes on as it is, and what breaks off breaks off. Nothing in it is ours to
//! understand, so an error inside a success is a success, and a request that may have been begun is not made again.

use simulator::Fault;

use super::{ComesBack, Truth, answers_with_a_status, code, lasts};
use crate::rows::{Manner, Row};

/// What we decided.
pub(super) fn own(row: &Row, stream: bool) -> Vec<Truth> {
    use Truth::{Cut, Left, Refused, Relayed};
    let refused = |status: u16| vec![Refused(vec![status])];
    match row.manner {
        Manner::LeaveEarly | Manner::LeaveLate | Manner::ResetLate => return vec![Left],
        Manner::Gone => return refused(502),
        Manner::Reuse | Manner::ReadSlowly => return vec![Relayed],
        // a connection that was kept and dies before it says anything is replaced, on whatever route
        Manner::FirstOnly if row.name.ends_with("before-head") => {
            return vec![Refused(vec![502]), Relayed];
        }
        Manner::FirstOnly | Manner::Again | Manner::Once => {}
    }
    let code = code(row);
    match row.injection.fault() {
        fault if answers_with_a_status(fault) => refused(code),
        Fault::Html | Fault::Empty if code >= 400 => refused(code),
        Fault::NoResponse => refused(504),
        Fault::StallBeforeHead if lasts(row) => refused(504),
        Fault::StallAfterHead | Fault::StallMidEvent | Fault::StallBetweenEvents if lasts(row) => vec![Cut],
        Fault::CloseBeforeHead | Fault::ResetBeforeHead | Fault::HalfCloseBeforeHead | Fault::TwoLengths => {
            refused(502)
        }
        Fault::LengthAndChunks => vec![Relayed, Refused(vec![502])],
        Fault::CloseAfterHead
        | Fault::CloseMidEvent
        | Fault::CloseBetweenEvents
        | Fault::HalfCloseAfterHead
        | Fault::HalfCloseMidEvent
        | Fault::HalfCloseBetweenEvents
        | Fault::Unterminated
        | Fault::LengthTooLong
        | Fault::BadChunkSize => vec![Cut],
        // a reset may take with it what had not been read, the head too
        Fault::ResetAfterHead | Fault::ResetMidEvent | Fault::ResetBetweenEvents => {
            vec![Cut, Refused(vec![502])]
        }
        // as many bytes as were promised are a whole body; a chunk that is longer than promised breaks all that follow
        Fault::LengthTooShort => vec![if stream { Cut } else { Relayed }],
        Fault::Endless | Fault::EndlessEvent => vec![Left, Cut],
        _ => vec![Relayed],
    }
}

/// Headers go on as they are, sense or not.
pub(super) fn comes_back(row: &Row, usual: ComesBack) -> ComesBack {
    match (row.injection.fault(), usual) {
        (Fault::RetryAfterNonsense | Fault::RetryAfterHuge, ComesBack::Perhaps(value)) => {
            ComesBack::After(value)
        }
        (_, usual) => usual,
    }
}
