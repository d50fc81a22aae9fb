//! Rerank requests: four products' shapes in, three routes' shapes out.

use std::fmt;

use bytes::Bytes;
use domain::Fault;
use serde::Deserialize;
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::body::Body;
use crate::edit::{Edit, json_string};

/// How many documents a request may have: ten times what hosted rerankers take, and little memory each.
pub const MAX_DOCUMENTS: usize = 100_000;

/// Members that steer the gateway or are Cohere's, Voyage's or Bifrost's alone. Those that mean something for the reply
/// have been read; no upstream needs them.
const OURS: [&str; 6] = ["provider", "return_documents", "params", "rank_fields", "top_k", "fallbacks"];

/// Members that `params` must not bring in by the back door.
const NOT_IN_PARAMS: [&str; 6] = ["model", "provider", "stream", "stream_options", "query", "documents"];

/// Whether a vLLM route takes the request as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// vLLM's own schema: relay it, and relay the reply.
    Vllm,
    /// Another product's: to be rewritten with [`Request::to_vllm`], and the reply with
    /// [`write_reply`](super::write_reply).
    Other,
}

/// One text to be ranked. Slices of the request's body: nothing is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// As the client wrote it: a JSON string or object.
    pub written: Bytes,
    /// What is to be ranked, as JSON: a string, or an object with vLLM's `content` parts.
    pub ranked: Bytes,
}

/// A rerank request that makes sense.
#[derive(Clone, Debug)]
pub struct Request {
    /// As JSON: a string, or an object with vLLM's `content` parts.
    pub query: Bytes,
    /// At least one.
    pub documents: Vec<Document>,
    /// How many results are wanted, one or more; all if `None`.
    pub top_n: Option<u32>,
    /// Whether the documents are wanted back, if it was said.
    pub return_documents: Option<bool>,
    /// Whether a vLLM route takes it as it is.
    pub shape: Shape,
    /// Members of Bifrost's `params` that are to go upstream as members of the top level.
    lifted: Vec<(String, Bytes)>,
}

/// Reads a request in any of the shapes. A fault names the member, and the document by its index.
///
/// - vLLM and Jina: `documents` is a list of strings or `{"content": […]}` objects, or one of them; `top_n`.
/// - Cohere, Jina: `return_documents`, `{"text": …}` objects; Cohere v1 also `rank_fields`, the members of a document
///   that count. Voyage spells `top_n` as `top_k`.
/// - Bifrost: `{"text", "id"?, "meta"?}` objects, options also in `params`; the top level wins.
pub fn read(body: &Body) -> Result<Request, Fault> {
    let query = read_query(body)?;
    let params = read_params(body)?;
    let option = |name: &str| [Some(body), params.as_ref()].into_iter().flatten().find(|b| is_given(b, name));
    let top_n =
        match option("top_n").map(|from| (from, "top_n")).or(option("top_k").map(|from| (from, "top_k"))) {
            None => None,
            Some((from, name)) => Some(read_count(from, name)?),
        };
    let return_documents = match option("return_documents") {
        None => None,
        Some(from) => from.bool("return_documents")?,
    };
    let rank_fields = read_rank_fields(option("rank_fields"))?;
    let documents = read_documents(body, &rank_fields)?;

    let as_vllm = documents.iter().all(|document| document.written == document.ranked)
        && return_documents != Some(false)
        && !["params", "rank_fields", "top_k", "fallbacks"].iter().any(|name| body.has(name))
        && (!body.has("top_n") || top_n.is_some());
    Ok(Request {
        query,
        documents,
        top_n,
        return_documents,
        shape: if as_vllm { Shape::Vllm } else { Shape::Other },
        lifted: params.map(|params| lifted(body, &params)).unwrap_or_default(),
    })
}

