//! Rerank replies: what an upstream's route answered, checked strictly, and what the client gets.

use std::cmp::Ordering;

use bytes::Bytes;
use domain::{Fault, FaultKind, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Request;
use crate::edit::json_string;

/// Which kind of route answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyShape {
    /// `results`, each with `index` and `relevance_score` (or `score`): vLLM, Jina, Cohere, llama.cpp.
    Rerank,
    /// `data`, each with `index` and `score`, one for every document: vLLM's score route.
    Score,
}

impl ReplyShape {
    fn word(self) -> &'static str {
        match self {
            ReplyShape::Rerank => "rerank",
            ReplyShape::Score => "score",
        }
    }

    fn list(self) -> &'static str {
        match self {
            ReplyShape::Rerank => "results",
            ReplyShape::Score => "data",
        }
    }

    fn item(self) -> &'static str {
        match self {
            ReplyShape::Rerank => "result",
            ReplyShape::Score => "data",
        }
    }
}

/// One document's score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The document's place in the request.
    pub index: usize,
    /// How well it answers the query; finite.
    pub score: f64,
}

/// A reply that makes sense: every index once, and within the request's documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The upstream's id for it.
    pub id: Option<String>,
    /// As the upstream sorted them.
    pub results: Vec<Scored>,
    /// Tokens, if they were reported.
    pub usage: Option<Usage>,
}

/// Reads the reply to a request with that many documents. Anything odd is the upstream's fault: a wrong order of
/// documents would be believed.
pub fn read_reply(bytes: &[u8], documents: usize, from: ReplyShape) -> Result<Reply, Fault> {
    read_parts(bytes, documents, from).map_err(|what| {
        Fault::new(FaultKind::Broken, format!("invalid vllm {} response: {what}", from.word()))
    })
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    results: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
}

fn read_parts(bytes: &[u8], documents: usize, from: ReplyShape) -> Result<Reply, String> {
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err("not a JSON object".into());
    }
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|_| "not valid JSON".to_owned())?;
    let list = match from {
        ReplyShape::Rerank => envelope.results,
        ReplyShape::Score => envelope.data,
    };
    let results = read_results(list, documents, from)?;
    let id = envelope.id.and_then(|id| serde_json::from_str(id.get()).ok());
    let reported = envelope.usage.and_then(read_usage);
    Ok(Reply { id, results, usage: reported.or_else(|| envelope.meta.and_then(read_meta)) })
}

fn read_results(list: Option<&RawValue>, documents: usize, from: ReplyShape) -> Result<Vec<Scored>, String> {
    let (list_name, item_name) = (from.list(), from.item());
    let list = list.ok_or_else(|| format!("missing {list_name}"))?;
    let items: Vec<&RawValue> =
        serde_json::from_str(list.get()).map_err(|_| format!("{list_name} must be an array"))?;
    let mut seen = vec![false; documents];
    let mut results = Vec::with_capacity(items.len().min(documents));
    for item in items {
        let scored = read_item(item, documents, from)?;
        if std::mem::replace(&mut seen[scored.index], true) {
            return Err(format!("duplicate index {}", scored.index));
        }
        results.push(scored);
    }
    if from == ReplyShape::Score && results.len() != documents {
        return Err(format!("{} {item_name} items for {documents} documents", results.len()));
    }
    Ok(results)
}

