//! A conversation in no dialect: turns, tools, and the shape the answer must have.

use serde_json::Value;

use crate::seed::hash;
use crate::tokens;

/// What the model is shown and what it may do.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    pub(crate) turns: Vec<Turn>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) choice: Choice,
    pub(crate) shape: Shape,
    /// The client does not want the model to think first.
    pub(crate) without_thought: bool,
    /// The last turn is to be continued rather than answered.
    pub(crate) continued: bool,
    /// The prompt does not open the assistant's turn.
    pub(crate) unopened: bool,
}

/// One turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    pub(crate) role: String,
    /// All of its text.
    pub(crate) text: String,
    /// The last of its text parts; agents put their own notes into the parts before it.
    pub(crate) last_part: Option<String>,
    /// The calls made in it.
    pub(crate) calls: Vec<Call>,
}

/// A tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// JSON text.
    pub(crate) arguments: String,
}

/// A tool on offer.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) description: String,
    /// A JSON schema.
    pub(crate) parameters: Value,
}

/// Whether a tool is to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    #[default]
    None,
    Auto,
    Required,
    Named(String),
}

/// What the text of the answer must look like.
#[derive(Clone, Debug, Default)]
pub(crate) enum Shape {
    #[default]
    Free,
    /// Any JSON object.
    Object,
    /// JSON that satisfies a schema.
    Schema(Value),
    /// One of these texts.
    Either(Vec<String>),
    /// A match of a regular expression.
    Pattern(String),
}

impl Conversation {
    /// The prompt as a ChatML template renders it.
    pub(crate) fn prompt(&self) -> Vec<u32> {
        let mut prompt = Prompt::default();
        if !self.tools.is_empty() && self.choice != Choice::None {
            prompt.open("system");
            for tool in &self.tools {
                prompt.text(&format!("Tool {}: {} {}\n", tool.name, tool.description, tool.parameters));
            }
            prompt.close();
        }
        for (index, turn) in self.turns.iter().enumerate() {
            prompt.open(&turn.role);
            prompt.text(&turn.text);
            for call in &turn.calls {
                prompt.text(&format!(
                    "<tool_call>{{\"name\": \"{}\", \"arguments\": {}}}</tool_call>",
                    call.name, call.arguments
                ));
            }
            if !(self.continued && index + 1 == self.turns.len()) {
                prompt.close();
            }
        }
        if !self.continued && !self.unopened {
            prompt.open("assistant");
        }
        prompt.tokens
    }

    /// How many characters the prompt has, without making its tokens.
    pub(crate) fn characters(&self) -> usize {
        let mark = tokens::name(tokens::TURN).len() + tokens::name(tokens::END).len() + 2;
        let tools = self.tools.iter().map(|tool| tool.description.len() + tool.parameters.to_string().len());
        let turns = self.turns.iter().map(|turn| turn.text.chars().count() + turn.role.len() + mark);
        let opened = if self.continued || self.unopened { 0 } else { "<|im_start|>assistant\n".len() };
        tools.sum::<usize>() + turns.sum::<usize>() + opened
    }

    /// What the user said last, if no tool has answered since.
    pub(crate) fn asked(&self) -> Option<&str> {
        let last = self.turns.iter().rev().find(|turn| turn.role != "system" && turn.role != "developer")?;
        (last.role == "user").then(|| last.last_part.as_deref().unwrap_or(&last.text))
    }

    /// The last answer of a tool, if the user has said nothing since, and the tool's name.
    pub(crate) fn tool_answer(&self) -> Option<(&str, &str)> {
        let last = self.turns.last().filter(|turn| turn.role == "tool" || turn.role == "function")?;
        let call = self.turns.iter().rev().find_map(|turn| turn.calls.last());
        Some((call.map_or("the tool", |call| &call.name), &last.text))
    }
}

#[derive(Default)]
struct Prompt {
    tokens: Vec<u32>,
}

impl Prompt {
    fn open(&mut self, role: &str) {
        self.tokens.push(tokens::TURN);
        self.text(role);
        self.text("\n");
    }

    fn text(&mut self, text: &str) {
        self.tokens.extend(tokens::encode(text));
    }

    fn close(&mut self) {
        self.tokens.push(tokens::END);
        self.text("\n");
    }
}

/// What decides the words of an answer: the model, the prompt, the seed asked for, and which choice it is.
pub(crate) fn seed(model: &str, prompt: &[u32], asked: Option<i64>, index: usize) -> u64 {
    let prompt = prompt.iter().flat_map(|token| token.to_le_bytes());
    let asked = asked.into_iter().flat_map(i64::to_le_bytes);
    hash(model.bytes().chain(prompt).chain(asked).chain(index.to_le_bytes()))
}
