//! `ferrovia models`: the models of the configured providers, asked directly, or those of a running gateway.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use config::Loaded;
use domain::{Dialect, Secret};
use gateway::Gateway;
use gateway::inventory::{ask, file};
use serde_json::Value;

use super::fetch::Asker;
use super::{SettingFlags, block_on, load, print};
use crate::app;

/// How long a running gateway may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `ferrovia models` takes.
#[derive(Args)]
pub(crate) struct Models {
    /// Ask a running gateway at this base URL, such as http://localhost:8080, instead of the providers.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The running gateway's key.
    #[arg(long, value_name = "KEY", requires = "url")]
    key: Option<String>,
    /// Print the list as JSON, in the shape of /v1/models.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) settings: SettingFlags,
}

/// Lists the models. Fails if a provider could not be asked, or the gateway.
pub(super) fn run(models: &Models) -> anyhow::Result<ExitCode> {
    let (list, silent) = match &models.url {
        Some(url) => (block_on(of_a_gateway(url, models.key.as_deref()))??, Vec::new()),
        None => {
            let loaded = match load(&models.settings) {
                Ok(loaded) => loaded,
                Err(code) => return Ok(code),
            };
            if loaded.providers.is_empty() {
                bail!(
                    "no provider is configured; for a vLLM server set VLLM_BASE_URL=http://localhost:8000/v1"
                );
            }
            block_on(of_the_providers(&loaded))??
        }
    };
    let list: Value = serde_json::from_slice(&list).context("the list of models is not JSON")?;
    if models.json {
        print::json(&list)?;
    } else {
        say(&list, silent.is_empty())?;
    }
    for (provider, sentence) in &silent {
        print::warning(&format!("{provider}: {sentence}; `ferrovia doctor {provider}` says what to do"));
    }
    Ok(if silent.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The list of a running gateway.
async fn of_a_gateway(url: &str, key: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let base = url.trim_end_matches('/').trim_end_matches("/v1");
    let key = key.map(Secret::from);
    let asker = Asker::new(base, key.as_ref(), PATIENCE)?;
    let (status, body) = asker.get("/v1/models").await?;
    if status.is_success() {
        return Ok(body.to_vec());
    }
    let said = dialect::fault::refusal(status.as_u16(), &body).message;
    let hint = if status.as_u16() == 401 { "; give the gateway's key with --key" } else { "" };
    Err(anyhow!("{base}/v1/models answered {}: {said}{hint}", status.as_u16()))
}

/// The list that a gateway with this configuration would give, and who could not be asked.
async fn of_the_providers(loaded: &Loaded) -> anyhow::Result<(Vec<u8>, Vec<(String, String)>)> {
    let gateway = app::build(loaded)?;
    // who does not answer now is listed as a gateway would list it: with what was known the last time
    if let Some(path) = app::rhythm(loaded).file
        && let Err(error) = file::load(&path, &gateway.inventory)
    {
        print::warning(&format!("{}: {error}; the last known models are not shown", path.display()));
    }
    let asking = gateway.inventory.instances().iter().map(async |instance| {
        let asked = ask::refresh(&gateway, instance).await;
        asked.err().map(|sentence| (instance.name.to_string(), sentence))
    });
    let silent = futures_util::future::join_all(asking).await.into_iter().flatten().collect();
    Ok((list(&gateway), silent))
}

fn list(gateway: &Arc<Gateway>) -> Vec<u8> {
    let list = gateway::models::list(gateway, Dialect::Chat, None);
    list.expect("without a query there is nothing to refuse").to_vec()
}

fn say(list: &Value, everybody_answered: bool) -> anyhow::Result<()> {
    let models = list["data"].as_array().ok_or_else(|| anyhow!("the list of models has no `data`"))?;
    let mut out = print::out();
    if models.is_empty() {
        if everybody_answered {
            writeln!(out, "No models.")?;
        }
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = models.iter().map(|model| {
        // an engine that is asked itself says it in its own words
        let context = model.get("context_length").unwrap_or(&model["max_model_len"]);
        vec![
            text(&model["id"]),
            context.as_u64().map(|length| length.to_string()).unwrap_or_default(),
            model["capabilities"]
                .as_array()
                .map(|words| words.iter().map(text).collect::<Vec<_>>().join(", "))
                .unwrap_or_default(),
            text(&model["owned_by"]),
            text(&model["metadata"]["stale_since"]),
        ]
    });
    writeln!(out, "{}", print::table(&["MODEL", "CONTEXT", "CAN", "OWNER", "STALE SINCE"], rows))?;
    Ok(())
}
