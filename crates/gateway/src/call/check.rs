//! What a body must hold for any engine to answer it. What is refused here never goes upstream.

use bytes::Bytes;
use dialect::Body;
use domain::{Dialect, Fault, Operation};

/// The code of a fault about a member that is not there.
pub(crate) const MISSING: &str = "missing_required_parameter";

/// Whether a request was refused because it names no model.
pub(crate) fn names_no_model(fault: &Fault) -> bool {
    fault.param.as_deref() == Some("model") && fault.code.as_deref() == Some(MISSING)
}

/// A member that is not there.
fn missing(name: &str) -> Fault {
    Fault::invalid(format!("Missing required parameter: '{name}'.")).param(name).code(MISSING)
}

/// A member of another type than it must have.
pub(crate) fn wrong_type(name: &str, expected: &str) -> Fault {
    Fault::invalid(format!("'{name}' must be {expected}")).param(name).code("invalid_type")
}

/// A member with a value that is not `null`.
pub(super) fn given(body: &Body, name: &str) -> Option<Bytes> {
    body.raw(name).filter(|raw| &raw[..] != b"null")
}

/// A member that must be there: its name, with which byte its value may begin (empty: any), and what that means.
type Member = (&'static str, &'static str, &'static str);

const TEXTS: &str = "a string or an array";

/// The members without which no engine could answer. Of each list, one member must be there: vLLM embeds conversations,
/// completes from embeddings, and leaves the input of a pooling plugin to it.
fn required(operation: Operation, dialect: Dialect) -> &'static [&'static [Member]] {
    const MESSAGES: Member = ("messages", "[", "an array of messages");
    match (operation, dialect) {
        (Operation::Generate, Dialect::Chat) | (Operation::CountTokens, _) => &[&[MESSAGES]],
        (Operation::Generate, Dialect::Responses) => &[&[("input", "\"[", TEXTS), ("prompt", "", "")]],
        (Operation::Generate, Dialect::Messages) => {
            &[&[MESSAGES], &[("max_tokens", "0123456789", "a positive number")]]
        }
        (Operation::Complete, _) => &[&[("prompt", "\"[", TEXTS), ("prompt_embeds", "", "")]],
        (Operation::Embed | Operation::Classify, _) => &[&[("input", "\"[", TEXTS), MESSAGES]],
        (Operation::Pool, _) => &[&[("input", "\"[", TEXTS), MESSAGES, ("data", "", "")]],
        (Operation::Tokenize, _) => &[&[("prompt", "\"[", TEXTS), MESSAGES]],
        (Operation::Detokenize, _) => &[&[("tokens", "[", "an array of token ids")]],
        _ => &[],
    }
}

/// What vLLM scores: one of these against the other.
const SCORED: [(&str, &[&str]); 3] =
    [("queries", &["documents", "items"]), ("data_1", &["data_2"]), ("text_1", &["text_2"])];

/// Refuses what no engine could answer.
pub(super) fn check(operation: Operation, dialect: Dialect, body: &Body) -> Result<(), Fault> {
    for members in required(operation, dialect) {
        let mut found = false;
        for (name, first, expected) in *members {
            let Some(raw) = given(body, name) else { continue };
            found = true;
            if !first.is_empty() && !raw.first().is_some_and(|byte| first.as_bytes().contains(byte)) {
                return Err(wrong_type(name, expected));
            }
        }
        if !found {
            return Err(missing(members[0].0));
        }
    }
    match operation {
        Operation::Generate | Operation::CountTokens
            if dialect != Dialect::Responses && !body.only_objects("messages") =>
        {
            return Err(wrong_type("messages", "an array of objects"));
        }
        Operation::Score => {
            let whole = |(one, others): &(&str, &[&str])| {
                given(body, one).is_some() && others.iter().any(|other| given(body, other).is_some())
            };
            if !SCORED.iter().any(whole) {
                let begun = SCORED.iter().find(|(one, _)| given(body, one).is_some());
                return Err(missing(begun.map_or("text_1", |(_, others)| others[0])));
            }
        }
        _ => {}
    }
    if matches!(dialect, Dialect::Chat | Dialect::Completions) && given(body, "n").is_some() {
        let n = body.unsigned("n").ok().flatten().filter(|n| *n > 0);
        n.ok_or_else(|| wrong_type("n", "a positive integer"))?;
    }
    Ok(())
}
