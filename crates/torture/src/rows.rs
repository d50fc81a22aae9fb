//! The rows of the matrix: every fault of the simulated engine, and what needs more than one fault to happen.

use simulator::{Fault, Injection};

use crate::front::{Dialect, Front};

/// How a scenario goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// One call that meets the fault.
    Once,
    /// One call; only the first request that reaches the engine meets the fault.
    FirstOnly,
    /// Two calls one after the other, on a connection that dies when it is used again. Nothing else may be under way.
    Reuse,
    /// Two calls; the first fails, so that the second is turned away by the breaker.
    Again,
    /// The client closes its connection once the engine has the request.
    LeaveEarly,
    /// The client closes its connection after the first event.
    LeaveLate,
    /// The client resets its connection after the first event.
    ResetLate,
    /// The client reads a large answer slowly, to its end.
    ReadSlowly,
    /// The engine is gone since its models became known.
    Gone,
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its name: the second half of a scenario's id.
    pub(crate) name: String,
    /// What happens, in one sentence.
    pub(crate) about: String,
    /// What the engine does.
    pub(crate) injection: Injection,
    pub(crate) manner: Manner,
}

/// Faults that occur with other numbers than their usual ones.
const NUMBERED: &[&str] = &[
    "status:400",
    "status:401",
    "status:403",
    "status:404",
    "status:422",
    "status:429",
    "status:502",
    "status:503",
    "retry-after-seconds:503",
    "retry-after-ms:503",
    "error-200:400",
    "error-200:429",
    "error-200:503",
    "error-first-event:429",
    "error-later-event:400",
    "error-tells-key:500",
    "html:502",
    "empty:503",
    "stall-before-head:300",
    "stall-after-head:300",
    "stall-mid-event:300",
    "stall-between-events:300",
];

/// Faults after which a second request is answered well.
const PASSING: &[&str] = &[
    "status:503",
    "status:429",
    "retry-after-ms:503",
    "error-200:503",
    "error-first-event:503",
    "close-before-head",
    "reset-before-head",
    "close-after-head",
];

/// A fault with its usual numbers, save where the engine itself would be busy for long.
fn usual(fault: Fault) -> Injection {
    match fault {
        Fault::GzipBomb => "gzip-bomb:8".parse().expect("the table names faults that exist"),
        fault => fault.into(),
    }
}

/// All rows, in the order of the matrix.
pub(crate) fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    for fault in Fault::ALL {
        let reuse = matches!(fault, Fault::CloseOnReuse | Fault::ResetOnReuse);
        let manner = if reuse { Manner::Reuse } else { Manner::Once };
        rows.push(Row {
            name: fault.name().to_owned(),
            about: fault.about().to_owned(),
            injection: usual(*fault),
            manner,
        });
        let numbered = NUMBERED.iter().filter(|text| text.split(':').next() == Some(fault.name()));
        rows.extend(numbered.map(|text| of(text, text.replace(':', "-"), Manner::Once, "")));
    }
    rows.extend(PASSING.iter().map(|text| {
        let name = format!("once-{}", text.replace(':', "-"));
        of(text, name, Manner::FirstOnly, " Only the first request meets it.")
    }));
    let special = [
        ("status:500", "breaker-refuses", Manner::Again, "A second call after one that opened the breaker."),
        (
            "stall-before-head",
            "client-leaves-early",
            Manner::LeaveEarly,
            "The client leaves while the engine is silent.",
        ),
        (
            "stall-between-events:0:2",
            "client-leaves-late",
            Manner::LeaveLate,
            "The client leaves after two events.",
        ),
        (
            "stall-between-events:0:2",
            "client-resets-late",
            Manner::ResetLate,
            "The client resets its connection after two events.",
        ),
        (
            "huge-event:1",
            "client-reads-slowly",
            Manner::ReadSlowly,
            "The client takes four seconds for a mebibyte.",
        ),
        ("status:500", "engine-gone", Manner::Gone, "The engine has gone since its models became known."),
    ];
    rows.extend(special.map(|(text, name, manner, about)| Row {
        about: about.to_owned(),
        ..of(text, name.to_owned(), manner, "")
    }));
    rows
}

fn of(text: &str, name: String, manner: Manner, more: &str) -> Row {
    let injection: Injection = text.parse().expect("the table names faults that exist");
    Row { name, about: format!("{}{more}", injection.fault().about()), injection, manner }
}

impl Row {
    /// Whether there is such a scenario on a front.
    pub(crate) fn applies(&self, front: Front) -> bool {
        let fault = self.injection.fault();
        let streamed = matches!(self.manner, Manner::LeaveLate | Manner::ResetLate)
            || fault == Fault::ErrorFirstEvent && self.manner == Manner::FirstOnly;
        let spoken = !matches!(front.dialect, Dialect::Embeddings | Dialect::Rerank);
        let is_of_streams = fault.name().starts_with("error-first-") || fault == Fault::EmptyStream;
        let senseless = match front.dialect {
            // the passthrough asks no breaker
            Dialect::Foreign => self.manner == Manner::Again,
            // a text has no members
            Dialect::Text => fault == Fault::ErrorNull,
            _ => false,
        };
        (front.stream || !streamed)
            && fault.applies(front.path(), front.stream)
            && (spoken || !is_of_streams)
            && !senseless
    }
}