impl Request {
    /// The body for a rerank route of vLLM's kind: documents are strings or `content` objects. In vLLM's shape already,
    /// only the model changes.
    pub fn to_vllm(&self, body: &Body, model: &str) -> Bytes {
        if self.shape == Shape::Vllm {
            return body
                .apply(&[Edit::set("model", json_string(model)), Edit::remove("provider")])
                .to_bytes();
        }
        let mut edits = self.edits(model);
        edits.push(Edit::set(
            "documents",
            list(self.documents.iter().map(|document| document.ranked.clone())),
        ));
        edits.push(self.top_n_edit());
        body.apply(&edits).to_bytes()
    }

    /// The body for a route of Cohere's kind (`/v2/rerank`): query and documents are strings. Parts that are not text
    /// cannot be said there, so such a document goes as it is and is for the upstream to judge.
    pub fn to_cohere(&self, body: &Body, model: &str) -> Bytes {
        let mut edits = self.edits(model);
        edits.push(Edit::set("query", as_string(&self.query)));
        edits.push(Edit::set(
            "documents",
            list(self.documents.iter().map(|document| as_string(&document.ranked))),
        ));
        edits.push(self.top_n_edit());
        body.apply(&edits).to_bytes()
    }

    /// The body for a score route: the query against every document. `top_n` is applied when the reply is written.
    pub fn to_score(&self, body: &Body, model: &str) -> Bytes {
        let mut edits = self.edits(model);
        edits.extend(["query", "documents", "top_n"].map(Edit::remove));
        edits.push(Edit::set("text_1", self.query.clone()));
        edits.push(Edit::set("text_2", list(self.documents.iter().map(|document| document.ranked.clone()))));
        body.apply(&edits).to_bytes()
    }

    /// What every rewritten body has in common.
    fn edits(&self, model: &str) -> Vec<Edit> {
        let mut edits = vec![Edit::set("model", json_string(model))];
        edits.extend(OURS.map(Edit::remove));
        edits.extend(self.lifted.iter().map(|(name, json)| Edit::set(name.clone(), json.clone())));
        edits
    }

    fn top_n_edit(&self) -> Edit {
        match self.top_n {
            Some(top_n) => Edit::set("top_n", top_n.to_string()),
            None => Edit::remove("top_n"),
        }
    }
}

fn is_given(body: &Body, name: &str) -> bool {
    body.raw(name).is_some_and(|value| *value != *b"null")
}

fn read_query(body: &Body) -> Result<Bytes, Fault> {
    let fault = |message: &str| Err(Fault::invalid(message).param("query"));
    let Some(query) = body.raw("query").filter(|query| **query != *b"null") else {
        return fault("`query` is required");
    };
    match query[0] {
        b'"' if is_blank(&query) => fault("`query` must not be blank"),
        b'"' => Ok(query),
        b'{' => match read_parts(&query)
            .map_err(|what| Fault::invalid(format!("`query` {what}")).param("query"))?
        {
            Parts { content: Some(content), .. } if !has_content(content) => {
                fault("`query` must not be blank")
            }
            Parts { content: Some(_), .. } => Ok(query),
            _ => fault("`query` must be a string, or an object with a list of `content` parts"),
        },
        _ => fault("`query` must be a string, or an object with a list of `content` parts"),
    }
}

/// Bifrost's `params`, checked like a body of its own.
fn read_params(body: &Body) -> Result<Option<Body>, Fault> {
    let Some(raw) = body.raw("params").filter(|raw| **raw != *b"null") else { return Ok(None) };
    match Body::read(raw) {
        Ok(params) => Ok(Some(params)),
        Err(reject) if reject.param().is_some() => Err(Fault::from(reject).param("params")),
        Err(_) => Err(Fault::invalid("`params` must be an object").param("params")),
    }
}

fn lifted(body: &Body, params: &Body) -> Vec<(String, Bytes)> {
    let goes_up = |name: &&str| {
        !body.has(name) && *name != "top_n" && !OURS.contains(name) && !NOT_IN_PARAMS.contains(name)
    };
    let value = |name: &str| Some((name.to_owned(), params.raw(name)?));
    params.names().filter(goes_up).filter_map(value).collect()
}

