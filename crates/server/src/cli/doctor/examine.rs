//! One provider examined: reachable, key, engine, models, abilities. What is found is remembered as steps.

use std::time::{Duration, Instant};

use dialect::listing::Listed;
use domain::{Dialect, Operation};
use gateway::inventory::ask;
use gateway::{Gateway, Instance, headers};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use provider::plan::{Outgoing, plans};
use provider::spec::Probe;
use provider::{Abilities, Known};
use serde::Serialize;
use upstream::{Limits, OutBody, Outbound, SendError};

use super::fix;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most that is read of an answer.
const LARGEST: usize = 8 << 20;

/// So many models are named; the rest are counted.
const NAMED: usize = 8;

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It cannot be used like this.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// What was looked at.
    pub(super) name: &'static str,
    /// How it went.
    pub(super) outcome: Outcome,
    /// What was found.
    pub(super) said: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<String>,
}

/// A model, as the doctor lists it.
#[derive(Debug, Serialize)]
pub(super) struct Model {
    /// The id that clients write.
    id: String,
    /// The longest prompt and answer together, in tokens.
    context_length: Option<u64>,
    /// What it can do, in the engine's words. Empty if it does not say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    capabilities: Vec<String>,
}

/// Which of our fronts a provider can serve.
#[derive(Debug, Default, Serialize)]
pub(super) struct Serves {
    /// It does.
    pub(super) yes: Vec<&'static str>,
    /// It does not.
    pub(super) no: Vec<&'static str>,
    /// Nobody knows before the first call.
    pub(super) learnt_on_use: Vec<&'static str>,
}

/// Everything that was found about one provider.
#[derive(Debug, Serialize)]
pub(super) struct Examination {
    /// Its name.
    pub(super) provider: String,
    /// The name of its type.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// Where it is.
    pub(super) base_url: String,
    /// Whether it can be used.
    pub(super) ok: bool,
    /// From asking for the models to the head of the answer, without connecting.
    latency_ms: Option<f64>,
    /// How long connecting took, TLS included.
    connect_ms: Option<f64>,
    /// The name of the type that the engine proved to be.
    engine: Option<&'static str>,
    /// The engine's version.
    version: Option<String>,
    /// Whether it is still loading its model.
    loading: bool,
    models: Vec<Model>,
    serves: Serves,
    /// What was looked at, in order.
    pub(super) steps: Vec<Step>,
}

impl Examination {
    fn step(&mut self, name: &'static str, outcome: Outcome, said: impl Into<String>, fix: Option<String>) {
        self.ok &= outcome != Outcome::Failed;
        self.steps.push(Step { name, outcome, said: said.into(), fix });
    }

    fn ok(&mut self, name: &'static str, said: impl Into<String>) {
        self.step(name, Outcome::Ok, said, None);
    }

    fn note(&mut self, name: &'static str, said: impl Into<String>, fix: impl Into<String>) {
        self.step(name, Outcome::Note, said, Some(fix.into()));
    }

    fn failed(&mut self, name: &'static str, said: impl Into<String>, fix: impl Into<String>) {
        self.step(name, Outcome::Failed, said, Some(fix.into()));
    }
}

/// Our fronts, as they are called here.
const FRONTS: [(&str, Operation, Dialect); 14] = [
    ("chat", Operation::Generate, Dialect::Chat),
    ("completions", Operation::Complete, Dialect::Completions),
    ("responses", Operation::Generate, Dialect::Responses),
    ("messages", Operation::Generate, Dialect::Messages),
    ("count_tokens", Operation::CountTokens, Dialect::Messages),
    ("embeddings", Operation::Embed, Dialect::Embeddings),
    ("rerank", Operation::Rerank, Dialect::Rerank),
    ("transcription", Operation::Transcribe, Dialect::Transcription),
    ("translation", Operation::Translate, Dialect::Transcription),
    ("score", Operation::Score, Dialect::Vllm),
    ("classify", Operation::Classify, Dialect::Vllm),
    ("pooling", Operation::Pool, Dialect::Vllm),
    ("tokenize", Operation::Tokenize, Dialect::Vllm),
    ("detokenize", Operation::Detokenize, Dialect::Vllm),
];