fn read_item(item: &RawValue, documents: usize, from: ReplyShape) -> Result<Scored, String> {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        index: Option<&'a RawValue>,
        #[serde(borrow)]
        relevance_score: Option<&'a RawValue>,
        #[serde(borrow)]
        score: Option<&'a RawValue>,
    }
    let name = from.item();
    // A list of three would do for a struct of three, says serde.
    if !item.get().starts_with('{') {
        return Err(format!("{name} item must be an object"));
    }
    let item: Item<'_> =
        serde_json::from_str(item.get()).map_err(|_| format!("{name} item has a member twice"))?;
    let written = item.index.map(RawValue::get).unwrap_or_default();
    let index: i128 = written.parse().map_err(|_| format!("{name} index is required"))?;
    let index = usize::try_from(index)
        .ok()
        .filter(|index| *index < documents)
        .ok_or_else(|| format!("{name} index {index} out of range"))?;
    let score = match from {
        ReplyShape::Rerank => {
            let score = item.relevance_score.and_then(number).or_else(|| item.score.and_then(number));
            score.ok_or("relevance_score/score is required")?
        }
        ReplyShape::Score => item.score.and_then(number).ok_or("score is required")?,
    };
    Ok(Scored { index, score })
}

/// The standard library's parser finds the nearest double, serde_json's default one not always.
fn number(value: &RawValue) -> Option<f64> {
    let text = value.get();
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    text.parse().ok().filter(|number: &f64| is_number && number.is_finite())
}

/// `usage` as vLLM and Jina write it (`prompt_tokens` or `input_tokens`, or nothing but `total_tokens`).
fn read_usage(usage: &RawValue) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Written {
        prompt_tokens: Option<u64>,
        input_tokens: Option<u64>,
        completion_tokens: Option<u64>,
        output_tokens: Option<u64>,
        total_tokens: Option<u64>,
    }
    let written: Written = serde_json::from_str(usage.get()).ok()?;
    let output = written.completion_tokens.or(written.output_tokens).unwrap_or(0);
    let rest = || written.total_tokens.map(|total| total.saturating_sub(output));
    let input = written.prompt_tokens.or(written.input_tokens).or_else(rest).unwrap_or(0);
    (input > 0 || output > 0).then(|| Usage { input, output, ..Usage::default() })
}

/// Cohere keeps its tokens in `meta.tokens`.
fn read_meta(meta: &RawValue) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Meta<'a> {
        #[serde(borrow)]
        tokens: &'a RawValue,
    }
    read_usage(serde_json::from_str::<Meta<'_>>(meta.get()).ok()?.tokens)
}

/// The reply for the client, in vLLM's shape: sorted by score, highest first, then by index; no more than `top_n`; the
/// documents only if they were asked for.
///
/// A document comes back as the client wrote it if that was an object, as `{"text": …}` if it was a string.
pub fn write_reply(reply: &Reply, request: &Request, model: &str) -> Bytes {
    let mut results = reply.results.clone();
    results
        .sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal).then(a.index.cmp(&b.index)));
    results.truncate(request.top_n.map_or(usize::MAX, |top_n| top_n as usize));

    let mut out = Vec::with_capacity(256 + results.len() * 64);
    out.push(b'{');
    if let Some(id) = &reply.id {
        out.extend_from_slice(b"\"id\":");
        out.extend_from_slice(&json_string(id));
        out.push(b',');
    }
    out.extend_from_slice(b"\"model\":");
    out.extend_from_slice(&json_string(model));
    if let Some(usage) = reply.usage {
        let (prompt, total) = (usage.input, usage.total());
        out.extend_from_slice(
            format!(",\"usage\":{{\"prompt_tokens\":{prompt},\"total_tokens\":{total}}}").as_bytes(),
        );
    }
    out.extend_from_slice(b",\"results\":[");
    for (place, result) in results.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(format!("{{\"index\":{}", result.index).as_bytes());
        let document = request.documents.get(result.index).filter(|_| request.return_documents == Some(true));
        if let Some(document) = document {
            out.extend_from_slice(b",\"document\":");
            match document.written.starts_with(b"{") {
                true => out.extend_from_slice(&document.written),
                false => {
                    out.extend_from_slice(b"{\"text\":");
                    out.extend_from_slice(&document.written);
                    out.push(b'}');
                }
            }
        }
        out.extend_from_slice(b",\"relevance_score\":");
        let score = serde_json::Number::from_f64(result.score).unwrap_or_else(|| 0.into());
        out.extend_from_slice(score.to_string().as_bytes());
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out.into()
}
