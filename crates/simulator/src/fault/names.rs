//! Every fault by its name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::asked::Dialect;

/// A number that a fault takes: its name, and what it is when none is given.
pub type Parameter = (&'static str, u64);

macro_rules! faults {
    ($($name:literal $fault:ident [$($parameter:ident = $default:literal),*] $about:literal;)*) => {
        /// One way in which an engine, or what lies before it, goes wrong. Where a fault does not apply to an
        /// answer, as an error event to one that is not streamed, the answer leaves untouched.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Fault {
            $(#[doc = $about] #[serde(rename = $name)] $fault,)*
        }

        impl Fault {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Fault] = &[$(Fault::$fault),*];

            /// Its name, as requests give it.
            pub fn name(self) -> &'static str {
                match self { $(Fault::$fault => $name,)* }
            }

            /// What it does, in one sentence.
            pub fn about(self) -> &'static str {
                match self { $(Fault::$fault => $about,)* }
            }

            /// The numbers it takes after its name, in their order.
            pub fn parameters(self) -> &'static [Parameter] {
                match self { $(Fault::$fault => &[$((stringify!($parameter), $default)),*],)* }
            }
        }
    };
}

faults! {
    // what an engine says instead of answering
    "status" Status [code = 500] "The engine's own error body under that status.";
    "retry-after-seconds" RetryAfterSeconds [code = 429, seconds = 1] "An error that asks for a retry in so many seconds.";
    "retry-after-date" RetryAfterDate [code = 429, seconds = 1] "An error that asks for a retry at a date, so many seconds ahead.";
    "retry-after-past" RetryAfterPast [code = 429, seconds = 60] "An error that asks for a retry at a date that has passed.";
    "retry-after-ms" RetryAfterMs [code = 429, milliseconds = 100] "An error that asks for a retry by a retry-after-ms header alone.";
    "retry-after-absent" RetryAfterAbsent [code = 429] "An error that asks for a retry without a word about when.";
    "retry-after-nonsense" RetryAfterNonsense [code = 429] "An error whose Retry-After is neither a number nor a date.";
    "retry-after-huge" RetryAfterHuge [code = 429] "An error that asks for a retry in three thousand years.";

    // status 200 around an error
    "error-200" Error200 [code = 500] "Status 200 around an error object with a numeric code.";
    "error-200-text-code" Error200TextCode [code = 429] "Status 200 around an error object whose code is a number in quotes.";
    "error-200-by-type" Error200ByType [] "Status 200 around an error object that has only a type to tell what it is.";
    "error-200-nameless" Error200Nameless [] "Status 200 around an error object with nothing but a message.";
    "error-200-string" Error200String [] "Status 200 around an error that is a string instead of an object.";
    "error-200-flat" Error200Flat [code = 400] "Status 200 around the flat error of older versions of vLLM.";
    "error-first-event" ErrorFirstEvent [code = 500] "A stream whose first event is an error, in the dialect of the route.";
    "error-first-event-flat" ErrorFirstEventFlat [code = 400] "A stream whose first event is a flat error.";
    "error-first-event-double" ErrorFirstEventDouble [code = 400] "A stream whose first event is SGLang's error: a flat one inside of an object.";
    "error-first-line" ErrorFirstLine [code = 500] "A stream that opens with a field named error, as older versions of llama.cpp sent it.";
    "error-later-event" ErrorLaterEvent [code = 500, events = 2] "A stream with an error after so many events, and then its usual last event.";
    "error-later-event-flat" ErrorLaterEventFlat [code = 500, events = 2] "The same with a flat error.";
    "error-later-event-double" ErrorLaterEventDouble [code = 500, events = 2] "The same with SGLang's error.";
    "error-later-line" ErrorLaterLine [code = 500, events = 2] "The same with a field named error.";
    "error-later-end" ErrorLaterEnd [code = 500, events = 2] "A stream that ends with an error after so many events, and nothing else.";
    "error-null" ErrorNull [] "A good answer, in each part of which stands an error member that is null.";
    "responses-failed" ResponsesFailed [] "A response object, or the last event of its stream, that says it failed.";
    "json-for-stream" JsonForStream [] "A whole JSON answer to a request for a stream.";
    "stream-for-json" StreamForJson [] "A stream to a request for a whole answer.";
    "error-tells-key" ErrorTellsKey [code = 401] "An error whose message repeats the key that came with the request.";
    "html" Html [code = 200] "The HTML page of some proxy, under that status.";
    "empty" Empty [code = 200] "No body at all, under that status.";
    "empty-stream" EmptyStream [] "A stream without a single event.";

    // names of thoughts
    "reasoning-old" ReasoningOld [] "Thoughts under reasoning_content alone.";
    "reasoning-new" ReasoningNew [] "Thoughts under reasoning alone.";
    "reasoning-both" ReasoningBoth [] "Thoughts under both names at once.";
    "reasoning-inline" ReasoningInline [] "Thoughts between tags in the text, as without a reasoning parser.";

    // tool calls
    "tool-finish-stop" ToolFinishStop [] "A whole tool call that finishes with stop.";
    "tool-cut" ToolCut [] "A tool call that the token limit cut, yet it finishes with tool_calls.";
    "tool-finish-without-call" ToolFinishWithoutCall [] "A finish with tool_calls, and no call.";
    "tool-content-lost" ToolContentLost [] "The last text before a stop string is lost.";
    "tool-wrong-types" ToolWrongTypes [] "Arguments of the wrong types: strings in lists, everything else as strings.";
    "tool-missing-id" ToolMissingId [] "A tool call without an id.";
    "tool-same-index" ToolSameIndex [] "Two tool calls, both with index 0.";
    "tool-one-delta" ToolOneDelta [] "A tool call in one single delta.";
    "tool-object" ToolObject [] "Arguments as an object instead of a string of JSON, as Ollama has them.";
    "tool-content-null" ToolContentNull [] "Null as content beside a tool call.";
    "tool-content-empty" ToolContentEmpty [] "An empty string as content beside a tool call.";
    "tool-in-content" ToolInContent [] "A tool call as XML in the text, as without a tool parser.";

    // silence; 0 milliseconds are for ever
    "no-response" NoResponse [] "Not a byte, for ever.";
    "stall-before-head" StallBeforeHead [milliseconds = 0] "Silence before the head.";
    "stall-after-head" StallAfterHead [milliseconds = 0] "Silence between the head and the body.";
    "stall-mid-event" StallMidEvent [milliseconds = 0, events = 2] "Silence in the middle of an event, or of a whole body.";
    "stall-between-events" StallBetweenEvents [milliseconds = 0, events = 2] "Silence between two events, or halves of a whole body.";

    // connections that break
    "close-before-head" CloseBeforeHead [] "The connection is closed before the head.";
    "close-after-head" CloseAfterHead [] "The connection is closed between the head and the body.";
    "close-mid-event" CloseMidEvent [events = 2] "The connection is closed in the middle of an event.";
    "close-between-events" CloseBetweenEvents [events = 2] "The connection is closed between two events.";
    "reset-before-head" ResetBeforeHead [] "The connection is reset before the head.";
    "reset-after-head" ResetAfterHead [] "The connection is reset between the head and the body.";
    "reset-mid-event" ResetMidEvent [events = 2] "The connection is reset in the middle of an event.";
    "reset-between-events" ResetBetweenEvents [events = 2] "The connection is reset between two events.";
    "half-close-before-head" HalfCloseBeforeHead [] "Only the engine's side is closed, before the head; it goes on reading.";
    "half-close-after-head" HalfCloseAfterHead [] "Only the engine's side is closed, between the head and the body.";
    "half-close-mid-event" HalfCloseMidEvent [events = 2] "Only the engine's side is closed, in the middle of an event.";
    "half-close-between-events" HalfCloseBetweenEvents [events = 2] "Only the engine's side is closed, between two events.";

    // answers that are cut and framed as if they were not
    "truncate" Truncate [events = 2] "The body ends in the middle of an event, or of a whole body, as if it were complete.";
    "no-finish" NoFinish [] "The stream ends before the event that gives the reason, as if it were complete.";
    "no-done" NoDone [] "The stream lacks its last event.";
    "unterminated" Unterminated [] "All events, but neither the last chunk nor an end of the connection's own: it is just closed.";

    // framing
    "content-type-text" ContentTypeText [] "The right body as text/plain.";
    "content-type-absent" ContentTypeAbsent [] "The right body without a content type.";
    "content-type-swapped" ContentTypeSwapped [] "Events as application/json, JSON as text/event-stream.";
    "length-too-long" LengthTooLong [bytes = 10] "The head, or a chunk, promises more bytes than come before the end.";
    "length-too-short" LengthTooShort [bytes = 10] "The head, or a chunk, promises fewer bytes than come.";
    "two-lengths" TwoLengths [] "Two content lengths that differ.";
    "length-and-chunks" LengthAndChunks [] "A content length beside chunked encoding.";
    "bad-chunk-size" BadChunkSize [events = 2] "A chunk whose size is no number.";
    "until-close" UntilClose [] "A body without length or chunks that lasts until the connection is closed.";

    // bodies
    "gzip" Gzip [] "A compressed body where none was asked for.";
    "gzip-garbage" GzipGarbage [] "A body that claims to be compressed and is not.";
    "gzip-bomb" GzipBomb [megabytes = 64] "A small compressed body that unpacks to so much white space.";
    "split-utf8" SplitUtf8 [] "Text beyond ASCII, every character of which is cut in two.";
    "byte-by-byte" ByteByByte [] "Every byte of head and body by itself.";
    "huge-event" HugeEvent [megabytes = 10] "One event, or a whole body, of that size.";
    "endless" Endless [] "Events for ever, as fast as the client reads.";
    "endless-event" EndlessEvent [] "One event that never ends.";
    "double-done" DoubleDone [] "The last event twice.";
    "after-done" AfterDone [] "More text after the last event.";
    "crlf-events" CrlfEvents [] "Events whose lines end with carriage return and line feed.";
    "comment-events" CommentEvents [] "Comments and empty lines between the events.";

    // connections after the answer
    "close-after-answer" CloseAfterAnswer [] "The connection is closed after an answer that let it be kept.";
    "close-on-reuse" CloseOnReuse [] "The connection is kept, and closed when the next request comes on it.";
    "reset-on-reuse" ResetOnReuse [] "The connection is kept, and reset when the next request comes on it.";
}

