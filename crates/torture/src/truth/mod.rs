//! What a truthful gateway may do about each fault: the table that everything is judged by.
//!
//! It follows what is decided for Ferrovia. Of a gateway that decided otherwise less is asked: [`Expected::tolerated`]
//! holds what is no lie although we do it differently.

mod relayed;

use simulator::Fault;

use crate::front::Dialect;
use crate::plan::Scenario;
use crate::rows::{Manner, Row};

/// One way in which a call may end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    /// The whole answer.
    Whole,
    /// What the engine sent, as it was: on the passthrough nobody asks what it says.
    Relayed,
    /// A refusal with one of these statuses; none: any from 400 on.
    Refused(Vec<u16>),
    /// A stream that began, and says in one error event that it failed.
    Late,
    /// An answer that says of itself, in the dialect's own words, that it failed.
    Failed,
    /// What arrived was cut off so that the client notices.
    Cut,
    /// The client left.
    Left,
}

/// What may be true of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// What we decided.
    pub(crate) own: Vec<Truth>,
    /// What else is no lie.
    pub(crate) tolerated: Vec<Truth>,
    /// Whether the connection to the engine is spoilt, so that it must be closed and never used again.
    pub(crate) spoils: bool,
    /// Whether the engine falls silent, so that only a time limit of the gateway's ends the call.
    pub(crate) waits: bool,
    /// Whether the same request may go out again, if it is refused in the end.
    pub(crate) retries: bool,
    /// What stands in the answer about when to come back.
    pub(crate) comes_back: ComesBack,
}

