//! An answer as the tokens that are generated, and how much of it a client gets to see after each.

use crate::compose::Answer;
use crate::seed::Choices;
use crate::text;
use crate::tokens;

const TOOL_OPEN: u32 = 3;
const TOOL_CLOSE: u32 = 4;
const THOUGHT_CLOSE: u32 = 6;

/// What a stretch of the generated text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Thinking.
    Thought,
    /// The answer's text.
    Text,
    /// The name of the tool to call.
    Name,
    /// The arguments of that call.
    Arguments,
    /// What the parsers of the engine swallow.
    Hidden,
}

/// What ends a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The model was done.
    Stop,
    /// One of the stop strings came up.
    StopText(String),
    /// One of the stop tokens came up.
    StopToken(u32),
    /// As many tokens as were allowed.
    Length,
}

impl Finish {
    /// As vLLM says it.
    pub(crate) fn reason(&self) -> &'static str {
        if *self == Finish::Length { "length" } else { "stop" }
    }
}

/// What limits a generation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) max_tokens: usize,
    pub(crate) min_tokens: usize,
    pub(crate) ignore_end: bool,
    pub(crate) stops: Vec<String>,
    pub(crate) stop_tokens: Vec<u32>,
    /// The stop string itself is shown too.
    pub(crate) include_stop: bool,
}

/// A generation from its first token to its last; all of it is known before it begins.
#[derive(Debug)]
pub(crate) struct Script {
    text: String,
    /// Where each stretch ends.
    spans: Vec<(usize, Kind)>,
    tokens: Vec<(u32, usize)>,
    /// Where the tool call is whole, if there is one; and where it begins.
    call: Option<(usize, usize)>,
    /// How many bytes of text are ever shown.
    shown: usize,
    finish: Finish,
    /// How many characters are held back, because they might begin a stop string.
    held: usize,
}

