//! `/score` and `/rerank`, with their `/v1` and `/v2` spellings.

use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::fields::Fields;
use super::generation::Served;
use super::inputs::{self, Input};
use super::json;
use super::refusal::{Invalid, Refusal};
use super::usage::Usage;
use crate::engine::{self, Engine};
use crate::reply::Reply;
use crate::ticket::Ticket;
use crate::vector;

#[derive(Serialize)]
struct Scores<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    data: Vec<Score>,
    usage: Usage,
}

#[derive(Serialize)]
struct Score {
    index: usize,
    object: &'static str,
    score: f64,
}

#[derive(Serialize)]
struct Ranking<'a> {
    id: String,
    model: &'a str,
    usage: RankingUsage,
    results: Vec<Ranked<'a>>,
}

#[derive(Serialize)]
struct RankingUsage {
    prompt_tokens: usize,
    total_tokens: usize,
}

#[derive(Serialize)]
struct Ranked<'a> {
    index: usize,
    document: Document<'a>,
    relevance_score: f64,
}

#[derive(Serialize)]
struct Document<'a> {
    text: &'a str,
    multi_modal: Option<()>,
}

/// The pairs of members in which a request may bring its two sides, in the order vLLM tries them.
const SIDES: [(&str, &str); 4] =
    [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")];

/// Answers `/score`.
pub(crate) fn score(engine: &Engine, body: &Value, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let mut fields = Fields::new(body);
    let model = fields.text("model");
    let sides = SIDES.iter().find(|(one, other)| fields.get(one).is_some() && fields.get(other).is_some());
    let Some((one, other)) = sides else {
        for (one, other) in SIDES {
            for name in [one, other] {
                if fields.get(name).is_none() {
                    fields.wrong(Invalid::missing(fields.place(name), body));
                }
            }
        }
        fields.finish()?;
        return Err(Refusal::bad("nothing to score"));
    };
    let (left, right) = (side(&mut fields, one), side(&mut fields, other));
    fields.finish()?;
    let served = scoring(engine, model, "Score")?;
    let (left, right) = (left?, right?);
    let (scores, tokens) = compare(engine, &left, &right)?;
    inputs::enter(engine, &served, scores.len(), tokens, ticket)?;
    let data = scores.into_iter().enumerate();
    let scores = Scores {
        id: format!("score-{}", engine::id()),
        object: "list",
        created: engine::now(),
        model: &served.id,
        data: data.map(|(index, score)| Score { index, object: "score", score }).collect(),
        usage: Usage::new(tokens, 0),
    };
    Ok(Reply::json(StatusCode::OK, json::python(&scores)))
}

/// Answers `/rerank`.
pub(crate) fn rerank(engine: &Engine, body: &Value, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let mut fields = Fields::new(body);
    let model = fields.text("model");
    let query = fields.required("query").map(|_| side(&mut fields, "query"));
    let documents = fields.required("documents").map(|_| side(&mut fields, "documents"));
    let top = fields.integer("top_n").unwrap_or(0);
    fields.finish()?;
    let served = scoring(engine, model, "Rerank")?;
    let (query, documents) = (query.unwrap_or(Ok(Vec::new()))?, documents.unwrap_or(Ok(Vec::new()))?);
    let (scores, tokens) = compare(engine, &query, &documents)?;
    inputs::enter(engine, &served, scores.len(), tokens, ticket)?;
    let ranked = scores.into_iter().zip(&documents).enumerate();
    let mut results: Vec<Ranked<'_>> = ranked
        .map(|(index, (relevance_score, input))| Ranked {
            index,
            document: Document { text: &input.text, multi_modal: None },
            relevance_score,
        })
        .collect();
    // a stable sort: equal scores keep the order of the documents
    results.sort_by(|one, other| other.relevance_score.total_cmp(&one.relevance_score));
    results.truncate(usize::try_from(top).ok().filter(|top| *top > 0).unwrap_or(usize::MAX));
    let ranking = Ranking {
        id: format!("score-{}", engine::id()),
        model: &served.id,
        usage: RankingUsage { prompt_tokens: tokens, total_tokens: tokens },
        results,
    };
    Ok(Reply::json(StatusCode::OK, json::python(&ranking)))
}

fn scoring(engine: &Engine, model: Option<&str>, route: &str) -> Result<Served, Refusal> {
    inputs::pooling(engine, model, |tasks| tasks.embed || tasks.classify, route)
}

/// One text or several. Objects are for models that see pictures, and this one does not.
fn side(fields: &mut Fields<'_>, name: &str) -> Result<Vec<Input>, Refusal> {
    let value = fields.get(name).cloned().unwrap_or_default();
    let place = fields.place(name);
    let items = match &value {
        Value::String(text) => return Ok(vec![Input::text(text)]),
        Value::Array(items) => items.as_slice(),
        Value::Object(_) => std::slice::from_ref(&value),
        _ => &[],
    };
    if items.iter().all(|item| item.get("content").is_some()) && !items.is_empty() {
        return Err(Refusal::bad("MultiModalParam is not supported for SimulatedForSequenceClassification"));
    }
    let wrong = items.iter().enumerate().find(|(_, item)| !item.is_string());
    if wrong.is_some() || !(value.is_array() || value.is_object()) {
        fields.wrong(Invalid::new("string_type", &place, "Input should be a valid string", &value));
        let says = "Input should be a valid dictionary";
        fields.wrong(Invalid::new("dict_type", format!("{place}.ScoreMultiModalParam"), says, &value));
        if let Some((index, item)) = wrong {
            let place = format!("{place}.{index}");
            fields.wrong(Invalid::new("string_type", &place, "Input should be a valid string", item));
            fields.wrong(if item.is_object() {
                Invalid::missing(format!("{place}.ScoreMultiModalParam.content"), item)
            } else {
                Invalid::new("dict_type", format!("{place}.ScoreMultiModalParam"), says, item)
            });
        }
    }
    Ok(items.iter().filter_map(Value::as_str).map(Input::text).collect())
}

/// How near the texts lie: one to one, one to many, or pair by pair.
fn compare(engine: &Engine, left: &[Input], right: &[Input]) -> Result<(Vec<f64>, usize), Refusal> {
    if left.is_empty() {
        return Err(Refusal::bad("At least one text element must be given"));
    }
    if right.is_empty() {
        return Err(Refusal::bad("At least one text_pair element must be given"));
    }
    if left.len() > 1 && left.len() != right.len() {
        return Err(Refusal::bad("Input lengths must be either 1:1, 1:N or N:N"));
    }
    let (mut one, mut other) = (left.to_vec(), right.to_vec());
    let tokens = inputs::measure(engine, &mut one, None)? + inputs::measure(engine, &mut other, None)?;
    let size = engine.settings.embedding_dimensions;
    let embed = |input: &Input| vector::embed(&input.text, size);
    let one: Vec<Vec<f32>> = one.iter().map(embed).collect();
    let pairs = one.iter().cycle().zip(&other);
    Ok((pairs.map(|(one, other)| f64::from(vector::cosine(one, &embed(other)))).collect(), tokens))
}
