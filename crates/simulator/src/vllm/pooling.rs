//! `/v1/embeddings`, `/pooling` and `/classify`.

use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::fields::Fields;
use super::inputs::{self, Input};
use super::json;
use super::refusal::{Invalid, Refusal};
use super::usage::Usage;
use crate::engine::{self, Engine};
use crate::reply::Reply;
use crate::settings::Tasks;
use crate::ticket::Ticket;
use crate::vector;

/// How strongly a label draws a text that shares words with it.
const PULL: f32 = 4.0;

#[derive(Serialize)]
struct List<'a, T> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    data: Vec<T>,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding {
    index: usize,
    object: &'static str,
    embedding: Numbers,
}

#[derive(Serialize)]
struct Pooled {
    index: usize,
    object: &'static str,
    data: Numbers,
}

#[derive(Serialize)]
struct Class<'a> {
    index: usize,
    label: &'a str,
    probs: Vec<f64>,
    num_classes: usize,
}

/// A vector as the request wants it written.
#[derive(Serialize)]
#[serde(untagged)]
enum Numbers {
    Floats(Vec<f64>),
    Base64(String),
}

fn numbers(vector: &[f32], encoding: Encoding) -> Numbers {
    match encoding {
        Encoding::Float => Numbers::Floats(vector.iter().copied().map(f64::from).collect()),
        Encoding::Base64 => Numbers::Base64(base64(
            &vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>(),
        )),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Float,
    Base64,
}

fn encoding(fields: &mut Fields<'_>) -> Result<Encoding, Refusal> {
    match fields.get("encoding_format").map(|format| (format.as_str(), format)) {
        None | Some((Some("float"), _)) => Ok(Encoding::Float),
        Some((Some("base64"), _)) => Ok(Encoding::Base64),
        Some((Some(name @ ("bytes" | "bytes_only")), _)) => {
            Err(Refusal::bad(format!("the simulated engine does not write encoding_format={name}")))
        }
        Some((_, other)) => {
            let place = fields.place("encoding_format");
            fields.wrong(Invalid::literal(place, "'float', 'base64', 'bytes' or 'bytes_only'", other));
            Ok(Encoding::Float)
        }
    }
}

/// Answers `/v1/embeddings`.
pub(crate) fn embeddings(engine: &Engine, body: &Value, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let mut fields = Fields::new(body);
    let missing = ["input", "messages", "messages", "messages", "input", "messages", "input"];
    let mut inputs = inputs::read(&mut fields, &missing);
    let encoding = encoding(&mut fields)?;
    let dimensions = fields.integer("dimensions");
    let truncate = fields.integer("truncate_prompt_tokens");
    let model = fields.text("model");
    fields.finish()?;
    let served = inputs::pooling(engine, model, |tasks| tasks.embed, "Embeddings")?;
    if let Some(dimensions) = dimensions {
        return Err(Refusal::bad(format!(
            "Model '{}' does not support Matryoshka embeddings; dimensions must be unset (received \
             dimensions={dimensions}).",
            served.id
        )));
    }
    let tokens = inputs::measure(engine, &mut inputs, truncate)?;
    inputs::enter(engine, &served, inputs.len(), tokens, ticket)?;
    let size = engine.settings.embedding_dimensions;
    let data = inputs.iter().enumerate().map(|(index, input)| Embedding {
        index,
        object: "embedding",
        embedding: numbers(&vector::embed(&input.text, size), encoding),
    });
    let list = list("embd", &served.id, data.collect(), tokens);
    Ok(Reply::json(StatusCode::OK, json::python(&list)))
}

/// Answers `/pooling`.
pub(crate) fn pooling(engine: &Engine, body: &Value, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let mut fields = Fields::new(body);
    let mut inputs = inputs::read(&mut fields, &["input", "messages"]);
    let encoding = encoding(&mut fields)?;
    let truncate = fields.integer("truncate_prompt_tokens");
    let model = fields.text("model");
    let task = fields.text("task");
    fields.finish()?;
    let served = inputs::pooling(engine, model, |tasks| tasks.embed || tasks.classify, "Pooling")?;
    let embed = pooling_task(task, served.tasks)?;
    let tokens = inputs::measure(engine, &mut inputs, truncate)?;
    inputs::enter(engine, &served, inputs.len(), tokens, ticket)?;
    let size = engine.settings.embedding_dimensions;
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let vector = if embed { vector::embed(&input.text, size) } else { probabilities(engine, input) };
        Pooled { index, object: "pooling", data: numbers(&vector, encoding) }
    });
    let list = list("pooling", &served.id, data.collect(), tokens);
    Ok(Reply::json(StatusCode::OK, json::python(&list)))
}