/// A part of the answer as it becomes visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Thought(&'a str),
    Text(&'a str),
    /// A call begins: the tool's name.
    Call(&'a str),
    Arguments(&'a str),
}

/// A whole answer, as a client gets it that does not stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) thought: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) call: Option<(String, String)>,
}

impl Script {
    /// Cuts an answer into tokens and finds out where it ends.
    pub(crate) fn new(answer: &Answer, limits: &Limits, seed: u64) -> Self {
        let mut script = Script {
            text: String::new(),
            spans: Vec::new(),
            tokens: Vec::new(),
            call: None,
            shown: 0,
            finish: Finish::Stop,
            held: 0,
        };
        if let Some(thought) = &answer.thought {
            script.push(Kind::Thought, thought);
            script.push_special(THOUGHT_CLOSE);
        }
        if let Some(text) = &answer.text {
            script.push(Kind::Text, text);
        }
        if let Some(call) = &answer.call {
            let begins = script.text.len();
            script.push_special(TOOL_OPEN);
            script.push(Kind::Hidden, "{\"name\": \"");
            script.push(Kind::Name, &call.name);
            script.push(Kind::Hidden, "\", \"arguments\": ");
            script.push(Kind::Arguments, &call.arguments);
            script.push(Kind::Hidden, "}");
            script.call = Some((begins, script.text.len()));
            script.push_special(TOOL_CLOSE);
        }
        // a model that may not stop yet, or never stops, goes on talking
        let wanted =
            if limits.ignore_end { limits.max_tokens } else { limits.min_tokens.min(limits.max_tokens) };
        let mut choices = Choices::new(seed ^ 0x5eed);
        while script.tokens.len() < wanted {
            let mut more = String::new();
            let missing = wanted - script.tokens.len();
            text::go_on(&mut choices, &mut more, missing.min(4_096) * 5);
            let space = if script.text.is_empty() { "" } else { " " };
            script.push(Kind::Text, &format!("{space}{more}"));
        }
        if !limits.ignore_end {
            script.tokens.push((tokens::END, script.text.len()));
        }
        script.settle(limits);
        script
    }

    fn push(&mut self, kind: Kind, text: &str) {
        let begins = self.text.len();
        self.tokens.extend(tokens::with_ends(text).map(|(token, end)| (token, begins + end)));
        self.text.push_str(text);
        match self.spans.last_mut() {
            Some((end, last)) if *last == kind && kind != Kind::Name => *end = self.text.len(),
            _ => self.spans.push((self.text.len(), kind)),
        }
    }

    fn push_special(&mut self, token: u32) {
        self.text.push_str(&tokens::name(token));
        self.tokens.push((token, self.text.len()));
        self.spans.push((self.text.len(), Kind::Hidden));
    }

    /// Where the text is cut, and why.
    fn settle(&mut self, limits: &Limits) {
        let allowed = limits.max_tokens.max(1);
        let mut length = self.tokens.len();
        if length > allowed {
            (length, self.finish) = (allowed, Finish::Length);
        } else if limits.ignore_end {
            self.finish = Finish::Length;
        }
        self.shown = self.boundary(length - 1);
        for (stop, place) in limits.stops.iter().filter_map(|stop| Some((stop, self.text.find(stop)?))) {
            let until = place + stop.len();
            // found as soon as a token completes it
            let Some(by) = (0..length).find(|index| self.boundary(*index) >= until) else { continue };
            if by + 1 < length || !matches!(self.finish, Finish::StopText(_)) {
                (length, self.finish) = (by + 1, Finish::StopText(stop.clone()));
                self.shown = if limits.include_stop { until } else { place };
            }
        }
        if let Some(by) =
            self.tokens[..length].iter().position(|(token, _)| limits.stop_tokens.contains(token))
        {
            (length, self.finish) = (by + 1, Finish::StopToken(self.tokens[by].0));
            self.shown = if by == 0 { 0 } else { self.boundary(by - 1) };
        }
        self.tokens.truncate(length);
        let longest = limits.stops.iter().map(|stop| stop.chars().count()).max().unwrap_or(0);
        self.held = if limits.include_stop { 0 } else { longest.saturating_sub(1) };
    }

    /// The end of a token, moved back to where a character ends.
    fn boundary(&self, index: usize) -> usize {
        let mut end = self.tokens[index].1;
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        end
    }

    /// How many tokens are generated.
    pub(crate) fn length(&self) -> usize {
        self.tokens.len()
    }

    /// The ids of the tokens.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|(token, _)| *token).collect()
    }

    /// One token's id.
    pub(crate) fn id(&self, index: usize) -> u32 {
        self.tokens[index].0
    }

    /// Why it ends.
    pub(crate) fn finish(&self) -> &Finish {
        &self.finish
    }

    /// How many of the tokens up to this one were spent on thinking.
    pub(crate) fn thought_tokens(&self, until: usize) -> usize {
        let Some((end, Kind::Thought)) = self.spans.first() else { return 0 };
        self.tokens.partition_point(|(_, at)| at <= end).min(until)
    }

    /// How many bytes are visible after a token.
    pub(crate) fn visible(&self, index: usize) -> usize {
        if index + 1 >= self.tokens.len() {
            return self.shown;
        }
        let mut end = self.boundary(index);
        for _ in 0..self.held {
            let Some(last) = self.text[..end].chars().next_back() else { break };
            end -= last.len_utf8();
        }
        end.min(self.shown)
    }

    /// What becomes visible between two offsets.
    pub(crate) fn pieces(&self, from: usize, to: usize) -> Vec<Piece<'_>> {
        let mut pieces = Vec::new();
        let mut begins = 0;
        for (ends, kind) in &self.spans {
            let (first, last) = (from.max(begins), to.min(*ends));
            if first < last {
                let part = &self.text[first..last];
                match kind {
                    Kind::Thought => pieces.push(Piece::Thought(part)),
                    Kind::Text => pieces.push(Piece::Text(part)),
                    Kind::Arguments => pieces.push(Piece::Arguments(part)),
                    Kind::Name if to >= *ends => pieces.push(Piece::Call(&self.text[begins..*ends])),
                    Kind::Name | Kind::Hidden => {}
                }
            }
            begins = *ends;
        }
        pieces
    }

    /// All that is ever shown, untouched by any parser.
    pub(crate) fn raw(&self) -> &str {
        &self.text[..self.shown]
    }

    /// The whole answer. A call that was cut short is text, as vLLM's parsers leave it.
    pub(crate) fn whole(&self) -> Whole {
        let mut whole = Whole::default();
        let call = self.call.filter(|(_, ends)| *ends <= self.shown);
        let until = match self.call {
            Some((begins, _)) if call.is_none() => begins.min(self.shown),
            _ => self.shown,
        };
        for piece in self.pieces(0, until) {
            match piece {
                Piece::Thought(part) => whole.thought.get_or_insert_default().push_str(part),
                Piece::Text(part) => whole.text.get_or_insert_default().push_str(part),
                Piece::Call(name) => whole.call = Some((name.to_owned(), String::new())),
                Piece::Arguments(part) => {
                    if let Some((_, arguments)) = &mut whole.call {
                        arguments.push_str(part);
                    }
                }
            }
        }
        if until < self.shown {
            whole.text.get_or_insert_default().push_str(&self.text[until..self.shown]);
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conversation::Call;

    fn saying(text: &str, limits: &Limits) -> Script {
        Script::new(&Answer { text: Some(text.to_owned()), ..Answer::default() }, limits, 1)
    }

    /// What a streaming client sees, step by step.
    fn streamed(script: &Script) -> Vec<String> {
        let mut from = 0;
        let steps = (0..script.length()).map(|step| {
            let to = script.visible(step);
            let shown = script.pieces(from, to).iter().map(|piece| format!("{piece:?}")).collect();
            from = to;
            shown
        });
        steps.collect()
    }

    fn unlimited() -> Limits {
        Limits { max_tokens: 10_000, ..Limits::default() }
    }

    #[test]
    fn a_stop_string_is_cut_off_and_held_back() {
        let script = saying(
            "The gateway checks the queue.",
            &Limits { stops: vec!["queue.".to_owned()], ..unlimited() },
        );
        assert_eq!(script.finish(), &Finish::StopText("queue.".to_owned()));
        assert_eq!(
            streamed(&script),
            ["", r#"Text("The ga")"#, r#"Text("teway c")"#, r#"Text("heck")"#, r#"Text("s the ")"#, ""]
        );
    }

    #[test]
    fn the_earliest_stop_string_wins_and_can_be_shown() {
        let stops = vec!["queue".to_owned(), "e".to_owned()];
        let script =
            saying("The gateway checks the queue.", &Limits { stops, include_stop: true, ..unlimited() });
        assert_eq!((script.raw(), script.length()), ("The", 1));
    }

    #[test]
    fn the_end_token_counts_but_a_cut_answer_has_none() {
        assert_eq!(saying("The gateway", &unlimited()).length(), 3);
        let cut = saying("The gateway checks", &Limits { max_tokens: 2, ..Limits::default() });
        assert_eq!((cut.raw(), cut.length(), cut.finish()), ("The gateway", 2, &Finish::Length));
    }

    #[test]
    fn ignoring_the_end_fills_the_whole_allowance() {
        let long = saying("Hi", &Limits { max_tokens: 500, ignore_end: true, ..Limits::default() });
        assert_eq!((long.length(), long.finish()), (500, &Finish::Length));
    }

    #[test]
    fn a_call_that_is_cut_short_is_only_text() {
        let call = Call { name: "get_weather".to_owned(), arguments: r#"{"city": "Paris"}"#.to_owned() };
        let answer = Answer { call: Some(call), ..Answer::default() };
        let whole = Script::new(&answer, &unlimited(), 1).whole();
        assert_eq!(whole.call, Some(("get_weather".to_owned(), r#"{"city": "Paris"}"#.to_owned())));
        let cut = Script::new(&answer, &Limits { max_tokens: 6, ..Limits::default() }, 1).whole();
        assert_eq!(cut.call, None);
        assert!(cut.text.unwrap().starts_with("<tool_call>{\"name\""));
    }

    proptest! {
        #[test]
        fn the_stream_adds_up_to_the_whole(text in "\\PC{1,80}", stop in "[a-e]{1,3}", max in 1_usize..60, thinks: bool) {
            let limits = Limits { max_tokens: max, stops: vec![stop], ..Limits::default() };
            let thought = thinks.then(|| "One moment.".to_owned());
            let script = Script::new(&Answer { thought, text: Some(text), call: None }, &limits, 1);
            let (mut from, mut thought, mut said) = (0, String::new(), String::new());
            for step in 0..script.length() {
                let to = script.visible(step);
                prop_assert!(to >= from);
                for piece in script.pieces(from, to) {
                    match piece {
                        Piece::Thought(part) => thought.push_str(part),
                        Piece::Text(part) => said.push_str(part),
                        _ => prop_assert!(false, "no call was made"),
                    }
                }
                from = to;
            }
            let whole = script.whole();
            prop_assert_eq!(thought, whole.thought.unwrap_or_default());
            prop_assert_eq!(said, whole.text.unwrap_or_default());
        }
    }
}
