//! Embeddings, as far as engines agree on them.

use serde_json::Value;

use super::Naming;
use crate::engine::Engine;
use crate::ticket::Ticket;
use crate::vector;
use crate::vllm::fields::Fields;
use crate::vllm::inputs;
use crate::vllm::refusal::Refusal;

/// What came of it: the model's name, the vectors, and the tokens read.
pub(crate) struct Embedded {
    pub(crate) model: String,
    pub(crate) vectors: Vec<Vec<f32>>,
    pub(crate) tokens: usize,
}

/// Embeds the texts of `input`.
///
/// # Errors
/// What cannot be asked.
pub(crate) fn embeddings(
    engine: &Engine,
    body: &Value,
    naming: Naming,
    ticket: &mut Ticket,
) -> Result<Embedded, Refusal> {
    let mut fields = Fields::new(body);
    let mut texts = inputs::read(&mut fields, &["input"]);
    let name = fields.text("model");
    fields.finish()?;
    let asked = name.filter(|_| naming == Naming::Served);
    let served = inputs::pooling(engine, asked, |tasks| tasks.embed, "Embeddings")?;
    let tokens = inputs::measure(engine, &mut texts, None)?;
    inputs::enter(engine, &served, texts.len(), tokens, ticket)?;
    let size = engine.settings.embedding_dimensions;
    let vectors = texts.iter().map(|text| vector::embed(&text.text, size)).collect();
    let model = name.filter(|_| naming == Naming::Any).unwrap_or(&served.id).to_owned();
    Ok(Embedded { model, vectors, tokens })
}

impl Embedded {
    /// In OpenAI's shape.
    pub(crate) fn list(&self) -> Value {
        let data = self.vectors.iter().enumerate().map(
            |(index, vector)| serde_json::json!({"object": "embedding", "embedding": vector, "index": index}),
        );
        let usage = serde_json::json!({"prompt_tokens": self.tokens, "total_tokens": self.tokens});
        serde_json::json!({
            "object": "list", "data": data.collect::<Vec<_>>(), "model": self.model, "usage": usage,
        })
    }
}
