//! Requests: a chat of the size that is asked for, with the members in the order in which SDKs write them.
//!
//! `messages` stand first and `model` behind them, as the OpenAI SDK for Python does it: a gateway has to get past the
//! prompt before it knows where the call goes. No stream asks for its usage: a gateway that accounts has to.

use super::Plan;

/// Part of a prompt, escaped as it stands in JSON: prose, and code with the quotes and line breaks that it has.
const TEXT: [&str; 3] = [
    "Please look at the service below: connections to the upstream stay open for a while, and one of them dies early. ",
    "Say which file you would change first, and why; name the line when you know it. ",
    "fn route(name: &str) -> Option<&str> {\\n    let (host, path) = name.split_once('/')?;\\n    println!(\\\"{host} {path}\\\");\\n    Some(path)\\n}\\n",
];

/// No message is longer than this, in bytes.
const MESSAGE: usize = 4096;

/// The bytes of a request.
pub fn request(plan: &Plan) -> Vec<u8> {
    let body = body(plan);
    let mut head = format!(
        "POST {}{} HTTP/1.1\r\nhost: {}\r\naccept: */*\r\nuser-agent: ferrovia-bench\r\ncontent-type: application/json\r\n",
        plan.base,
        plan.dialect.path(),
        plan.address,
    );
    if let Some(key) = &plan.key {
        head.push_str(&format!("authorization: Bearer {key}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut request = head.into_bytes();
    request.extend_from_slice(body.as_bytes());
    request
}

/// A body of `plan.prompt` bytes, or of as few as its shape allows.
fn body(plan: &Plan) -> String {
    let member = if plan.dialect.path().ends_with("responses") { "input" } else { "messages" };
    let (stream, tokens) = (plan.events.is_some(), plan.events.unwrap_or(256));
    let tail = format!(
        r#"],"model":"{}","temperature":0.2,"{}":{tokens},"stream":{stream}}}"#,
        plan.model,
        plan.dialect.limit_member(),
    );
    let mut body = format!(r#"{{"{member}":["#);
    let mut left = plan.prompt.saturating_sub(body.len() + tail.len());
    for at in 0.. {
        let (open, close) = (message(at), "\"}");
        let frame = open.len() + close.len();
        let text = left.saturating_sub(frame).clamp(1, MESSAGE);
        // what would be left must be room for one more message, or nothing
        let rest = left.saturating_sub(frame + text);
        let text = if (1..frame + 2).contains(&rest) { text + rest } else { text };
        body.push_str(&open);
        fill(&mut body, text);
        body.push_str(close);
        left = left.saturating_sub(frame + text);
        if left == 0 {
            break;
        }
    }
    body.push_str(&tail);
    body
}

fn message(at: usize) -> String {
    let role = if at.is_multiple_of(2) { "user" } else { "assistant" };
    let comma = if at == 0 { "" } else { "," };
    format!(r#"{comma}{{"role":"{role}","content":""#)
}

/// Appends so many bytes of text, never half an escape.
fn fill(body: &mut String, bytes: usize) {
    let end = body.len() + bytes;
    for text in TEXT.iter().cycle() {
        if body.len() + text.len() > end {
            break;
        }
        body.push_str(text);
    }
    while body.len() < end {
        body.push('.');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::dialect::Dialect;
    use crate::mock::Wanted;

    #[test]
    fn a_request_has_the_size_that_was_asked_for() {
        let address = "127.0.0.1:4000".parse().unwrap();
        for dialect in Dialect::ALL {
            for prompt in [900, 1 << 10, 4700, 8400, 100_000, 1 << 20] {
                let plan =
                    Plan { prompt, dialect, events: Some(7), ..Plan::one_call(address, "vllm/bench-10ms") };
                let body = body(&plan);
                assert_eq!(body.len(), prompt, "{}", dialect.name());
                let json: Value = serde_json::from_str(&body).expect("JSON");
                assert_eq!(json["stream"], true);
                let wanted = Wanted::read(dialect.path(), body.as_bytes()).expect("the mock understands it");
                assert_eq!((wanted.events, wanted.stream, wanted.usage), (7, true, false));
            }
        }
    }

    #[test]
    fn a_request_is_http() {
        let plan = Plan {
            key: Some("secret".into()),
            base: "/ai".into(),
            ..Plan::one_call("127.0.0.1:4000".parse().unwrap(), "bench")
        };
        let text = String::from_utf8(request(&plan)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /ai/v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:4000\r\n"));
        assert!(head.contains("authorization: Bearer secret"));
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
    }
}