impl Fault {
    /// Whether it changes anything about the answer to a request for this path, streamed or not.
    pub fn applies(self, path: &str, stream: bool) -> bool {
        let dialect = Dialect::of(path);
        match self {
            Fault::ErrorLaterEvent
            | Fault::ErrorLaterEventFlat
            | Fault::ErrorLaterEventDouble
            | Fault::ErrorLaterLine
            | Fault::ErrorLaterEnd
            | Fault::NoFinish
            | Fault::NoDone
            | Fault::DoubleDone
            | Fault::AfterDone
            | Fault::CrlfEvents
            | Fault::CommentEvents => stream,
            Fault::JsonForStream => stream && dialect != Dialect::Other,
            Fault::StreamForJson => !stream && dialect != Dialect::Other,
            Fault::ResponsesFailed => dialect == Dialect::Responses,
            fault if fault.is_about_thoughts() || fault.is_about_calls() => dialect == Dialect::Chat,
            Fault::SplitUtf8 => dialect != Dialect::Other,
            _ => true,
        }
    }

    pub(super) fn is_about_thoughts(self) -> bool {
        self.name().starts_with("reasoning-")
    }

    pub(super) fn is_about_calls(self) -> bool {
        self.name().starts_with("tool-")
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Fault::ALL.iter().find(|fault| fault.name() == name).copied().ok_or_else(|| {
            let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
            format!("there is no fault named {name:?}; the faults are {}", names.join(", "))
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A fault with the numbers it takes, written `name` or `name:number:number`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Injection {
    fault: Fault,
    given: Vec<u64>,
}

impl Injection {
    /// A fault, with as many of its numbers as are given.
    ///
    /// # Errors
    /// If it takes fewer numbers, or none so large.
    pub fn new(fault: Fault, given: &[u64]) -> Result<Self, String> {
        let parameters = fault.parameters();
        if given.len() > parameters.len() {
            let names: Vec<&str> = parameters.iter().map(|(name, _)| *name).collect();
            let takes = if names.is_empty() { "no number".to_owned() } else { names.join(":") };
            return Err(format!("the fault {fault} takes {takes} after its name"));
        }
        for (number, (name, _)) in given.iter().zip(parameters) {
            let range = match *name {
                "code" => 200..=599,
                "megabytes" => 1..=256,
                _ => 0..=86_400_000,
            };
            if !range.contains(number) {
                let (least, most) = (range.start(), range.end());
                return Err(format!(
                    "{name} of the fault {fault} is {number}; it goes from {least} to {most}"
                ));
            }
        }
        Ok(Injection { fault, given: given.to_vec() })
    }

    /// Which fault.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The numbers that were given with it, in their order.
    pub fn given(&self) -> &[u64] {
        &self.given
    }

    /// One of its numbers, given or not; 0 for one that it does not take.
    pub(crate) fn number(&self, name: &str) -> u64 {
        let mut parameters = self.fault.parameters().iter().enumerate();
        let found = parameters.find(|(_, (known, _))| *known == name);
        found.map_or(0, |(place, (_, default))| self.given.get(place).copied().unwrap_or(*default))
    }
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Injection { fault, given: Vec::new() }
    }
}

impl FromStr for Injection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.trim().split(':');
        let fault: Fault = parts.next().unwrap_or_default().parse()?;
        let numbers = parts
            .map(|part| part.parse().map_err(|_| format!("{part:?} behind the fault {fault} is no number")));
        Injection::new(fault, &numbers.collect::<Result<Vec<u64>, String>>()?)
    }
}

impl TryFrom<String> for Injection {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.fault)?;
        self.given.iter().try_for_each(|number| write!(out, ":{number}"))
    }
}

impl From<Injection> for String {
    fn from(injection: Injection) -> Self {
        injection.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_fault_is_found_by_its_name_and_by_no_other() {
        let names: HashSet<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        assert_eq!(names.len(), Fault::ALL.len());
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(*fault));
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.name());
            assert!(fault.about().ends_with('.'), "{fault}");
        }
        assert!("stall".parse::<Fault>().unwrap_err().contains("stall-before-head, "));
    }

    #[test]
    fn numbers_stand_behind_the_name() {
        let injection: Injection = "retry-after-seconds:503".parse().unwrap();
        assert_eq!((injection.number("code"), injection.number("seconds")), (503, 1));
        assert_eq!(injection.to_string(), "retry-after-seconds:503");
        let read: Injection = serde_json::from_str("\"reset-mid-event:5\"").unwrap();
        assert_eq!((read.fault(), read.number("events")), (Fault::ResetMidEvent, 5));
        for (wrong, why) in [
            ("gzip:1", "takes no number"),
            ("status:700", "from 200 to 599"),
            ("status:x", "is no number"),
            ("status:500:1", "takes code"),
        ] {
            let error = wrong.parse::<Injection>().unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
