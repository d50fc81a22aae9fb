//! Finding out which engine an instance is, its version, its routes, and what its models can do.
//!
//! Nothing here costs a token or changes anything at the engine. Each detail is bounded in time and size, and one that
//! fails takes nothing else with it: what was known of it before stays known until the engine answers again.
//!
//! The type that the operator gave is where asking begins; where the model list names another engine, that one is asked
//! for, so that a server of the wrong type is known for what it is.

use std::time::Duration;

use bytes::Bytes;
use dialect::listing::Listed;
use futures_util::StreamExt;
use futures_util::stream;
use provider::engine::{llamacpp, ollama, sglang};
use provider::spec::Probe;
use provider::{Abilities, ModelAbilities, Spec};
use serde_json::{Value, json};

use super::ask::{self, Question};
use crate::{Gateway, Instance};

/// How long one detail may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long all details may take together. What was not heard by then is not known.
const ALL: Duration = Duration::from_secs(10);

/// The most that is read of one detail: a description of all routes with their schemas is half a megabyte.
const LARGEST: usize = 4 << 20;

/// So many models are asked for one by one, where an engine has many.
const MODELS: usize = 64;

/// So many of them at a time.
const AT_A_TIME: usize = 4;

/// Finds out what can be found out without a token.
pub(super) async fn probe(gateway: &Gateway, instance: &Instance, models: &[Listed]) -> Abilities {
    let before = instance.state().abilities.clone();
    let asker = Asker { gateway, instance, models, before: &before };
    let mut found = Abilities::default();
    let asking = async {
        let engine = named(instance.spec, models);
        asker.fill(engine, &mut found).await;
        if found.engine.is_none() && engine.name != instance.spec.name {
            asker.fill(instance.spec, &mut found).await;
        }
    };
    if tokio::time::timeout(ALL, asking).await.is_err() {
        found.engine = found.engine.or(before.engine);
        found.version = found.version.or(before.version);
        found.routes = found.routes.or(before.routes);
    }
    found
}

/// The engine that the model list names, else the one that was configured. A closed type is what it is.
fn named(spec: &'static Spec, models: &[Listed]) -> &'static Spec {
    if !spec.open_ended {
        return spec;
    }
    models.iter().filter_map(Listed::owned_by).find_map(provider::owner).unwrap_or(spec)
}

/// A model with what was found out about it, where its list does not say it.
pub(super) fn enrich(mut model: Listed, abilities: &Abilities) -> Listed {
    let known = abilities.model(&model.id);
    if let (None, Some(length)) = (model.context_length(), known.context_length) {
        model.rest.insert("context_length".into(), length.into());
    }
    if !known.capabilities.is_empty() {
        let words = || known.capabilities.iter().map(|word| Value::from(word.as_str())).collect();
        model.rest.entry("capabilities").or_insert_with(words);
    }
    model
}

/// What came of asking for one detail.
enum Detail {
    /// It was told.
    Told(Bytes),
    /// The engine answered that there is no such thing.
    Refused(u16, Bytes),
    /// Nobody knows: it did not answer, or failed.
    Silent,
}

impl Detail {
    /// The fact in it; what was known before, if nothing was heard.
    fn read<T>(&self, read: impl FnOnce(&[u8]) -> Option<T>, before: Option<T>) -> Option<T> {
        match self {
            Detail::Told(body) => read(body),
            Detail::Refused(..) => None,
            Detail::Silent => before,
        }
    }
}

struct Asker<'a> {
    gateway: &'a Gateway,
    instance: &'a Instance,
    models: &'a [Listed],
    before: &'a Abilities,
}