/// An answer to the question for the models.
struct Heard {
    status: StatusCode,
    html: bool,
    connected_in: Option<Duration>,
    took: Duration,
}

/// Examines one provider.
pub(super) async fn examine(
    gateway: &Gateway,
    instance: &Instance,
    configured: &config::Instance,
) -> Examination {
    let mut found = Examination {
        provider: configured.name.clone(),
        kind: instance.spec.name,
        base_url: configured.base_url.clone(),
        ok: true,
        latency_ms: None,
        connect_ms: None,
        engine: None,
        version: None,
        loading: false,
        models: Vec::new(),
        serves: Serves::default(),
        steps: Vec::new(),
    };
    let list = format!("{}/models", instance.base.api);
    let first = match knock(gateway, instance, &list, true).await {
        Ok(heard) => heard,
        Err(error) => {
            let place = fix::Place::of(configured, instance);
            found.failed("address", error.sentence(), place.unreachable(&error));
            return found;
        }
    };
    reached(&mut found, instance, &first);
    let proof = match instance.spec.key_path {
        None => Proof { path: list, status: Some(first.status) },
        Some(path) => {
            let path = format!("{}{path}", instance.base.root);
            let status = knock(gateway, instance, &path, true).await.ok().map(|heard| heard.status);
            Proof { path, status }
        }
    };
    if !key(&mut found, gateway, instance, configured, &proof).await {
        return found;
    }
    models(&mut found, gateway, instance, configured, &first).await;
    engine(&mut found, instance, configured);
    found
}

/// The first answer came: how long it took.
fn reached(found: &mut Examination, instance: &Instance, first: &Heard) {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let connecting = first.connected_in.unwrap_or_default();
    found.connect_ms = Some(millis(connecting));
    found.latency_ms = Some(millis(first.took.saturating_sub(connecting)));
    let how = if instance.target.tls() { "over TLS" } else { "in plain text" };
    found.ok(
        "address",
        format!(
            "connected {how} in {:.1} ms, answered in {:.1} ms",
            millis(connecting),
            millis(first.took.saturating_sub(connecting))
        ),
    );
}

/// A path that asks for the key, and what it answered to the first one.
struct Proof {
    path: String,
    status: Option<StatusCode>,
}

/// Whether the keys are accepted. False if nothing more can be asked.
async fn key(
    found: &mut Examination,
    gateway: &Gateway,
    instance: &Instance,
    configured: &config::Instance,
    proof: &Proof,
) -> bool {
    let refused = |status: StatusCode| matches!(status.as_u16(), 401 | 403);
    let path = &proof.path;
    let code = proof.status.map_or(0, |status| status.as_u16());
    let keys = configured.api_keys.len();
    let variable = fix::key_setting(configured);
    if keys == 0 {
        if proof.status.is_some_and(refused) {
            let said = format!("none is set, and the server asks for one ({code})");
            found.failed("key", said, format!("set {variable}"));
            return false;
        }
        found.ok("key", "none is set, and none is asked for");
        return true;
    }
    // several keys take turns: asking once more for each asks with each
    let mut bad = Vec::new();
    for turn in 1..=keys {
        let status = match turn {
            1 => proof.status,
            _ => knock(gateway, instance, path, true).await.ok().map(|heard| heard.status),
        };
        if status.is_some_and(refused) {
            bad.push(turn.to_string());
        }
    }
    if !bad.is_empty() {
        let said = match keys {
            1 => format!("it was not accepted ({code})"),
            _ => format!("of {keys} keys these were not accepted: {}", bad.join(", ")),
        };
        found.failed("key", said, format!("correct {variable}"));
        return bad.len() < keys;
    }
    let accepted = proof.status.is_some_and(|status| status.is_success());
    let without = knock(gateway, instance, path, false).await;
    match without {
        Ok(heard) if accepted && heard.status.is_success() => {
            let fix = "nothing needs to be done; the server does not check keys (vLLM: --api-key)";
            found.note("key", "set, but the server answers without one too", fix);
        }
        _ if accepted => found.ok("key", if keys == 1 { "accepted" } else { "all accepted" }),
        _ => found.note("key", "set; whether it is accepted is not known", "see what the model list says"),
    }
    true
}

