//! `ferrovia simulate`: the simulated vLLM alone, to build and test against.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use simulator::{Model, Personality, Schedule, Settings, Tasks};

use super::print;
use crate::shutdown;

/// What `ferrovia simulate` takes.
#[derive(Args)]
pub(crate) struct Simulate {
    /// IP address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
    /// TCP port to listen on. 0 takes any free one.
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Id of a model to serve. May be repeated.
    #[arg(long = "model", value_name = "ID", default_value = "simulated")]
    models: Vec<String>,
    /// What the models can do. May be repeated; without it everything.
    #[arg(long = "task", value_name = "TASK")]
    tasks: Vec<Task>,
    /// Let the models think before they speak, as behind vLLM's --reasoning-parser.
    #[arg(long)]
    reasoning: bool,
    /// Key to ask clients for, as vLLM's --api-key.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Prompt tokens read per second; inf for no wait.
    #[arg(long, value_name = "N", default_value_t = Settings::default().prefill_tokens_per_second)]
    prefill_tokens_per_second: f64,
    /// Tokens generated per second and request; inf for no wait.
    #[arg(long, value_name = "N", default_value_t = Settings::default().decode_tokens_per_second)]
    decode_tokens_per_second: f64,
    /// Longest prompt and answer together, in tokens.
    #[arg(long, value_name = "N", default_value_t = Settings::default().max_model_len)]
    max_model_len: u32,
    /// Length of an embedding.
    #[arg(long, value_name = "N", default_value_t = Settings::default().embedding_dimensions)]
    embedding_dimensions: usize,
    /// Whose ways it has: vllm, sglang, llamacpp or ollama.
    #[arg(long, value_name = "ENGINE", default_value = "vllm")]
    personality: Personality,
    /// Version of that engine, which decides the spelling of some members. Without it a current one.
    #[arg(long = "engine-version", value_name = "VERSION")]
    version: Option<String>,
    /// Requests answered at the same time; more wait.
    #[arg(long, value_name = "N", default_value_t = Settings::default().max_num_seqs)]
    max_num_seqs: usize,
    /// Answer the formats text, srt and vtt of transcriptions with texts, as OpenAI does; vLLM itself does not.
    #[arg(long)]
    subtitles: bool,
    /// Open the control routes: adapters, sleep and wake.
    #[arg(long)]
    dev_mode: bool,
    /// JSON file that says which requests meet which fault: {"seed":1,"rules":[{"when":"always","fault":"status:503"}]}.
    /// Without it, requests name their fault in the header x-simulate-fault or in their model.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
}

/// What a simulated model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Task {
    /// Chat, completions, Responses, Messages.
    Generate,
    /// Embeddings; also scores and reranking.
    Embed,
    /// Classification; also scores and reranking.
    Classify,
    /// Speech to text: transcriptions and translations.
    Transcribe,
}

/// Runs until it is asked to end.
pub(super) fn run(simulate: &Simulate) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(simulate))?;
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

fn settings(simulate: &Simulate) -> anyhow::Result<Settings> {
    let faults = simulate.faults.as_ref().map(|path| read_faults(path)).transpose()?;
    let played = Settings::default().played_by(simulate.personality);
    let can = |task| simulate.tasks.is_empty() || simulate.tasks.contains(&task);
    let tasks = Tasks {
        generate: can(Task::Generate),
        embed: can(Task::Embed),
        classify: can(Task::Classify),
        transcribe: can(Task::Transcribe),
    };
    let models = simulate.models.iter();
    Ok(Settings {
        listen: SocketAddr::new(simulate.host, simulate.port),
        models: models.map(|id| Model { tasks, reasoning: simulate.reasoning, ..Model::named(id) }).collect(),
        api_key: simulate.api_key.clone(),
        prefill_tokens_per_second: simulate.prefill_tokens_per_second,
        decode_tokens_per_second: simulate.decode_tokens_per_second,
        max_model_len: simulate.max_model_len,
        embedding_dimensions: simulate.embedding_dimensions,
        version: simulate.version.clone().unwrap_or_else(|| played.version.clone()),
        max_num_seqs: simulate.max_num_seqs,
        subtitles: simulate.subtitles,
        dev_mode: simulate.dev_mode,
        faults: faults.unwrap_or_default(),
        ..played
    })
}