impl Asker<'_> {
    /// Asks as this engine is asked.
    async fn fill(&self, engine: &'static Spec, found: &mut Abilities) {
        let nothing = Abilities::default();
        // what another engine said there before says nothing of this one
        let same = self.before.engine.is_none_or(|name| name == engine.name);
        let before = if same { self.before } else { &nothing };
        match engine.probe {
            Probe::None => {}
            Probe::Vllm => self.vllm(found, before).await,
            Probe::Sglang => self.sglang(found, before).await,
            Probe::LlamaCpp => self.llamacpp(found, before).await,
            Probe::Ollama => self.ollama(found, before).await,
        }
    }

    async fn vllm(&self, found: &mut Abilities, before: &Abilities) {
        let version = self.get("/version").await;
        found.version = version.read(Abilities::read_version, before.version.clone());
        found.engine = found.version.as_ref().map(|_| "vllm");
        self.routes(found, before).await;
    }

    async fn sglang(&self, found: &mut Abilities, before: &Abilities) {
        // the older names still answer, and write a warning into the server's log each time
        let model = self.first(&["/model_info", "/get_model_info"]).await;
        let known = before.engine.map(|_| before.every_model.clone());
        let Some(model) = model.read(sglang::model_info, known) else { return };
        found.engine = Some("sglang");
        found.every_model = model;
        let server = self.first(&["/server_info", "/get_server_info"]).await;
        let known = sglang::ServerInfo {
            version: before.version.clone(),
            context_length: before.every_model.context_length,
        };
        let server = server.read(sglang::server_info, Some(known)).unwrap_or_default();
        found.version = server.version;
        found.every_model.context_length = server.context_length;
        self.routes(found, before).await;
    }

    /// The routes as FastAPI describes them.
    async fn routes(&self, found: &mut Abilities, before: &Abilities) {
        let document = self.get("/openapi.json").await;
        found.routes = document.read(Abilities::read_routes, before.routes.clone());
    }

    async fn llamacpp(&self, found: &mut Abilities, before: &Abilities) {
        let props = self.get("/props").await;
        let known = before
            .engine
            .map(|_| llamacpp::Props { build: before.version.clone(), model: before.every_model.clone() });
        if let Some(props) = props.read(llamacpp::props, known) {
            found.engine = Some("llamacpp");
            found.version = props.build;
            found.every_model = props.model;
        }
        if matches!(props, Detail::Told(_)) {
            return;
        }
        // while its model loads everything is refused, and health, which needs no key, says why
        if let Detail::Refused(status, said) = self.get("/health").await {
            found.loading = llamacpp::is_loading(status, &said);
        }
        if found.loading {
            found.engine = Some("llamacpp");
        }
    }

    async fn ollama(&self, found: &mut Abilities, before: &Abilities) {
        let version = self.get("/api/version").await;
        found.version = version.read(Abilities::read_version, before.version.clone());
        found.engine = found.version.as_ref().map(|_| "ollama");
        if found.engine.is_none() {
            return;
        }
        let running = match self.get("/api/ps").await {
            Detail::Told(page) => ollama::running(&page),
            _ => Default::default(),
        };
        let ids: Vec<String> = self.models.iter().take(MODELS).map(|model| model.id.clone()).collect();
        let asking = ids.into_iter().map(|id| self.show(id, before));
        let mut told = stream::iter(asking).buffer_unordered(AT_A_TIME);
        while let Some((id, abilities)) = told.next().await {
            let mut abilities = abilities.unwrap_or_default();
            abilities.context_length = running.get(&id).copied().or(abilities.context_length);
            found.models.insert(id, abilities);
        }
    }

    /// What Ollama says of one model.
    async fn show(&self, id: String, before: &Abilities) -> (String, Option<ModelAbilities>) {
        let question = Bytes::from(json!({ "model": id }).to_string());
        let told = self.put("/api/show", Some(question)).await;
        let known = before.models.get(&id).cloned();
        let told = told.read(ollama::show, known);
        (id, told)
    }

    /// The first of these paths that is there.
    async fn first(&self, paths: &[&str]) -> Detail {
        let mut last = Detail::Silent;
        for path in paths {
            last = self.get(path).await;
            if !matches!(last, Detail::Refused(404 | 405, _)) {
                break;
            }
        }
        last
    }

    async fn get(&self, path: &str) -> Detail {
        self.put(path, None).await
    }

    async fn put(&self, path: &str, post: Option<Bytes>) -> Detail {
        let path = format!("{}{path}", self.instance.base.root);
        let question = Question { path, post, patience: PATIENCE, largest: LARGEST };
        match ask::put(self.gateway, self.instance, question).await {
            Ok(answer) if answer.status == 200 => Detail::Told(answer.body),
            // only llama.cpp says 503 on purpose, and then says why
            Ok(answer) if answer.status < 500 || llamacpp::is_loading(answer.status, &answer.body) => {
                Detail::Refused(answer.status, answer.body)
            }
            Ok(_) | Err(_) => Detail::Silent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(owner: &str) -> Listed {
        let mut model = Listed::named("m");
        model.rest.insert("owned_by".into(), owner.into());
        model
    }

    #[test]
    fn a_list_names_the_engine_unless_the_type_is_closed() {
        let of = |kind| provider::find(kind).expect("a known type");
        let check = |kind, models: &[Listed], expect| {
            assert_eq!(named(of(kind), models).name, expect, "{kind} {models:?}");
        };
        check("vllm", &[], "vllm");
        check("vllm", &[Listed::named("m")], "vllm");
        check("vllm", &[Listed::named("m"), listed("llamacpp")], "llamacpp");
        check("openai_compatible", &[listed("sglang")], "sglang");
        check("openai_compatible", &[listed("somebody")], "openai_compatible");
        check("sglang", &[listed("library")], "ollama");
        check("openai", &[listed("vllm")], "openai");
    }

    #[test]
    fn what_a_list_says_itself_stays() {
        let known = ModelAbilities {
            context_length: Some(4096),
            capabilities: vec!["completion".into()],
            ..ModelAbilities::default()
        };
        let abilities = Abilities { every_model: known, ..Abilities::default() };
        let plain = enrich(Listed::named("m"), &abilities);
        assert_eq!(plain.context_length(), Some(4096));
        assert_eq!(plain.rest["capabilities"], json!(["completion"]));
        let told = Listed { max_model_len: Some(8192), ..Listed::named("m") };
        let told = enrich(told, &abilities);
        assert_eq!((told.context_length(), told.rest.get("context_length")), (Some(8192), None));
    }

    #[test]
    fn silence_changes_nothing_and_a_refusal_does() {
        let read = |detail: Detail| detail.read(|body| Some(body.len()), Some(99));
        assert_eq!(read(Detail::Told(Bytes::from_static(b"abc"))), Some(3));
        assert_eq!(read(Detail::Refused(404, Bytes::new())), None);
        assert_eq!(read(Detail::Silent), Some(99));
    }
}
