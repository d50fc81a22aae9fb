//! The page about metrics. Prometheus' library shows only what was counted once, so a gateway between a simulated
//! engine and an engine that refuses is asked for a few things, and its metrics page is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use config::Sources;
use gateway::inventory::refresh;
use socket2::{Domain, Socket, Type};

use super::super::{block_on, fetch, fetch::Asker, serve};
use crate::app;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The page, in Markdown.
pub(super) fn page() -> anyhow::Result<String> {
    let scraping =
        async { tokio::time::timeout(PATIENCE, scrape()).await.context("counting took too long")? };
    Ok(render(&block_on(scraping)??))
}

/// The metrics page of a gateway that has served a stream, and has tried an upstream that refuses more than once.
async fn scrape() -> anyhow::Result<String> {
    let engine = simulator::start(simulator::Settings::default().at_full_speed()).await?;
    // bound and not listening: nobody else can take the port, and every connection is refused
    let refusing = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    refusing.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let refuses = refusing.local_addr()?.as_socket().context("the address is not one of the internet's")?;

    let set = |path: &str, value: String| (path.to_owned(), value);
    let nowhere = std::env::temp_dir().join(format!("ferrovia-reference-{}", uuid::Uuid::new_v4()));
    let sources = Sources {
        types: app::provider_types(),
        cwd: nowhere,
        flags: vec![
            set("server.host", Ipv4Addr::LOCALHOST.to_string()),
            set("server.port", "0".into()),
            set("server.master_key", "sk-reference".into()),
            set("server.threads", "1".into()),
            set("metrics.enabled", "true".into()),
            set("log.level", "error".into()),
            set("providers.vllm.base_url", format!("{}/v1", engine.base_url())),
            set("providers.vllm.max_in_flight", "100".into()),
            set("providers.vllm-refusing.type", "vllm".into()),
            set("providers.vllm-refusing.base_url", format!("http://{refuses}/v1")),
            set("providers.vllm-refusing.models", "simulated".into()),
            set("providers.vllm-refusing.resilience.retry.initial_backoff", "1ms".into()),
        ],
        ..Sources::default()
    };
    let mut loaded = config::load(&sources)?;
    loaded.config.cache.model.local.cache_dir.clear();
    let gateway = serve::start(&loaded)?;
    for instance in gateway.gateway.inventory.instances() {
        refresh::refresh_one(&gateway.gateway, instance).await;
    }
    let key = domain::Secret::from("sk-reference");
    let asker = Asker::new(&format!("http://{}", gateway.address), Some(&key), PATIENCE)?;
    for model in ["vllm/simulated", "vllm-refusing/simulated"] {
        let chat = serde_json::json!({
            "model": model,
            "messages": [{ "role": "user", "content": "Hello" }],
            "stream": true,
        });
        fetch::whole(asker.post("/v1/chat/completions", chat.to_string()).await?).await?;
    }
    let (status, scraped) = asker.get(&loaded.config.metrics.endpoint).await?;
    gateway.stop().await;
    engine.stop().await;
    if !status.is_success() {
        bail!("the metrics page answered {status}");
    }
    Ok(String::from_utf8(scraped.to_vec())?)
}

/// What is said of one metric.
#[derive(Default)]
struct Told<'a> {
    kind: &'a str,
    help: &'a str,
    labels: BTreeSet<&'a str>,
}

/// Makes the page out of a scrape.
fn render(scrape: &str) -> String {
    let mut metrics: BTreeMap<&str, Told<'_>> = BTreeMap::new();
    let mut current = "";
    for line in scrape.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                current = name;
                metrics.entry(name).or_default().help = help;
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => metrics.entry(name).or_default().kind = kind,
            (Some("#"), ..) => {}
            _ => metrics.entry(current).or_default().labels.extend(labels(line)),
        }
    }
    let mut page = String::from(
        "# Metrics reference\n\nGenerated from the metrics themselves; do not edit.\n\n\
         `/metrics` shows them in Prometheus' text format, or in OpenMetrics for who accepts it, without a key (settings `metrics.enabled`, \
         `metrics.endpoint`).\nThe samples of a counter end in `_total`, those of a histogram in `_bucket`, `_sum` and \
         `_count`.\n\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n",
    );
    for (name, told) in metrics {
        let meaning = told.help.trim_end_matches('.').replace('|', "\\|");
        let labels: Vec<String> = told.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        let _ = writeln!(page, "| `{name}` | {} | {labels} | {meaning}. |", told.kind);
    }
    page
}

/// The names of a sample's labels: `x{a="1",b="2"} 3`. A bucket's limit is none.
fn labels(sample: &str) -> impl Iterator<Item = &str> {
    let inside =
        sample.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inside, _)| inside);
    let mut rest = inside;
    std::iter::from_fn(move || {
        let (name, value) = rest.split_once("=\"")?;
        // a quote in a value stands behind a backslash
        let mut escaped = false;
        let end = value.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        rest = value[end + 1..].trim_start_matches(',');
        Some(name)
    })
    .filter(|name| *name != "le")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_labels_are_read_whatever_their_values() {
        let found: Vec<&str> = labels(r#"x{a="1,b=\"}",le="0.5",c=""} 3"#).collect();
        assert_eq!(found, ["a", "c"]);
        assert_eq!(labels("x 3").count(), 0);
    }

    #[test]
    fn every_metric_has_a_type_and_a_meaning() {
        let page = page().expect("a page");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        for metric in [
            "gomodel_requests_total",
            "ferrovia_upstream_retries_total",
            "ferrovia_tokens_total",
            "ferrovia_provider_up",
        ] {
            assert!(rows.iter().any(|row| row.starts_with(&format!("| `{metric}` |"))), "{metric}: {page}");
        }
        for row in rows {
            let cells: Vec<&str> = row.split(" | ").collect();
            assert!(cells.len() == 4 && cells.iter().all(|cell| !cell.trim().is_empty()), "{row}");
        }
    }
}