fn read_count(from: &Body, name: &'static str) -> Result<u32, Fault> {
    match from.unsigned(name) {
        Ok(Some(count)) if count > 0 => Ok(u32::try_from(count).unwrap_or(u32::MAX)),
        _ => {
            let message =
                format!("`{name}` must be a whole number, 1 or above; leave it out to get all documents");
            Err(Fault::invalid(message).param(name))
        }
    }
}

fn read_rank_fields(from: Option<&Body>) -> Result<Vec<String>, Fault> {
    let Some(from) = from else { return Ok(Vec::new()) };
    let fields: Vec<String> = from
        .parse("rank_fields")
        .map_err(|_| Fault::invalid("`rank_fields` must be a list of names").param("rank_fields"))?
        .unwrap_or_default();
    Ok(fields)
}

fn read_documents(body: &Body, rank_fields: &[String]) -> Result<Vec<Document>, Fault> {
    let fault = |message: String| Fault::invalid(message).param("documents");
    let Some(raw) = body.raw("documents").filter(|raw| **raw != *b"null") else {
        return Err(fault("`documents` is required".into()));
    };
    let written = match raw[0] {
        b'[' => elements(&raw).map_err(|error| fault(format!("`documents` {error}")))?,
        // vLLM takes a single one without a list around it.
        b'"' | b'{' => vec![raw],
        _ => return Err(fault("`documents` must be a list of strings or objects".into())),
    };
    if written.is_empty() {
        return Err(fault("`documents` must not be empty".into()));
    }
    let read = |(index, written): (usize, Bytes)| {
        read_document(written, rank_fields).map_err(|what| {
            let place = format!("documents[{index}]");
            Fault::invalid(format!("`{place}` {what}")).param(place)
        })
    };
    written.into_iter().enumerate().map(read).collect()
}

/// The error says what is wrong, to go after the document's name.
fn read_document(written: Bytes, rank_fields: &[String]) -> Result<Document, String> {
    const BLANK: &str = "must not be blank";
    match written[0] {
        b'"' if is_blank(&written) => Err(BLANK.into()),
        b'"' => Ok(Document { ranked: written.clone(), written }),
        b'{' if !rank_fields.is_empty() => match ranked_fields(&written, rank_fields)? {
            Some(ranked) => Ok(Document { written, ranked }),
            None => Err(format!("has none of the `rank_fields` ({})", rank_fields.join(", "))),
        },
        b'{' => match read_parts(&written)? {
            Parts { content: Some(content), .. } if !has_content(content) => Err(BLANK.into()),
            Parts { content: Some(_), .. } => Ok(Document { ranked: written.clone(), written }),
            Parts { text: Some(text), .. } if is_blank(text.get().as_bytes()) => {
                Err(format!("`text` {BLANK}"))
            }
            Parts { text: Some(text), .. } => {
                let ranked = written.slice_ref(text.get().as_bytes());
                Ok(Document { written, ranked })
            }
            _ => Err("must have a `text`, or a list of `content` parts".into()),
        },
        _ => Err("must be a string, or an object with a `text`".into()),
    }
}

/// The two members of a document that can be ranked; `content` is a list, `text` a string.
struct Parts<'a> {
    text: Option<&'a RawValue>,
    content: Option<&'a RawValue>,
}

fn read_parts(object: &[u8]) -> Result<Parts<'_>, String> {
    #[derive(Deserialize)]
    struct Written<'a> {
        #[serde(borrow)]
        text: Option<&'a RawValue>,
        #[serde(borrow)]
        content: Option<&'a RawValue>,
    }
    let Written { text, content } =
        serde_json::from_slice(object).map_err(|_| "has `text` or `content` twice".to_owned())?;
    if content.is_some_and(|content| !content.get().starts_with('[')) {
        return Err("has a `content` that is not a list of parts; a plain text goes into `text`".into());
    }
    if text.is_some_and(|text| !text.get().starts_with('"')) {
        return Err("has a `text` that is not a string".into());
    }
    Ok(Parts { text, content })
}

