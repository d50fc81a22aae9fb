//! Which routes there are, in the order vLLM registers them, and what they need.

use super::version::Version;
use crate::engine::Engine;
use crate::settings::Tasks;

/// GET or POST: there is nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Load,
    Version,
    KvEventSources,
    Health,
    Metrics,
    Tokenize,
    Detokenize,
    Models,
    Ping,
    Pooling,
    Embeddings,
    Classify,
    Score,
    Rerank,
    Chat,
    Responses,
    StoredResponse,
    Completions,
    Messages,
    CountTokens,
    Transcriptions,
    Translations,
    /// There, but switched off.
    ScaleOut,
    OpenApi,
    Sleep,
    WakeUp,
    IsSleeping,
    Pause,
    Resume,
    IsPaused,
    ResetPrefixCache,
    ServerInfo,
    CollectiveRpc,
    LoadAdapter,
    UnloadAdapter,
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) method: Method,
    pub(crate) action: Action,
    needs: Needs,
    /// Whether `/openapi.json` lists it.
    pub(crate) listed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Needs {
    Nothing,
    Generate,
    Embed,
    Classify,
    /// Speech to text.
    Transcribe,
    /// Any task that turns texts into numbers.
    Pooling,
    /// Text generation, in a version that knows the Responses dialect.
    Responses,
    /// Text generation, in a version that knows the Messages dialect.
    Messages,
    /// Development mode.
    DevMode,
}

/// What decides which routes there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) tasks: Tasks,
    pub(crate) version: Version,
    pub(crate) dev_mode: bool,
}

impl Offer {
    /// What an engine offers.
    pub(crate) fn of(engine: &Engine) -> Self {
        let version = Version::parse(&engine.settings.version);
        Offer { tasks: engine.tasks(), version, dev_mode: engine.settings.dev_mode }
    }
}

const fn get(path: &'static str, action: Action) -> Route {
    Route { path, method: Method::Get, action, needs: Needs::Nothing, listed: true }
}

const fn post(path: &'static str, action: Action, needs: Needs) -> Route {
    Route { path, method: Method::Post, action, needs, listed: true }
}

const fn unlisted(route: Route) -> Route {
    Route { listed: false, ..route }
}

const ROUTES: [Route; 43] = [
    unlisted(get("/openapi.json", Action::OpenApi)),
    get("/load", Action::Load),
    get("/version", Action::Version),
    get("/kv_event_sources", Action::KvEventSources),
    get("/health", Action::Health),
    get("/metrics", Action::Metrics),
    post("/tokenize", Action::Tokenize, Needs::Nothing),
    post("/detokenize", Action::Detokenize, Needs::Nothing),
    get("/v1/models", Action::Models),
    get("/ping", Action::Ping),
    post("/ping", Action::Ping, Needs::Nothing),
    post("/pooling", Action::Pooling, Needs::Pooling),
    post("/v1/embeddings", Action::Embeddings, Needs::Embed),
    post("/classify", Action::Classify, Needs::Classify),
    post("/score", Action::Score, Needs::Pooling),
    post("/v1/score", Action::Score, Needs::Pooling),
    post("/rerank", Action::Rerank, Needs::Pooling),
    post("/v1/rerank", Action::Rerank, Needs::Pooling),
    post("/v2/rerank", Action::Rerank, Needs::Pooling),
    post("/v1/chat/completions", Action::Chat, Needs::Generate),
    post("/v1/responses", Action::Responses, Needs::Responses),
    Route { needs: Needs::Responses, ..get("/v1/responses/{response_id}", Action::StoredResponse) },
    post("/v1/responses/{response_id}/cancel", Action::StoredResponse, Needs::Responses),
    post("/v1/completions", Action::Completions, Needs::Generate),
    post("/v1/messages", Action::Messages, Needs::Messages),
    post("/v1/messages/count_tokens", Action::CountTokens, Needs::Messages),
    post("/v1/audio/transcriptions", Action::Transcriptions, Needs::Transcribe),
    post("/v1/audio/translations", Action::Translations, Needs::Transcribe),
    unlisted(post("/inference/v1/generate", Action::ScaleOut, Needs::Generate)),
    unlisted(post("/v1/chat/completions/render", Action::ScaleOut, Needs::Generate)),
    unlisted(post("/v1/completions/render", Action::ScaleOut, Needs::Generate)),
    unlisted(post("/v1/chat/completions/derender", Action::ScaleOut, Needs::Generate)),
    post("/sleep", Action::Sleep, Needs::DevMode),
    post("/wake_up", Action::WakeUp, Needs::DevMode),
    Route { needs: Needs::DevMode, ..get("/is_sleeping", Action::IsSleeping) },
    post("/pause", Action::Pause, Needs::DevMode),
    post("/resume", Action::Resume, Needs::DevMode),
    Route { needs: Needs::DevMode, ..get("/is_paused", Action::IsPaused) },
    post("/reset_prefix_cache", Action::ResetPrefixCache, Needs::DevMode),
    Route { needs: Needs::DevMode, ..get("/server_info", Action::ServerInfo) },
    post("/collective_rpc", Action::CollectiveRpc, Needs::DevMode),
    post("/v1/load_lora_adapter", Action::LoadAdapter, Needs::DevMode),
    post("/v1/unload_lora_adapter", Action::UnloadAdapter, Needs::DevMode),
];

