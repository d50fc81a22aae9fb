//! A whole completion told as the stream that was asked for.

use bytes::Bytes;
use domain::{Dialect, Fault, FaultKind};
use serde_json::value::RawValue;

use crate::{Body, Edit};

/// The events of a whole chat or text completion that was [judged](super::judge) to be one: a chunk for each choice,
/// one for the usage if it is reported, and `[DONE]`.
///
/// A chat message becomes the chunk's delta, its tool calls numbered as a stream numbers them. Every other member stays
/// as it was written, whether known or not. A transcription is told in OpenAI's events.
pub fn as_stream(dialect: Dialect, body: &Body) -> Result<Bytes, Fault> {
    if dialect == Dialect::Transcription {
        return Ok(transcript(body));
    }
    let object: &[u8] = match dialect {
        Dialect::Completions => b"\"text_completion\"",
        _ => b"\"chat.completion.chunk\"",
    };
    let raw = body.raw("choices").unwrap_or_default();
    let choices: Vec<&RawValue> = serde_json::from_slice(&raw).map_err(|_| broken("choices"))?;
    let mut out = Vec::with_capacity(body.len() + 256);
    for choice in choices {
        let choice = chunk_choice(Bytes::copy_from_slice(choice.get().as_bytes()))?;
        let chunk = body.apply(&[
            Edit::set("object", Bytes::copy_from_slice(object)),
            Edit::set("choices", [b"[", &choice[..], b"]"].concat()),
            Edit::remove("usage"),
        ]);
        event(&chunk.to_bytes(), &mut out);
    }
    if let Some(usage) = body.raw("usage").filter(|usage| usage.starts_with(b"{")) {
        let mut chunk = b"{".to_vec();
        for name in ["id", "created", "model", "system_fingerprint"] {
            if let Some(value) = body.raw(name) {
                chunk.extend_from_slice(&[b"\"", name.as_bytes(), b"\":", &value[..], b","].concat());
            }
        }
        chunk.extend_from_slice(
            &[b"\"object\":", object, b",\"choices\":[],\"usage\":", &usage, b"}"].concat(),
        );
        event(&chunk, &mut out);
    }
    out.extend_from_slice(b"data: [DONE]\n\n");
    Ok(out.into())
}

/// The events of a whole transcription: all of its text at once, as OpenAI's two kinds of event tell it.
fn transcript(body: &Body) -> Bytes {
    let text = body.raw("text").unwrap_or_default();
    let mut out = Vec::with_capacity(2 * text.len() + body.len() + 128);
    event(&[b"{\"type\":\"transcript.text.delta\",\"delta\":", &text[..], b"}"].concat(), &mut out);
    let done = body.apply(&[Edit::set("type", &b"\"transcript.text.done\""[..])]);
    event(&done.to_bytes(), &mut out);
    out.extend_from_slice(b"data: [DONE]\n\n");
    out.into()
}

fn broken(member: &str) -> Fault {
    Fault::new(FaultKind::Broken, format!("failed to unmarshal response: `{member}` is not as documented"))
}

/// A choice as a chunk has it.
fn chunk_choice(raw: Bytes) -> Result<Bytes, Fault> {
    let choice = Body::read(raw).map_err(|_| broken("choices"))?;
    let Some(message) = choice.raw("message").filter(|message| message.starts_with(b"{")) else {
        return Ok(choice.bytes().clone());
    };
    let delta = delta(message)?;
    Ok(choice.apply(&[Edit::remove("message"), Edit::set("delta", delta)]).to_bytes())
}

/// A message as a delta: the same, but for the numbers that its tool calls have in a stream.
fn delta(message: Bytes) -> Result<Bytes, Fault> {
    let message = Body::read(message).map_err(|_| broken("message"))?;
    let Some(calls) = message.raw("tool_calls").filter(|calls| calls.starts_with(b"[")) else {
        return Ok(message.bytes().clone());
    };
    let calls: Vec<&RawValue> = serde_json::from_slice(&calls).map_err(|_| broken("tool_calls"))?;
    let mut numbered = b"[".to_vec();
    for (place, call) in calls.into_iter().enumerate() {
        let call =
            Body::read(Bytes::copy_from_slice(call.get().as_bytes())).map_err(|_| broken("tool_calls"))?;
        if place > 0 {
            numbered.push(b',');
        }
        numbered.extend_from_slice(&call.apply(&[Edit::default_to("index", place.to_string())]).to_bytes());
    }
    numbered.push(b']');
    Ok(message.apply(&[Edit::set("tool_calls", numbered)]).to_bytes())
}

/// Appends an event. A line break can only stand between JSON's words, where a space does as well.
fn event(json: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend(json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    out.extend_from_slice(b"\n\n");
}