fn read_faults(path: &Path) -> anyhow::Result<Schedule> {
    let text = std::fs::read(path).with_context(|| format!("--faults {}", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("--faults {}: it is no schedule of faults", path.display()))
}

async fn serve(simulate: &Simulate) -> anyhow::Result<()> {
    let settings = settings(simulate)?;
    let (listen, version) = (settings.listen, settings.version.clone());
    let engine = simulator::start(settings).await.with_context(|| format!("cannot simulate on {listen}"))?;
    say(simulate, &version, engine.address())?;
    shutdown::asked_to_end().await;
    engine.stop().await;
    Ok(())
}

fn say(simulate: &Simulate, version: &str, address: SocketAddr) -> anyhow::Result<()> {
    let mut out = print::out();
    let base = format!("http://{}/v1", reachable(address));
    let (model, auth) = (&simulate.models[0], key_header(simulate.api_key.as_deref()));
    let engine = match simulate.personality {
        Personality::Vllm => "vLLM",
        Personality::Sglang => "SGLang",
        Personality::LlamaCpp => "llama.cpp",
        Personality::Ollama => "Ollama",
    };
    let title = print::paint(print::BOLD, format!("Simulated {engine} {version}"));
    writeln!(out, "{title} at {base}, serving {}", simulate.models.join(", "))?;
    writeln!(out)?;
    if simulate.tasks.is_empty() || simulate.tasks.contains(&Task::Generate) {
        writeln!(out, "  {}", chat_line(&base, auth.as_deref(), model))?;
    } else {
        writeln!(out, "  {}", models_line(&base, auth.as_deref()))?;
    }
    writeln!(out)?;
    let kind = simulate.personality.name().to_ascii_uppercase();
    let key = simulate.api_key.as_ref().map(|key| format!("{kind}_API_KEY={key} ")).unwrap_or_default();
    writeln!(out, "The gateway in front of it:\n\n  {kind}_BASE_URL={base} {key}{}\n", print::program())?;
    writeln!(out, "{}", print::paint(print::DIM, "Ctrl-C ends it."))?;
    out.flush()?;
    Ok(())
}

/// The address under which this machine reaches what listens there.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port()))
        }
        _ => address,
    }
}

fn key_header(key: Option<&str>) -> Option<String> {
    key.map(|key| format!("Authorization: Bearer {key}"))
}

/// A chat that works when it is pasted into a shell.
pub(super) fn chat_line(base: &str, header: Option<&str>, model: &str) -> String {
    let body = serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": "Hello" }] });
    let header = header.map(|header| format!(" -H {}", quoted(header))).unwrap_or_default();
    format!(
        "curl {base}/chat/completions{header} -H 'Content-Type: application/json' -d {}",
        quoted(&body.to_string())
    )
}

fn models_line(base: &str, header: Option<&str>) -> String {
    let header = header.map(|header| format!(" -H {}", quoted(header))).unwrap_or_default();
    format!("curl {base}/models{header}")
}

/// In single quotes, as a POSIX shell reads it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_line_survives_the_shell() {
        let line = chat_line("http://h/v1", Some("Authorization: Bearer k"), "it's");
        assert!(line.starts_with("curl http://h/v1/chat/completions -H 'Authorization: Bearer k' -H "));
        assert!(line.contains(r"it'\''s"));
    }

    #[test]
    fn everywhere_is_reached_at_home() {
        let reach = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(reach("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(reach("[::]:1"), "[::1]:1");
        assert_eq!(reach("10.0.0.1:1"), "10.0.0.1:1");
    }
}
