//! The page about errors: statuses and shapes as `dialect` writes them, codes as the sources spell them.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::{anyhow, bail};
use domain::{Dialect, Fault, FaultKind};
use serde_json::Value;

use crate::repository::File;

/// Every kind, in the order of its status.
const KINDS: [FaultKind; 15] = [
    FaultKind::Invalid,
    FaultKind::Unauthenticated,
    FaultKind::Forbidden,
    FaultKind::NotFound,
    FaultKind::MethodNotAllowed,
    FaultKind::RequestTimeout,
    FaultKind::TooLarge,
    FaultKind::RateLimited,
    FaultKind::Refused(422),
    FaultKind::Internal,
    FaultKind::Unsupported,
    FaultKind::Unreachable,
    FaultKind::Broken,
    FaultKind::Unavailable,
    FaultKind::TimedOut,
];

/// What a kind means to a client. A new kind does not compile until it is here; put it into [`KINDS`] as well.
fn meaning(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Invalid => {
            "The request makes no sense; `param` names the member at fault. Nothing was sent upstream."
        }
        FaultKind::Unauthenticated => "No key, or not the right one.",
        FaultKind::Forbidden => "Known, but not allowed, as an engine's control routes are.",
        FaultKind::NotFound => "No such route, model or object.",
        FaultKind::MethodNotAllowed => "The route exists, the method does not; `allow` names those that do.",
        FaultKind::RequestTimeout => "The request's body did not arrive in time.",
        FaultKind::TooLarge => "The body is larger than `server.body_size_limit`.",
        FaultKind::RateLimited => "Too much at once; `retry-after` says when to ask again.",
        FaultKind::Refused(_) => {
            "The upstream refused with this status, which is passed on with its own words."
        }
        FaultKind::Internal => "A mistake of the gateway.",
        FaultKind::Unsupported => "No configured provider can do this.",
        FaultKind::Unreachable => "The upstream could not be reached, or hung up.",
        FaultKind::Broken => "The upstream's answer is not one.",
        FaultKind::Unavailable => {
            "Nothing can serve this now; `retry-after` says when to ask again, if that is known."
        }
        FaultKind::TimedOut => "The upstream did not answer in time.",
    }
}

/// The words for programs, in `error.code`.
const CODES: &[(&str, &str)] = &[
    ("circuit_breaker_open", "The model failed too often and is left alone for a while."),
    (
        "control_route_denied",
        "The passthrough path controls the engine; `server.passthrough_control_routes.allow` opens it.",
    ),
    ("invalid_type", "A member has the wrong type; `param` names it."),
    ("missing_required_parameter", "A member is missing; `param` names it."),
    ("model_not_found", "No provider has this model; near names are in the message."),
    (
        "provider_busy",
        "The provider has as many calls as `providers.*.max_in_flight` allows; ask again in a moment.",
    ),
    ("provider_unavailable", "The provider that the model names has not answered yet."),
    ("request_header_fields_too_large", "The head is larger than `server.max_header_size`."),
    ("request_memory_exhausted", "The gateway holds as many request bytes as it may; ask again in a moment."),
    ("request_timeout", "The request's body did not arrive in time."),
    ("request_too_large", "The body is larger than it may be."),
    ("response_incomplete", "The upstream's reply was cut off."),
    ("server_shutdown", "The gateway ends; ask again, another one may answer."),
    ("stream_incomplete", "The upstream's stream ended without its end."),
    ("unsupported_operation", "The provider cannot do this."),
    ("unsupported_rerank_operation", "The provider cannot rerank."),
    ("unsupported_response_operation", "The provider has no Responses, or cannot store them."),
    ("upload_spool_unavailable", "An upload that must be stored cannot be; send `model` before the file."),
];

