//! What a client can ask for, and in which language.

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Continue a conversation: chat completions, Responses or Messages, by dialect.
    Generate,
    /// Continue a text (`/v1/completions`).
    Complete,
    /// Count the tokens of a conversation (`/v1/messages/count_tokens`).
    CountTokens,
    /// Turn texts into vectors.
    Embed,
    /// Sort documents by how well they answer a query.
    Rerank,
    /// Score pairs of texts.
    Score,
    /// Label texts.
    Classify,
    /// A pooling model's raw output.
    Pool,
    /// Text to token ids.
    Tokenize,
    /// Token ids to text.
    Detokenize,
    /// Speech to text.
    Transcribe,
    /// Speech in any language to English text.
    Translate,
    /// Text to speech.
    Speak,
    /// Pictures: make or change them.
    Draw,
    /// Judge whether a text is harmful.
    Moderate,
    /// Read, cancel or delete a stored response, count its input, compact it.
    ResponseLifecycle,
    /// Files.
    File,
    /// Batches.
    Batch,
    /// Somebody else's request, relayed as it is (`/p/{provider}/…`).
    Passthrough,
}

impl Operation {
    /// The word for it in messages (`rerank is not supported by …`), logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Operation::Generate => "chat",
            Operation::Complete => "text_completion",
            Operation::CountTokens => "count_tokens",
            Operation::Embed => "embedding",
            Operation::Rerank => "rerank",
            Operation::Score => "score",
            Operation::Classify => "classify",
            Operation::Pool => "pooling",
            Operation::Tokenize => "tokenize",
            Operation::Detokenize => "detokenize",
            Operation::Transcribe => "transcription",
            Operation::Translate => "translation",
            Operation::Speak => "speech",
            Operation::Draw => "image generation",
            Operation::Moderate => "moderation",
            Operation::ResponseLifecycle => "response lifecycle",
            Operation::File => "file",
            Operation::Batch => "batch",
            Operation::Passthrough => "passthrough",
        }
    }
}

/// The JSON and SSE in which something is said. Clients and upstreams speak from the same list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// OpenAI chat completions.
    Chat,
    /// OpenAI text completions.
    Completions,
    /// OpenAI Responses.
    Responses,
    /// Anthropic Messages.
    Messages,
    /// OpenAI embeddings.
    Embeddings,
    /// Rerank as vLLM, Jina, Cohere and Bifrost write it; the codec knows the shapes.
    Rerank,
    /// OpenAI audio transcriptions and translations: a form in; JSON, a text or a stream out.
    Transcription,
    /// vLLM's own JSON: score, classify, pooling, tokenize, detokenize.
    Vllm,
    /// Not ours to understand.
    Foreign,
}

impl Dialect {
    /// Whether errors take Anthropic's shape instead of OpenAI's.
    pub fn is_anthropic(self) -> bool {
        self == Dialect::Messages
    }

    /// Whether a reply in this dialect may be a stream of server-sent events.
    pub fn streams(self) -> bool {
        matches!(
            self,
            Dialect::Chat
                | Dialect::Completions
                | Dialect::Responses
                | Dialect::Messages
                | Dialect::Transcription
        )
    }
}