/// Whether a vector is wanted, or else classes.
fn pooling_task(task: Option<&str>, tasks: Tasks) -> Result<bool, Refusal> {
    match task {
        None => Ok(tasks.embed),
        Some("embed") if tasks.embed => Ok(true),
        Some("classify") if tasks.classify => Ok(false),
        Some(task @ "token_embed") if tasks.embed => Err(switch(task)),
        Some(task @ "token_classify") if tasks.classify => Err(switch(task)),
        Some(task) => {
            let embed: &[&str] = if tasks.embed { &["'token_embed'", "'embed'"] } else { &[] };
            let classify: &[&str] = if tasks.classify { &["'token_classify'", "'classify'"] } else { &[] };
            let supported = [embed, classify].concat().join(", ");
            let message = format!("Unsupported task: '{task}' Supported tasks: [{supported}]");
            Err(Refusal::parameter(&message, "task"))
        }
    }
}

fn switch(task: &str) -> Refusal {
    Refusal::parameter(
        &format!("Try switching the model's pooling_task via --pooler-config.task {task}."),
        "task",
    )
}

/// Answers `/classify`.
pub(crate) fn classify(engine: &Engine, body: &Value, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let mut fields = Fields::new(body);
    let mut inputs = inputs::read(&mut fields, &["input", "messages"]);
    let truncate = fields.integer("truncate_prompt_tokens");
    let model = fields.text("model");
    fields.finish()?;
    let served = inputs::pooling(engine, model, |tasks| tasks.classify, "Classification")?;
    let tokens = inputs::measure(engine, &mut inputs, truncate)?;
    inputs::enter(engine, &served, inputs.len(), tokens, ticket)?;
    let labels = &engine.settings.labels;
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let probs = probabilities(engine, input);
        let best = (0..probs.len()).max_by(|one, other| probs[*one].total_cmp(&probs[*other])).unwrap_or(0);
        Class {
            index,
            label: labels.get(best).map_or("LABEL_0", String::as_str),
            probs: probs.iter().copied().map(f64::from).collect(),
            num_classes: probs.len(),
        }
    });
    let list = list("classify", &served.id, data.collect(), tokens);
    Ok(Reply::json(StatusCode::OK, json::python(&list)))
}

/// How likely each label is; a single one is as likely as its own sigmoid says.
fn probabilities(engine: &Engine, input: &Input) -> Vec<f32> {
    let size = engine.settings.embedding_dimensions;
    let text = vector::embed(&input.text, size);
    let weights: Vec<f32> = engine
        .settings
        .labels
        .iter()
        .map(|label| {
            (PULL * vector::cosine(&text, &vector::embed(label, size)) + text[label.len() % text.len()]).exp()
        })
        .collect();
    match weights.as_slice() {
        [] => vec![1.0],
        [only] => vec![only / (1.0 + only)],
        several => {
            let sum: f32 = several.iter().sum();
            several.iter().map(|weight| weight / sum).collect()
        }
    }
}

fn list<'a, T>(prefix: &str, model: &'a str, data: Vec<T>, tokens: usize) -> List<'a, T> {
    let id = format!("{prefix}-{}", engine::id());
    List { id, object: "list", created: engine::now(), model, data, usage: Usage::new(tokens, 0) }
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_the_ordinary_one() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
