//! The proof: one streamed chat through the gateway, shown as it arrives, with its times.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use bytes::BytesMut;
use domain::Secret;
use http::HeaderMap;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::super::{fetch, fetch::Asker, print};
use super::{KEY, PATIENCE, PUBLIC};

/// What is asked.
const QUESTION: &str = "Tell me about night trains.";

/// An event is never longer in a demo.
const LONGEST_EVENT: usize = 1 << 20;

/// Sends the request, prints the text as it comes, then what it took.
pub(super) async fn give(url: &str) -> anyhow::Result<()> {
    let asker = Asker::new(url, Some(&Secret::from(KEY)), PATIENCE)?;
    let mut out = print::out();
    writeln!(out, "{}  {QUESTION}", print::paint(print::DIM, "you  "))?;
    write!(out, "{}  ", print::paint(print::DIM, "model"))?;
    out.flush()?;
    let request = json!({
        "model": PUBLIC,
        "messages": [{ "role": "user", "content": QUESTION }],
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    let began = Instant::now();
    let answer = asker.post("/v1/chat/completions", request.to_string()).await?;
    if !answer.status.is_success() {
        let status = answer.status.as_u16();
        let body = fetch::whole(answer).await?;
        bail!("the gateway answered {status}: {}", dialect::fault::refusal(status, &body).message);
    }
    let own = own_share(&answer.headers);
    let mut told = Told::default();
    let (mut body, mut waiting) = (answer.body, BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow!(error.sentence()))?;
        let Some(data) = frame.data_ref() else { continue };
        waiting.extend_from_slice(data);
        while let Some(end) = dialect::sse::event_end(&waiting, 0) {
            let event = waiting.split_to(end);
            let text = told.take(&event, began)?;
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
        if waiting.len() > LONGEST_EVENT {
            bail!("the gateway sent an event that does not end");
        }
    }
    let took = began.elapsed();
    let first = told.first.ok_or_else(|| anyhow!("the stream ended without a word"))?;
    if !told.done {
        bail!("the stream broke off");
    }
    let share = own.map_or(String::new(), |own| format!(", of which the gateway took {own:.3} ms"));
    writeln!(out, "\n")?;
    let line = format!(
        "{} tokens in {:.2} s; the first after {:.1} ms{share}",
        told.tokens.map_or("?".to_owned(), |tokens| tokens.to_string()),
        took.as_secs_f64(),
        first.as_secs_f64() * 1e3,
    );
    writeln!(out, "{}  {line}", print::paint(print::GOOD, "works"))?;
    out.flush()?;
    Ok(())
}

/// What the stream has told so far.
#[derive(Default)]
struct Told {
    first: Option<Duration>,
    tokens: Option<u64>,
    done: bool,
}

impl Told {
    /// Takes one event, and gives the text that it adds.
    fn take(&mut self, event: &[u8], began: Instant) -> anyhow::Result<String> {
        let Some(data) = dialect::sse::read(event).data else { return Ok(String::new()) };
        if data.as_ref() == b"[DONE]" {
            self.done = true;
            return Ok(String::new());
        }
        let event: Value = serde_json::from_slice(&data)?;
        if let Some(sentence) = event.pointer("/error/message").and_then(Value::as_str) {
            bail!("the stream ended with an error: {sentence}");
        }
        if let Some(tokens) = event.pointer("/usage/completion_tokens").and_then(Value::as_u64) {
            self.tokens = Some(tokens);
        }
        let text = event.pointer("/choices/0/delta/content").and_then(Value::as_str).unwrap_or_default();
        if !text.is_empty() && self.first.is_none() {
            self.first = Some(began.elapsed());
        }
        Ok(text.to_owned())
    }
}

/// The gateway's own share of the time to the head of the reply, in milliseconds: `gateway;dur=0.123`.
fn own_share(headers: &HeaderMap) -> Option<f64> {
    let timing = headers.get("server-timing")?.to_str().ok()?;
    let own = timing.split(',').find_map(|part| part.trim().strip_prefix("gateway;dur="))?;
    own.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_share_is_read_from_its_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(own_share(&headers), None);
        headers.insert("server-timing", "gateway;dur=0.125, upstream;dur=9.000".parse().expect("a value"));
        assert_eq!(own_share(&headers), Some(0.125));
    }

    #[test]
    fn a_stream_is_told_event_by_event() {
        let (mut told, began) = (Told::default(), Instant::now());
        let text =
            told.take(b"data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n", began).expect("text");
        assert_eq!((text.as_str(), told.first.is_some(), told.done), ("Hi", true, false));
        told.take(b"data: {\"choices\":[],\"usage\":{\"completion_tokens\":3}}\n\n", began).expect("usage");
        told.take(b"data: [DONE]\n\n", began).expect("the end");
        assert_eq!((told.tokens, told.done), (Some(3), true));
        assert!(told.take(b"data: {\"error\":{\"message\":\"no\"}}\n\n", began).is_err());
    }
}