/// What it lists, after filters and the operator's own list.
async fn models(
    found: &mut Examination,
    gateway: &Gateway,
    instance: &Instance,
    configured: &config::Instance,
    first: &Heard,
) {
    let said = ask::refresh(gateway, instance).await.err();
    let state = instance.state();
    found.models = state
        .models
        .values()
        .map(|model| &model.listed)
        .map(|listed| Model {
            id: format!("{}/{}", instance.name, listed.id),
            context_length: listed.context_length(),
            capabilities: capabilities(listed),
        })
        .collect();
    found.models.sort_by(|a, b| a.id.cmp(&b.id));
    if let Some(sentence) = said {
        let fix = fix::no_list(configured, first.status, first.html, &instance.base.api);
        if found.models.is_empty() {
            found.failed("models", sentence, fix);
        } else {
            let said = format!("{sentence}; the {} configured ones are used", found.models.len());
            found.note("models", said, fix);
        }
        return;
    }
    if found.models.is_empty() {
        let filtered = !configured.filter.include.is_empty() || !configured.filter.exclude.is_empty();
        let fix = if filtered {
            format!("look at providers.{}.model_filter: it may leave nothing", configured.name)
        } else {
            format!("load a model, or list some in providers.{}.models", configured.name)
        };
        found.note("models", "none", fix);
        return;
    }
    let mut names: Vec<String> = found
        .models
        .iter()
        .take(NAMED)
        .map(|model| {
            let length = model.context_length.map(|length| format!("{length} tokens"));
            let about: Vec<String> = length.into_iter().chain(model.capabilities.iter().cloned()).collect();
            if about.is_empty() { model.id.clone() } else { format!("{} ({})", model.id, about.join(", ")) }
        })
        .collect();
    if found.models.len() > NAMED {
        names.push(format!("and {} more (--json lists all)", found.models.len() - NAMED));
    }
    let count = found.models.len();
    found.ok("models", format!("{count}: {}", names.join(", ")));
}

fn capabilities(listed: &Listed) -> Vec<String> {
    let words = listed.rest.get("capabilities").and_then(|words| words.as_array());
    words.into_iter().flatten().filter_map(|word| word.as_str()).map(str::to_owned).collect()
}

/// Which engine it is, and what it can serve.
fn engine(found: &mut Examination, instance: &Instance, configured: &config::Instance) {
    let state = instance.state();
    let abilities = &state.abilities;
    found.version = abilities.version.clone();
    found.engine = abilities.engine;
    found.loading = abilities.loading;
    match abilities.engine.and_then(provider::find) {
        Some(engine) => {
            let said = match (&abilities.version, abilities.loading) {
                (Some(version), _) => format!("{} {version}", engine.title),
                (None, true) => format!("{}, which tells its version when it is ready", engine.title),
                (None, false) => format!("{}, which does not tell its version", engine.title),
            };
            if engine.name == instance.spec.name {
                found.ok("engine", said);
            } else {
                let said = format!("{said}, although the type is {}", instance.spec.name);
                found.note("engine", said, fix::other_type(configured, engine));
            }
        }
        None if instance.spec.probe != Probe::None => {
            let said = match instance.spec.probe {
                Probe::Vllm => "/version does not tell one",
                Probe::Sglang => "/model_info does not answer as SGLang's does",
                Probe::LlamaCpp => "/props does not answer as llama.cpp's does",
                Probe::Ollama => "/api/version does not tell one",
                Probe::None => "it is not asked",
            };
            let fix = format!(
                "if it is not {}, give the provider its own type (vllm, sglang, llamacpp, ollama, openai_compatible)",
                instance.spec.title
            );
            found.note("engine", said, fix);
        }
        None => {}
    }
    if abilities.loading {
        let fix =
            "wait: it is asked again every minute (PROVIDER_RECHECK_INTERVAL); calls get its 503 until then";
        found.note("loading", "it is still loading its model", fix);
    }
    let describes = matches!(abilities.engine, Some("vllm" | "sglang"));
    if describes && abilities.routes.is_none() {
        let fix = if abilities.engine == Some("vllm") {
            "nothing needs to be done; without --disable-fastapi-docs vLLM tells what it can do"
        } else {
            "nothing needs to be done; without DISABLE_OPENAPI_DOC SGLang tells what it can do"
        };
        found.note("routes", "/openapi.json is not served: what it can do is learnt on use", fix);
    }
    shortened(found, abilities);
    found.serves = serves(instance, abilities);
    let sentence = found.serves.sentence();
    found.ok("serves", sentence);
}

