//! The three ways of asking that are measured, and how a stream of each ends.

/// One of the APIs that the mock upstream serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 3] = [Dialect::Chat, Dialect::Responses, Dialect::Messages];

    /// How it is called on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Chat => "chat",
            Dialect::Responses => "responses",
            Dialect::Messages => "messages",
        }
    }

    /// The dialect of this name.
    pub fn named(name: &str) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// Where it is served.
    pub fn path(self) -> &'static str {
        match self {
            Dialect::Chat => "/v1/chat/completions",
            Dialect::Responses => "/v1/responses",
            Dialect::Messages => "/v1/messages",
        }
    }

    /// What only the last event of a stream holds.
    pub fn terminal_marker(self) -> &'static [u8] {
        match self {
            Dialect::Chat => b"data: [DONE]",
            Dialect::Responses => b"event: response.completed",
            Dialect::Messages => b"event: message_stop",
        }
    }

    /// The member that limits the answer: here, how many tokens a stream shall have.
    pub(crate) fn limit_member(self) -> &'static str {
        match self {
            Dialect::Chat | Dialect::Messages => "max_tokens",
            Dialect::Responses => "max_output_tokens",
        }
    }
}
