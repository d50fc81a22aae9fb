//! The invitation: lines that work when they are pasted while the demo runs.

use std::io::Write;

use super::super::print as terminal;
use super::super::simulate::chat_line;
use super::{KEY, PUBLIC};

/// Prints what to point at the gateway.
pub(super) fn print(url: &str) -> anyhow::Result<()> {
    let mut out = terminal::out();
    let mut title = |text: &str, lines: &[String]| {
        writeln!(out, "\n{}", terminal::paint(terminal::BOLD, text))?;
        lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
    };
    title(
        "Point anything at it",
        &[
            format!("base URL   {url}/v1   (Anthropic's clients: {url})"),
            format!("key        {KEY}"),
            format!("model      {PUBLIC}"),
        ],
    )?;
    let header = format!("Authorization: Bearer {KEY}");
    title("curl", &[chat_line(&format!("{url}/v1"), Some(&header), PUBLIC)])?;
    title("Python, openai", &openai(url))?;
    title("Python, anthropic", &anthropic(url))?;
    title("Codex", &[codex(url)])?;
    title("Claude Code", &[claude(url)])?;
    let ferrovia = terminal::program();
    let own = "VLLM_BASE_URL=http://localhost:8000/v1";
    title("Your own vLLM instead", &[format!("{own} {ferrovia} doctor"), format!("{own} {ferrovia}")])?;
    writeln!(out, "\n{}", terminal::paint(terminal::DIM, "Ctrl-C ends the demo."))?;
    out.flush()?;
    Ok(())
}

fn openai(url: &str) -> [String; 3] {
    [
        "from openai import OpenAI".into(),
        format!("client = OpenAI(base_url=\"{url}/v1\", api_key=\"{KEY}\")"),
        format!(
            "print(client.chat.completions.create(model=\"{PUBLIC}\", \
             messages=[{{\"role\": \"user\", \"content\": \"Hello\"}}]).choices[0].message.content)"
        ),
    ]
}

fn anthropic(url: &str) -> [String; 3] {
    [
        "from anthropic import Anthropic".into(),
        format!("client = Anthropic(base_url=\"{url}\", api_key=\"{KEY}\")"),
        format!(
            "print(client.messages.create(model=\"{PUBLIC}\", max_tokens=256, \
             messages=[{{\"role\": \"user\", \"content\": \"Hello\"}}]).content[0].text)"
        ),
    ]
}

/// Codex speaks the Responses API. Its provider is given as TOML.
fn codex(url: &str) -> String {
    let provider = format!(
        "model_providers.ferrovia={{name=\"Ferrovia\",base_url=\"{url}/v1\",env_key=\"FERROVIA_KEY\",wire_api=\"responses\"}}"
    );
    format!("FERROVIA_KEY={KEY} codex -c model_provider=ferrovia -c '{provider}' -m {PUBLIC}")
}

/// Claude Code speaks the Messages API.
fn claude(url: &str) -> String {
    format!(
        "ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN={KEY} ANTHROPIC_SMALL_FAST_MODEL={PUBLIC} claude --model {PUBLIC}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_names_the_gateway_and_the_key() {
        let url = "http://127.0.0.1:8080";
        for text in [openai(url).concat(), anthropic(url).concat(), codex(url), claude(url)] {
            assert!(text.contains(url) && text.contains(KEY) && text.contains(PUBLIC), "{text}");
        }
    }
}