/// Models that run with less than they were made for: what is longer is cut, and nobody is told.
fn shortened(found: &mut Examination, abilities: &Abilities) {
    let short = abilities.models.iter().filter_map(|(id, model)| {
        let (runs, made) = (model.context_length?, model.trained_length?);
        (runs < made).then(|| format!("{id} with {runs} of {made} tokens"))
    });
    let short: Vec<String> = short.collect();
    if !short.is_empty() {
        let said = format!(
            "shorter than the models can: {}; longer prompts lose their beginning, and nobody is told",
            short.join(", ")
        );
        found.note(
            "context",
            said,
            "set OLLAMA_CONTEXT_LENGTH for the server, or num_ctx in the model's file",
        );
    }
}

fn serves(instance: &Instance, abilities: &Abilities) -> Serves {
    let mut serves = Serves::default();
    let state = instance.state();
    let models: Vec<Option<&str>> = match state.models.is_empty() {
        true => vec![None],
        false => state.models.keys().map(|model| Some(model.as_str())).collect(),
    };
    for (word, operation, dialect) in FRONTS {
        let can = |model: &Option<&str>| {
            let outgoing = Outgoing { operation, dialect, native_rerank: false, model: *model };
            plans(instance.spec, &instance.base, &outgoing, abilities, None).is_ok()
        };
        // a model that generates may still lack one of the dialects; vectors are asked for in one way only
        let told = |model: &Option<&str>| {
            operation == Operation::Embed
                && model.is_some_and(|model| abilities.model(model).can(operation) == Some(true))
        };
        let able: Vec<_> = models.iter().filter(|model| can(model)).collect();
        let known = instance.spec.knows(operation, dialect) == Known::Yes;
        if able.is_empty() {
            serves.no.push(word);
        } else if abilities.routes.is_some() || known || able.iter().any(|model| told(model)) {
            serves.yes.push(word);
        } else {
            serves.learnt_on_use.push(word);
        }
    }
    serves
}

/// Asks for one path, with the next key in turn or with none.
async fn knock(
    gateway: &Gateway,
    instance: &Instance,
    path: &str,
    with_key: bool,
) -> Result<Heard, SendError> {
    let mut head = HeaderMap::new();
    head.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers::from_the_operator(&mut head, instance);
    if !with_key {
        head.remove(header::AUTHORIZATION);
    }
    let request = Outbound {
        method: Method::GET,
        fixed: None,
        path_and_query: path.to_owned().into(),
        headers: head,
        body: OutBody::Empty,
    };
    let limits = Limits { first_byte: PATIENCE.min(instance.limits.first_byte), ..instance.limits };
    let began = Instant::now();
    let answer = gateway.pool.send(&instance.target, request, &limits).await?;
    let took = began.elapsed();
    let is_html = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.starts_with("text/html"));
    let mut html = answer.headers.get(header::CONTENT_TYPE).is_some_and(is_html);
    let (status, connected_in, mut body) = (answer.status, answer.connected_in, answer.body);
    let mut length = 0;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Some(data) = frame.data_ref() else { continue };
            html |= length == 0 && data.first() == Some(&b'<');
            length += data.len();
            if length > LARGEST {
                break;
            }
        }
    };
    // read to its end, so that the connection is used again; a list that does not end is noticed by who reads it
    let _ = tokio::time::timeout(PATIENCE, reading).await;
    Ok(Heard { status, html, connected_in, took })
}