/// Cohere's way: the fields that count, each on a line of its own. A single one goes without its name.
fn ranked_fields(object: &Bytes, rank_fields: &[String]) -> Result<Option<Bytes>, String> {
    let object =
        Body::read(object.clone()).map_err(|reject| format!("cannot be read: {}", reject.message()))?;
    let mut lines = Vec::new();
    let mut any_text = false;
    for field in rank_fields.iter().filter(|field| is_given(&object, field)) {
        let text = match object.string(field) {
            Ok(text) => text.unwrap_or_default(),
            Err(_) => String::from_utf8_lossy(&object.raw(field).unwrap_or_default()).into_owned(),
        };
        any_text |= !text.trim().is_empty();
        lines.push(if rank_fields.len() == 1 { text } else { format!("{field}: {text}") });
    }
    Ok(any_text.then(|| json_string(&lines.join("\n"))))
}

/// Whether a list of content parts has anything in it to be ranked.
fn has_content(parts: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        text: Option<&'a RawValue>,
    }
    // A part that cannot be read as an object is for the upstream to judge: it has words for it.
    let blank = |part: &Part<'_>| part.text.is_some_and(|text| is_blank(text.get().as_bytes()));
    match serde_json::from_str::<Vec<&RawValue>>(parts.get()) {
        Ok(parts) => {
            parts.iter().any(|part| !serde_json::from_str(part.get()).is_ok_and(|part| blank(&part)))
        }
        Err(_) => true,
    }
}

/// A string for it; an object only if it has parts that are not text.
fn as_string(ranked: &Bytes) -> Bytes {
    #[derive(Deserialize)]
    struct Texts {
        content: Vec<Text>,
    }
    #[derive(Deserialize)]
    struct Text {
        text: String,
    }
    match serde_json::from_slice::<Texts>(ranked) {
        Ok(Texts { content }) => {
            let texts: Vec<String> = content.into_iter().map(|part| part.text).collect();
            json_string(&texts.join("\n"))
        }
        Err(_) => ranked.clone(),
    }
}

/// Whether a JSON string has nothing but whitespace in it. Decodes only one that begins with an escape.
fn is_blank(string: &[u8]) -> bool {
    let inside = std::str::from_utf8(string).unwrap_or_default().trim_matches('"').trim_start();
    match inside.bytes().next() {
        None => true,
        Some(b'\\') => serde_json::from_slice::<String>(string).is_ok_and(|text| text.trim().is_empty()),
        Some(_) => false,
    }
}

fn list(items: impl Iterator<Item = Bytes>) -> Bytes {
    let mut list = vec![b'['];
    for (index, item) in items.enumerate() {
        if index > 0 {
            list.push(b',');
        }
        list.extend_from_slice(&item);
    }
    list.push(b']');
    list.into()
}

/// The elements of a JSON list, as slices of it.
fn elements(list: &Bytes) -> Result<Vec<Bytes>, String> {
    struct Elements<'a>(&'a Bytes);

    impl<'de> Visitor<'de> for Elements<'_> {
        type Value = Result<Vec<Bytes>, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = seq.next_element::<&RawValue>()? {
                if elements.len() == MAX_DOCUMENTS {
                    while seq.next_element::<&RawValue>()?.is_some() {}
                    return Ok(Err(format!("must not have more than {MAX_DOCUMENTS} elements")));
                }
                elements.push(self.0.slice_ref(element.get().as_bytes()));
            }
            Ok(Ok(elements))
        }
    }

    let mut deserializer = serde_json::Deserializer::from_slice(list);
    deserializer.deserialize_seq(Elements(list)).unwrap_or_else(|_| Err("must be a list".into()))
}
