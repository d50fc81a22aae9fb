//! The page about kinds of providers, from the catalogue.

use std::fmt::Write;

use domain::{Dialect, Operation};
use provider::spec::Probe;
use provider::{CATALOG, Known, Spec};

/// What clients may ask for, as the routes are called.
const ASKED: [(&str, Operation, Dialect); 14] = [
    ("chat completions", Operation::Generate, Dialect::Chat),
    ("completions", Operation::Complete, Dialect::Completions),
    ("Responses", Operation::Generate, Dialect::Responses),
    ("Messages", Operation::Generate, Dialect::Messages),
    ("count tokens", Operation::CountTokens, Dialect::Messages),
    ("embeddings", Operation::Embed, Dialect::Embeddings),
    ("rerank", Operation::Rerank, Dialect::Rerank),
    ("transcription", Operation::Transcribe, Dialect::Transcription),
    ("translation of speech", Operation::Translate, Dialect::Transcription),
    ("score", Operation::Score, Dialect::Vllm),
    ("classify", Operation::Classify, Dialect::Vllm),
    ("pooling", Operation::Pool, Dialect::Vllm),
    ("tokenize", Operation::Tokenize, Dialect::Vllm),
    ("detokenize", Operation::Detokenize, Dialect::Vllm),
];

/// The page, in Markdown.
pub(super) fn page() -> String {
    let mut page = String::from(
        "# Provider reference\n\nEvery type of provider, where it usually lives, what it is known to do.\n\n\
         Generated from the catalogue, `crates/provider/src/catalog.rs`; do not edit.\n\n\
         | Type | Usual address | Key | Passthrough |\n|---|---|---|---|\n",
    );
    let open = config::Config::default().server.enabled_passthrough_providers;
    let built: Vec<&Spec> = CATALOG.iter().copied().filter(|spec| spec.built).collect();
    for spec in &built {
        let address = spec.default_base_url.map_or("–".to_owned(), |url| format!("`{url}`"));
        let key = if spec.keyless { "optional" } else { "needed" };
        let passthrough = if open.iter().any(|kind| kind == spec.name) { "on" } else { "off" };
        let _ = writeln!(page, "| [`{0}`](#{0}) | {address} | {key} | {passthrough} |", spec.name);
    }
    page.push_str(
        "\nA base URL may be written with or without `/v1`, with a path before it, with or without a slash at its end. \
         The variables of each type are in the [configuration reference](config.md#providers-from-the-environment).\n",
    );
    for spec in &built {
        section(&mut page, spec);
    }
    let later: Vec<String> =
        CATALOG.iter().filter(|spec| !spec.built).map(|spec| format!("`{}`", spec.name)).collect();
    if !later.is_empty() {
        let _ = write!(
            page,
            "\n## Known, but not built in this version\n\nA configuration that names one of these loads; the provider is left \
             out with a warning: {}.\n",
            later.join(", ")
        );
    }
    page
}

fn section(page: &mut String, spec: &Spec) {
    let _ = write!(page, "\n## `{}`\n\n", spec.name);
    let having = |wanted| {
        let asked = ASKED.iter().filter(|(_, operation, dialect)| spec.knows(*operation, *dialect) == wanted);
        asked.map(|(word, ..)| *word).collect::<Vec<_>>().join(", ")
    };
    let mut line = |name: &str, text: String| {
        if !text.is_empty() {
            let _ = writeln!(page, "- **{name}:** {text}");
        }
    };
    line("Does", having(Known::Yes));
    line("May do, found out by asking", having(Known::Unknown));
    line("Does not (501)", having(Known::No));
    let probe = match spec.probe {
        Probe::Vllm => "`/version` and `/openapi.json`, with the model list",
        Probe::Sglang => "`/model_info`, `/server_info` and `/openapi.json`, with the model list",
        Probe::LlamaCpp => "`/props`, and `/health` where that is refused, with the model list",
        Probe::Ollama => {
            "`/api/version`, `/api/ps`, and `/api/show` for each of 64 models, with the model list"
        }
        Probe::None => "nothing but the model list",
    };
    line("Asked at start and now and then", probe.into());
    line(
        "Recognised by",
        spec.owner.map(|owner| format!("`owned_by: {owner}` in its model list")).unwrap_or_default(),
    );
    let tagged = |tag| format!("a name without a tag means the one with `:{tag}`");
    line("Names of models", spec.default_tag.map(tagged).unwrap_or_default());
    line("Request id", spec.request_id_header.map(|name| format!("sent as `{name}`")).unwrap_or_default());
    let places = match spec.api_paths {
        Some(paths) => {
            let paths: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
            let kept = if spec.keeps_written_v1 { ", and whatever is written with `v1/`" } else { "" };
            format!(
                "these go below the API's path{kept}: {}; everything else to the server's root",
                paths.join(", ")
            )
        }
        None => "everything goes below the base URL".into(),
    };
    line("Passthrough paths", places);
    let closed: Vec<String> = spec.control_paths.iter().map(|path| format!("`{path}`")).collect();
    line("Control routes, closed by default", closed.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_on_the_page() {
        let page = page();
        for spec in CATALOG {
            assert!(page.contains(&format!("`{}`", spec.name)), "{}", spec.name);
        }
        assert!(page.contains("`/collective_rpc`"));
        let openai = page.split("\n## `openai`\n").nth(1).expect("a section");
        assert!(openai.contains("**Does not (501):** Messages, count tokens, rerank"), "{openai}");
    }
}