/// What a refusal says about when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ComesBack {
    /// It does not matter.
    Anything,
    /// Exactly this `retry-after`.
    After(&'static str),
    /// A `retry-after` that is a date.
    Date,
    /// This `retry-after-ms`.
    Milliseconds(&'static str),
    /// Nothing is invented.
    Nothing,
    /// This, or nothing: it makes no sense.
    Perhaps(&'static str),
    /// So many seconds, whatever their number.
    Seconds,
}

impl Expected {
    /// What may be true of this one.
    pub(crate) fn of(scenario: &Scenario) -> Expected {
        let Scenario { row, front, .. } = scenario;
        let own = match front.dialect {
            Dialect::Foreign => relayed::own(row, front.stream),
            _ => own(scenario),
        };
        let comes_back = match front.dialect {
            Dialect::Foreign => relayed::comes_back(row, comes_back(row)),
            _ => comes_back(row),
        };
        let sure = own == [Truth::Whole] && (is_sound(row.injection.fault()) || !lasts(row));
        let mut tolerated = own.clone();
        if !sure && row.manner == Manner::Once || row.manner == Manner::FirstOnly {
            tolerated.push(Truth::Refused(Vec::new()));
            if front.stream {
                tolerated.push(Truth::Late);
            }
            tolerated.push(Truth::Cut);
        }
        // who stores an upload may send it again
        if row.manner == Manner::FirstOnly {
            tolerated.push(Truth::Whole);
        }
        Expected {
            own,
            tolerated,
            spoils: spoils(row),
            waits: row.manner == Manner::Once && falls_silent(row),
            retries: !matches!(row.manner, Manner::Again) && !front.asks_once() && retries(row),
            comes_back,
        }
    }
}

fn code(row: &Row) -> u16 {
    let number = row.injection.given().first().copied();
    let usual = || row.injection.fault().parameters().first().map(|(_, usual)| *usual);
    number.or_else(usual).and_then(|code| u16::try_from(code).ok()).unwrap_or(0)
}

/// Whether all that the fault does is to answer with a status of its own.
fn answers_with_a_status(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Status
            | Fault::RetryAfterSeconds
            | Fault::RetryAfterDate
            | Fault::RetryAfterPast
            | Fault::RetryAfterMs
            | Fault::RetryAfterAbsent
            | Fault::RetryAfterNonsense
            | Fault::RetryAfterHuge
            | Fault::ErrorTellsKey
    )
}

/// Whether what happens lasts: a stall for so many milliseconds does not.
fn lasts(row: &Row) -> bool {
    !row.injection.fault().name().starts_with("stall-") || code(row) == 0
}

fn falls_silent(row: &Row) -> bool {
    let fault = row.injection.fault();
    fault == Fault::NoResponse || fault.name().starts_with("stall-") && lasts(row)
}

fn own(scenario: &Scenario) -> Vec<Truth> {
    use Truth::{Failed, Late, Left, Refused, Whole};
    let Scenario { row, front, asks_usage, .. } = scenario;
    match row.manner {
        // what has passed by cannot be sent again
        Manner::FirstOnly if front.asks_once() => {}
        Manner::FirstOnly | Manner::Reuse | Manner::ReadSlowly => return vec![Whole],
        Manner::LeaveEarly | Manner::LeaveLate | Manner::ResetLate => return vec![Left],
        Manner::Again => return vec![Refused(vec![503])],
        Manner::Gone => return vec![Refused(vec![502])],
        Manner::Once => {}
    }
    let stream = front.stream;
    let openai_text = matches!(front.dialect, Dialect::Chat | Dialect::Completions);
    let text = front.dialect == Dialect::Text;
    let heard = front.dialect == Dialect::Transcription;
    let refused = |status: u16| Refused(vec![status]);
    let stream_or = |streamed: Truth, whole: Truth| vec![if stream { streamed } else { whole }];
    let unless_success = |code: u16| refused(if code < 400 { 502 } else { code });
    let code = code(row);
    match row.injection.fault() {
        // a route that is missing looks the same; what nobody can do is a 501
        Fault::Status if code == 404 => vec![Refused(vec![404, 501])],
        fault if answers_with_a_status(fault) => vec![refused(code)],
        Fault::Error200 | Fault::Error200TextCode | Fault::Error200Flat => vec![refused(code)],
        Fault::Error200ByType => vec![refused(404)],
        Fault::Error200Nameless | Fault::Error200String | Fault::EmptyStream => vec![refused(502)],
        Fault::ErrorFirstEvent
        | Fault::ErrorFirstEventFlat
        | Fault::ErrorFirstEventDouble
        | Fault::ErrorFirstLine => stream_or(refused(code), Refused(vec![code, 502])),
        Fault::ErrorLaterEvent
        | Fault::ErrorLaterEventFlat
        | Fault::ErrorLaterEventDouble
        | Fault::ErrorLaterLine
        | Fault::ErrorLaterEnd
        | Fault::NoFinish => vec![Late],
        Fault::ResponsesFailed if stream => vec![Failed],
        Fault::ResponsesFailed => vec![Failed, refused(500)],
        Fault::JsonForStream if openai_text || heard => vec![Whole],
        Fault::JsonForStream => vec![refused(502)],
        Fault::StreamForJson => vec![refused(502)],
        Fault::Html | Fault::Empty => vec![unless_success(code)],
        Fault::StallBeforeHead | Fault::StallAfterHead | Fault::StallMidEvent | Fault::StallBetweenEvents
            if code > 0 =>
        {
            vec![Whole]
        }
        Fault::NoResponse | Fault::StallBeforeHead | Fault::StallAfterHead => vec![refused(504)],
        Fault::StallMidEvent | Fault::StallBetweenEvents => stream_or(Late, refused(504)),
        Fault::CloseBeforeHead
        | Fault::CloseAfterHead
        | Fault::ResetBeforeHead
        | Fault::ResetAfterHead
        | Fault::HalfCloseBeforeHead
        | Fault::HalfCloseAfterHead
        | Fault::TwoLengths
        | Fault::GzipGarbage
        | Fault::GzipBomb => vec![refused(502)],
        // where a text ends is known by its length alone
        Fault::Truncate if text => vec![Whole],
        Fault::LengthTooShort if text => vec![Whole, refused(502)],
        Fault::CloseMidEvent
        | Fault::CloseBetweenEvents
        | Fault::HalfCloseMidEvent
        | Fault::HalfCloseBetweenEvents
        | Fault::Truncate
        | Fault::BadChunkSize => stream_or(Late, refused(502)),
        // nobody says that it is one
        Fault::ContentTypeAbsent if text => vec![Whole, refused(502)],
        Fault::ContentTypeSwapped if text => vec![refused(502)],
        // a reset may take with it what had not been read
        Fault::ResetMidEvent | Fault::ResetBetweenEvents if stream => vec![Late, refused(502)],
        Fault::ResetMidEvent | Fault::ResetBetweenEvents => vec![refused(502)],
        // every piece of a long recording gives a reason to end; after the last one comes the usage, or `[DONE]`
        Fault::NoDone if heard => vec![if *asks_usage { Whole } else { Late }],
        Fault::NoDone => vec![if openai_text { Whole } else { Late }],
        Fault::Unterminated | Fault::LengthTooLong => stream_or(Whole, refused(502)),
        Fault::LengthTooShort if stream => vec![Late, refused(502)],
        Fault::LengthTooShort => vec![refused(502)],
        Fault::ContentTypeSwapped => stream_or(refused(502), Whole),
        Fault::LengthAndChunks | Fault::Gzip => vec![Whole, refused(502)],
        Fault::Endless | Fault::EndlessEvent => {
            vec![Left, if stream { Late } else { Truth::Cut }, Refused(vec![502, 504])]
        }
        _ => vec![Whole],
    }
}

/// Whether the answer is good as it is, in whatever way it comes.
fn is_sound(fault: Fault) -> bool {
    fault.name().starts_with("tool-")
        || fault.name().starts_with("reasoning-")
        || matches!(
            fault,
            Fault::ErrorNull
                | Fault::SplitUtf8
                | Fault::ByteByByte
                | Fault::CrlfEvents
                | Fault::CommentEvents
                | Fault::CloseAfterAnswer
                | Fault::DoubleDone
                | Fault::UntilClose
                | Fault::CloseOnReuse
                | Fault::ResetOnReuse
        )
}

fn spoils(row: &Row) -> bool {
    let name = row.injection.fault().name();
    match row.manner {
        Manner::LeaveEarly | Manner::LeaveLate | Manner::ResetLate => return true,
        Manner::Once => {}
        Manner::FirstOnly | Manner::Reuse | Manner::Again | Manner::Gone | Manner::ReadSlowly => {
            return false;
        }
    }
    let broken = ["close-", "reset-", "half-close-"].iter().any(|begin| name.starts_with(begin))
        && row.injection.fault() != Fault::CloseAfterAnswer;
    let framed = matches!(
        row.injection.fault(),
        Fault::LengthTooShort
            | Fault::LengthTooLong
            | Fault::TwoLengths
            | Fault::BadChunkSize
            | Fault::Unterminated
            | Fault::UntilClose
            | Fault::Endless
            | Fault::EndlessEvent
    );
    broken || framed || falls_silent(row)
}

fn retries(row: &Row) -> bool {
    let fault = row.injection.fault();
    let name = fault.name();
    let told = name.starts_with("retry-after-")
        || matches!(
            fault,
            Fault::Status
                | Fault::Error200
                | Fault::Error200TextCode
                | Fault::Error200Nameless
                | Fault::Error200String
                | Fault::ErrorFirstEvent
                | Fault::ErrorFirstLine
                | Fault::Html
                | Fault::Empty
                | Fault::EmptyStream
        ) && !matches!(code(row), 400 | 401 | 403 | 422);
    let broke = ["close-", "reset-", "half-close-"].iter().any(|begin| name.starts_with(begin));
    let framed = matches!(
        fault,
        Fault::LengthTooLong | Fault::LengthTooShort | Fault::Unterminated | Fault::BadChunkSize
    );
    told || broke || framed || row.manner == Manner::Gone
}

fn comes_back(row: &Row) -> ComesBack {
    match (row.manner, row.injection.fault()) {
        (Manner::Again, _) => ComesBack::Seconds,
        (Manner::Once, Fault::RetryAfterSeconds) => ComesBack::After("1"),
        (Manner::Once, Fault::RetryAfterDate | Fault::RetryAfterPast) => ComesBack::Date,
        (Manner::Once, Fault::RetryAfterMs) => ComesBack::Milliseconds("100"),
        (Manner::Once, Fault::RetryAfterAbsent | Fault::Status) => ComesBack::Nothing,
        (Manner::Once, Fault::RetryAfterNonsense) => ComesBack::Perhaps("soon"),
        (Manner::Once, Fault::RetryAfterHuge) => ComesBack::Perhaps("99999999999"),
        _ => ComesBack::Anything,
    }
}