/// The routes of an engine that offers this.
pub(crate) fn of(offer: Offer) -> impl Iterator<Item = &'static Route> + Clone {
    ROUTES.iter().filter(move |route| match route.needs {
        Needs::Nothing => true,
        Needs::Generate => offer.tasks.generate,
        Needs::Responses => offer.tasks.generate && offer.version.responses(),
        Needs::Messages => offer.tasks.generate && offer.version.messages(),
        Needs::Embed => offer.tasks.embed,
        Needs::Classify => offer.tasks.classify,
        Needs::Transcribe => offer.tasks.transcribe,
        Needs::Pooling => offer.tasks.embed || offer.tasks.classify,
        Needs::DevMode => offer.dev_mode,
    })
}

/// What became of looking a path up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'p> {
    /// A route, and what stands in the place of its parameter.
    Route(&'static Route, Option<&'p str>),
    /// The path is there, for another method.
    OtherMethod(Method),
    /// The path is there without its last slash.
    WithoutSlash(&'p str),
    Nothing,
}

/// Looks a path up.
pub(crate) fn find<'p>(offer: Offer, method: &str, path: &'p str) -> Found<'p> {
    let mut other = None;
    for route in of(offer) {
        if let Some(parameter) = matches(route.path, path) {
            if route.method.name() == method {
                return Found::Route(route, parameter);
            }
            other = other.or(Some(route.method));
        }
    }
    match (other, path.strip_suffix('/')) {
        (Some(other), _) => Found::OtherMethod(other),
        (None, Some(shorter)) if of(offer).any(|route| matches(route.path, shorter).is_some()) => {
            Found::WithoutSlash(shorter)
        }
        _ => Found::Nothing,
    }
}

/// Whether a path fits a pattern, and what stands in the place of its parameter.
fn matches<'p>(pattern: &str, path: &'p str) -> Option<Option<&'p str>> {
    let Some((before, rest)) = pattern.split_once('{') else { return (pattern == path).then_some(None) };
    let after = rest.split_once('}').map_or("", |(_, after)| after);
    let parameter = path.strip_prefix(before)?.strip_suffix(after)?;
    (!parameter.is_empty() && !parameter.contains('/')).then_some(Some(parameter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(tasks: Tasks) -> Offer {
        Offer { tasks, version: Version::parse("0.32.0"), dev_mode: false }
    }

    #[test]
    fn paths_are_found_as_fastapi_finds_them() {
        let found = |method, path| match find(offer(Tasks::default()), method, path) {
            Found::Route(route, parameter) => format!("{:?} {parameter:?}", route.action),
            Found::OtherMethod(method) => format!("405 {}", method.name()),
            Found::WithoutSlash(path) => format!("307 {path}"),
            Found::Nothing => "404".to_owned(),
        };
        assert_eq!(found("GET", "/v1/responses/resp_1"), "StoredResponse Some(\"resp_1\")");
        assert_eq!(found("POST", "/v1/responses/resp_1/cancel"), "StoredResponse Some(\"resp_1\")");
        assert_eq!(found("DELETE", "/v1/responses/resp_1"), "405 GET");
        assert_eq!(found("GET", "/v1/chat/completions"), "405 POST");
        assert_eq!(found("GET", "/v1/models/"), "307 /v1/models");
        assert_eq!(found("GET", "/v1/models/m"), "404");
        assert_eq!(found("POST", "/sleep"), "404");
    }

    #[test]
    fn a_task_that_no_model_has_has_no_routes() {
        assert!(matches!(find(offer(Tasks::GENERATE), "POST", "/v1/embeddings"), Found::Nothing));
        assert!(matches!(find(offer(Tasks::EMBED), "POST", "/v1/chat/completions"), Found::Nothing));
        assert!(matches!(find(offer(Tasks::EMBED), "POST", "/classify"), Found::Nothing));
    }
    #[test]
    fn older_versions_lack_the_younger_dialects() {
        let found = |version, path| {
            let offer = Offer { version: Version::parse(version), ..offer(Tasks::default()) };
            matches!(find(offer, "POST", path), Found::Route(..))
        };
        assert!(!found("0.9.2", "/v1/responses") && found("0.10.0", "/v1/responses"));
        assert!(!found("0.11.0", "/v1/messages") && found("0.11.1", "/v1/messages"));
    }
}