/// The page, in Markdown. Fails if the sources know a code that is not described here, or the other way round.
pub(super) fn page(files: &[File]) -> anyhow::Result<String> {
    let used = codes_in(files);
    if let Some(unknown) = used.iter().find(|code| CODES.iter().all(|(known, _)| known != *code)) {
        bail!(
            "the sources know the error code {unknown:?}: describe it in crates/xtask/src/generate/errors.rs"
        );
    }
    if let Some((gone, _)) = CODES.iter().find(|(code, _)| !is_spelt(files, code)) {
        bail!(
            "no source knows the error code {gone:?} any more: remove it from crates/xtask/src/generate/errors.rs"
        );
    }
    let mut page = String::from(
        "# Error reference\n\nWhich errors clients get, and in which shape: that of the dialect they speak.\n\n\
         Generated from `domain::FaultKind` and `dialect::fault`; do not edit.\n\n\
         | Status | `type` for OpenAI's clients | `type` for Anthropic's | Meaning |\n|---|---|---|---|\n",
    );
    for kind in KINDS {
        let fault = Fault::new(kind, "…");
        let status = match kind {
            FaultKind::Refused(_) => "4xx, 5xx".to_owned(),
            _ => dialect::fault::status(&fault).as_u16().to_string(),
        };
        let (openai, anthropic) = match kind {
            FaultKind::Refused(_) => ("by status".to_owned(), "by status".to_owned()),
            _ => (
                format!("`{}`", type_in(Dialect::Chat, &fault)?),
                format!("`{}`", type_in(Dialect::Messages, &fault)?),
            ),
        };
        let _ = writeln!(page, "| {status} | {openai} | {anthropic} | {} |", meaning(kind));
    }
    page.push_str("\n## Codes\n\n`error.code` in OpenAI's shape; null where there is none. Codes of an upstream are passed on.\n\n");
    page.push_str("| Code | Meaning |\n|---|---|\n");
    for (code, meaning) in CODES {
        let _ = writeln!(page, "| `{code}` | {meaning} |");
    }
    examples(&mut page)?;
    Ok(page)
}

fn type_in(dialect: Dialect, fault: &Fault) -> anyhow::Result<String> {
    let body: Value = serde_json::from_slice(&dialect::fault::body(dialect, fault, "r"))?;
    let kind = body.pointer("/error/type").and_then(Value::as_str);
    kind.map(str::to_owned).ok_or_else(|| anyhow!("an error of {dialect:?} has no type"))
}

fn examples(page: &mut String) -> anyhow::Result<()> {
    let wrong = Fault::invalid("model is required").param("model").code("missing_required_parameter");
    let cut = Fault::new(FaultKind::Broken, "the upstream's stream ended early").code("stream_incomplete");
    page.push_str("\n## Shapes\n");
    for (title, dialect) in [("OpenAI's clients", Dialect::Chat), ("Anthropic's clients", Dialect::Messages)]
    {
        let body = String::from_utf8(dialect::fault::body(dialect, &wrong, "req-1").to_vec())?;
        let event = String::from_utf8(dialect::fault::event(dialect, &cut, "req-1", 0).to_vec())?;
        let _ = write!(
            page,
            "\n{title}, as a body:\n\n```json\n{body}\n```\n\nas the last event of a stream that had begun:\n\n```text\n{}\n```\n",
            event.trim_end()
        );
    }
    Ok(())
}

/// Sources that say what went wrong.
fn sources(files: &[File]) -> impl Iterator<Item = &File> {
    let says = |file: &&File| {
        ["crates/gateway/src/", "crates/server/src/http/"].iter().any(|place| file.path.starts_with(place))
    };
    files.iter().filter(|file| file.kind() == "rs").filter(says)
}

/// Codes that are given with `.code("…")`, outside of tests.
fn codes_in(files: &[File]) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for file in sources(files) {
        let own = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        found.extend(own.split(".code(\"").skip(1).filter_map(|rest| rest.split('"').next()));
    }
    found
}

fn is_spelt(files: &[File], code: &str) -> bool {
    let quoted = format!("\"{code}\"");
    sources(files).any(|file| file.text.contains(&quoted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Repository;

    #[test]
    fn every_kind_has_its_row() {
        let kinds: BTreeSet<String> = KINDS.iter().map(|kind| format!("{kind:?}")).collect();
        assert_eq!(kinds.len(), KINDS.len(), "one is there twice");
        let files = Repository::here().files().expect("files");
        let page = page(&files).expect("a page");
        for kind in KINDS {
            assert!(page.contains(meaning(kind)), "{kind:?}");
        }
        assert!(page.contains("| 504 | `provider_error` | `api_error` |"), "{page}");
    }

    #[test]
    fn a_code_that_nobody_described_stops_the_page() {
        let mut files = Repository::here().files().expect("files");
        let text = "//! X.\nfn f() { fault.code(\"brand_new\") }\n".to_owned();
        files.push(File { path: "crates/gateway/src/x.rs".into(), text });
        let error = page(&files).expect_err("refused").to_string();
        assert!(error.contains("brand_new"), "{error}");
        let error = page(&[]).expect_err("refused").to_string();
        assert!(error.contains("any more"), "{error}");
    }
}
