//! How an answer is sent: where it breaks, how it is framed, in what pieces, and what becomes of the connection.

use std::time::Duration;

use super::{Fault, Injection};

/// How an answer is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) breaks: Option<Break>,
    pub(crate) framing: Framing,
    pub(crate) pacing: Pacing,
    pub(crate) afterwards: Afterwards,
}

/// Something that happens on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Break {
    pub(crate) act: Act,
    pub(crate) place: Place,
    /// After so many events, where the place is among events.
    pub(crate) after: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing comes for so long, or for ever.
    Stall(Option<Duration>),
    Close,
    Reset,
    /// The engine sends no more, but goes on reading.
    HalfClose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    BeforeHead,
    AfterHead,
    MidEvent,
    BetweenEvents,
}

/// What says where the body ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    #[default]
    Honest,
    /// So many bytes more are promised than come.
    TooLong(usize),
    /// So many bytes fewer are promised than come.
    TooShort(usize),
    TwoLengths,
    LengthAndChunks,
    /// After so many events a chunk whose size is no number.
    BadChunkSize(usize),
    UntilClose,
    /// Chunks without a last one.
    Unterminated,
}

/// In what pieces it leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pacing {
    #[default]
    Events,
    /// Byte by byte, the head too.
    Bytes,
    /// Cut in the middle of every character that takes more than one byte.
    Characters,
}

/// What becomes of the connection after a whole answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Afterwards {
    #[default]
    Keep,
    Close,
    CloseOnReuse,
    ResetOnReuse,
}

impl Plan {
    /// The plan of a fault; an ordinary one where nothing is wrong with the sending.
    pub(crate) fn of(injection: &Injection) -> Self {
        let count = |name| usize::try_from(injection.number(name)).unwrap_or(usize::MAX);
        let breaks = acts(injection).map(|(act, place)| Break { act, place, after: count("events") });
        let mut plan = Plan { breaks, ..Plan::default() };
        match injection.fault() {
            Fault::LengthTooLong => plan.framing = Framing::TooLong(count("bytes")),
            Fault::LengthTooShort => plan.framing = Framing::TooShort(count("bytes")),
            Fault::TwoLengths => plan.framing = Framing::TwoLengths,
            Fault::LengthAndChunks => plan.framing = Framing::LengthAndChunks,
            Fault::BadChunkSize => plan.framing = Framing::BadChunkSize(count("events")),
            Fault::UntilClose => plan.framing = Framing::UntilClose,
            Fault::Unterminated => plan.framing = Framing::Unterminated,
            Fault::ByteByByte => plan.pacing = Pacing::Bytes,
            Fault::SplitUtf8 => plan.pacing = Pacing::Characters,
            Fault::CloseAfterAnswer => plan.afterwards = Afterwards::Close,
            Fault::CloseOnReuse => plan.afterwards = Afterwards::CloseOnReuse,
            Fault::ResetOnReuse => plan.afterwards = Afterwards::ResetOnReuse,
            _ => {}
        }
        plan
    }

    /// Whether the head never leaves, so that nobody needs to answer.
    pub(crate) fn silent(&self) -> bool {
        self.breaks.is_some_and(|broken| {
            broken.place == Place::BeforeHead && !matches!(broken.act, Act::Stall(Some(_)))
        })
    }
}

fn acts(injection: &Injection) -> Option<(Act, Place)> {
    let milliseconds = injection.number("milliseconds");
    let stall = Act::Stall((milliseconds > 0).then(|| Duration::from_millis(milliseconds)));
    Some(match injection.fault() {
        Fault::NoResponse | Fault::StallBeforeHead => (stall, Place::BeforeHead),
        Fault::StallAfterHead => (stall, Place::AfterHead),
        Fault::StallMidEvent => (stall, Place::MidEvent),
        Fault::StallBetweenEvents => (stall, Place::BetweenEvents),
        Fault::CloseBeforeHead => (Act::Close, Place::BeforeHead),
        Fault::CloseAfterHead => (Act::Close, Place::AfterHead),
        Fault::CloseMidEvent => (Act::Close, Place::MidEvent),
        Fault::CloseBetweenEvents => (Act::Close, Place::BetweenEvents),
        Fault::ResetBeforeHead => (Act::Reset, Place::BeforeHead),
        Fault::ResetAfterHead => (Act::Reset, Place::AfterHead),
        Fault::ResetMidEvent => (Act::Reset, Place::MidEvent),
        Fault::ResetBetweenEvents => (Act::Reset, Place::BetweenEvents),
        Fault::HalfCloseBeforeHead => (Act::HalfClose, Place::BeforeHead),
        Fault::HalfCloseAfterHead => (Act::HalfClose, Place::AfterHead),
        Fault::HalfCloseMidEvent => (Act::HalfClose, Place::MidEvent),
        Fault::HalfCloseBetweenEvents => (Act::HalfClose, Place::BetweenEvents),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_answer_is_sent_as_ever() {
        assert_eq!(Plan::of(&Fault::ToolObject.into()), Plan::default());
        let silent = |name: &str| Plan::of(&name.parse().unwrap()).silent();
        assert!(silent("no-response") && silent("reset-before-head") && silent("stall-before-head"));
        assert!(!silent("stall-before-head:5") && !silent("reset-after-head") && !silent("status"));
    }
}
