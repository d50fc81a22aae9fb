//! What a kind of provider answers when asked how a call would be done: where to go and what to change, best way first.
//!
//! A plan is not a request: it holds no body and no key. `upstream` sends what a plan says.

use std::borrow::Cow;

use domain::{Dialect, Operation};
use smallvec::SmallVec;

use crate::{Abilities, Base, Known, Spec, find};

/// A call, as far as a plan depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// What is asked.
    pub operation: Operation,
    /// In which dialect the client asked.
    pub dialect: Dialect,
    /// Whether a rerank request is in vLLM's own shape, so that its answer may be relayed as it is.
    pub native_rerank: bool,
    /// The model, if it matters which.
    pub model: Option<&'a str>,
}

/// One way to do a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The path to post to, prefix included.
    pub path: Cow<'static, str>,
    /// What the body must become, and what the answer is.
    pub reply: ReplyShape,
    /// Whether a route that turns out not to exist means: try the next plan.
    pub may_be_missing: bool,
}

/// The ways to do a call, best first: one, nearly always.
pub type Plans = SmallVec<[Plan; 1]>;

/// How the upstream is spoken to and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyShape {
    /// The client's own dialect: edited on the way out, relayed on the way back.
    Same,
    /// vLLM's rerank route, for a request in another shape.
    Rerank,
    /// Cohere's second version.
    RerankV2,
    /// Built from scores.
    Score,
}

/// It cannot be done, and we know that without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// This provider does it with no model.
    Provider,
    /// This model cannot do it; another of the same provider may.
    Model,
}

/// vLLM's routes for what has no place in OpenAI's API; most exist at the root and some under `/v1`.
fn routes(operation: Operation, dialect: Dialect) -> &'static [Route] {
    use Place::{Api, Root};
    match (operation, dialect) {
        (Operation::Generate, Dialect::Chat) => &[Route(Api, "/v1/chat/completions")],
        (Operation::Generate, Dialect::Responses) => &[Route(Api, "/v1/responses")],
        (Operation::Generate, Dialect::Messages) => &[Route(Api, "/v1/messages")],
        (Operation::CountTokens, _) => &[Route(Api, "/v1/messages/count_tokens")],
        (Operation::Complete, _) => &[Route(Api, "/v1/completions")],
        (Operation::Embed, _) => &[Route(Api, "/v1/embeddings")],
        (Operation::Transcribe, _) => &[Route(Api, "/v1/audio/transcriptions")],
        (Operation::Translate, _) => &[Route(Api, "/v1/audio/translations")],
        (Operation::Score, _) => &[Route(Api, "/v1/score"), Route(Root, "/score")],
        (Operation::Classify, _) => &[Route(Root, "/classify"), Route(Api, "/v1/classify")],
        (Operation::Pool, _) => &[Route(Root, "/pooling"), Route(Api, "/v1/pooling")],
        (Operation::Tokenize, _) => &[Route(Root, "/tokenize"), Route(Api, "/v1/tokenize")],
        (Operation::Detokenize, _) => &[Route(Root, "/detokenize"), Route(Api, "/v1/detokenize")],
        _ => &[],
    }
}

/// The prefix of API routes where the server itself decides.
const API: &str = "/v1";

#[derive(Clone, Copy)]
enum Place {
    Api,
    Root,
}

/// A route, as the engine's own list of routes spells it: without the prefix of a proxy before it.
#[derive(Clone, Copy)]
struct Route(Place, &'static str);

impl Route {
    /// The path under this base.
    fn path(self, base: &Base) -> Cow<'static, str> {
        let (prefix, rest) = match self.0 {
            Place::Api if base.api == API => return self.1.into(),
            Place::Api => (&base.api, self.1.strip_prefix(API).unwrap_or(self.1)),
            Place::Root => (&base.root, self.1),
        };
        if prefix.is_empty() { rest.into() } else { [prefix, rest].concat().into() }
    }
}

/// The ways to do a call, best first.
///
/// Routes that the probe showed to be missing are left out; `learned` is the path that worked before, and comes first.
/// No way left means [`Unsupported`].
pub fn plans(
    spec: &Spec,
    base: &Base,
    outgoing: &Outgoing<'_>,
    abilities: &Abilities,
    learned: Option<&str>,
) -> Result<Plans, Unsupported> {
    // an engine of another kind than was configured lacks what its own kind lacks
    let engine = abilities.engine.and_then(find).unwrap_or(spec);
    let missing =
        |operation, dialect| [spec, engine].iter().any(|one| one.knows(operation, dialect) == Known::No);
    if missing(outgoing.operation, outgoing.dialect) {
        return Err(Unsupported::Provider);
    }
    let model = outgoing.model.map_or(&abilities.every_model, |model| abilities.model(model));
    if model.can(outgoing.operation) == Some(false) {
        return Err(Unsupported::Model);
    }
    let ways: SmallVec<[(Route, ReplyShape); 1]> = if outgoing.operation == Operation::Rerank {
        rerank(outgoing.native_rerank).into_iter().collect()
    } else {
        routes(outgoing.operation, outgoing.dialect).iter().map(|route| (*route, ReplyShape::Same)).collect()
    };
    let mut plans: Plans = ways
        .into_iter()
        .filter(|(route, _)| abilities.routes.is_none() || abilities.has_route(route.1) != Some(false))
        .filter(|(_, reply)| *reply != ReplyShape::Score || !missing(Operation::Score, Dialect::Vllm))
        .map(|(route, reply)| Plan { path: route.path(base), reply, may_be_missing: true })
        .collect();
    if let Some(learned) = learned {
        plans.sort_by_key(|plan| plan.path != learned);
    }
    if plans.is_empty() { Err(Unsupported::Provider) } else { Ok(plans) }
}

/// Seed 002's order, and a last way: rerank is sorting by score.
fn rerank(native: bool) -> [(Route, ReplyShape); 5] {
    use Place::{Api, Root};
    let plain = if native { ReplyShape::Same } else { ReplyShape::Rerank };
    [
        (Route(Api, "/v1/rerank"), plain),
        (Route(Root, "/rerank"), plain),
        (Route(Root, "/v2/rerank"), ReplyShape::RerankV2),
        (Route(Root, "/score"), ReplyShape::Score),
        (Route(Api, "/v1/score"), ReplyShape::Score),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelAbilities;

    fn check(
        kind: &str,
        url: &str,
        op: Operation,
        dialect: Dialect,
        abilities: &Abilities,
        expect: Result<&[&str], Unsupported>,
    ) {
        let spec = find(kind).expect("a known type");
        let base = Base::parse(url).expect("a base URL");
        let outgoing = Outgoing { operation: op, dialect, native_rerank: true, model: None };
        let found = plans(spec, &base, &outgoing, abilities, None);
        let found = found.map(|plans| plans.into_iter().map(|p| p.path.into_owned()).collect::<Vec<_>>());
        assert_eq!(found, expect.map(|paths| paths.iter().map(|p| (*p).to_owned()).collect()));
    }

    fn having(routes: &[&str]) -> Abilities {
        let routes = routes.iter().map(|r| ((*r).to_owned(), vec!["POST".to_owned()])).collect();
        Abilities { routes: Some(routes), ..Abilities::default() }
    }

    #[test]
    fn a_path_prefix_goes_before_every_route() {
        let unknown = Abilities::default();
        check(
            "vllm",
            "http://h:1/gpu/v1",
            Operation::Generate,
            Dialect::Chat,
            &unknown,
            Ok(&["/gpu/v1/chat/completions"]),
        );
        check(
            "vllm",
            "http://h:1/gpu",
            Operation::Tokenize,
            Dialect::Vllm,
            &unknown,
            Ok(&["/gpu/tokenize", "/gpu/v1/tokenize"]),
        );
    }

    #[test]
    fn what_the_probe_did_not_find_is_not_tried() {
        let some = having(&["/v1/chat/completions", "/score"]);
        check("vllm", "http://h:1", Operation::Rerank, Dialect::Rerank, &some, Ok(&["/score"]));
        check("vllm", "http://h:1", Operation::Embed, Dialect::Embeddings, &some, Err(Unsupported::Provider));
    }

    #[test]
    fn rerank_is_tried_on_every_route() {
        let unknown = Abilities::default();
        let all: &[&str] = &["/v1/rerank", "/rerank", "/v2/rerank", "/score", "/v1/score"];
        check("vllm", "http://h:1", Operation::Rerank, Dialect::Rerank, &unknown, Ok(all));
    }

    #[test]
    fn the_route_that_worked_comes_first() {
        let spec = find("vllm").expect("vllm");
        let base = Base::parse("http://h").expect("base");
        let outgoing = Outgoing {
            operation: Operation::Rerank,
            dialect: Dialect::Rerank,
            native_rerank: false,
            model: None,
        };
        let plans = plans(spec, &base, &outgoing, &Abilities::default(), Some("/v2/rerank")).expect("plans");
        assert_eq!((&*plans[0].path, plans[0].reply), ("/v2/rerank", ReplyShape::RerankV2));
        assert_eq!(plans.len(), 5);
    }

    #[test]
    fn openai_is_known_not_to_rerank() {
        let unknown = Abilities::default();
        check(
            "openai",
            "https://api.openai.com/v1",
            Operation::Rerank,
            Dialect::Rerank,
            &unknown,
            Err(Unsupported::Provider),
        );
        check(
            "openai",
            "https://api.openai.com/v1",
            Operation::Generate,
            Dialect::Messages,
            &unknown,
            Err(Unsupported::Provider),
        );
    }

    #[test]
    fn what_an_engine_of_another_kind_lacks_is_not_tried() {
        let proved = Abilities { engine: Some("ollama"), ..Abilities::default() };
        let lacking = Err(Unsupported::Provider);
        check("vllm", "http://h", Operation::Tokenize, Dialect::Vllm, &proved, lacking);
        check("ollama", "http://h", Operation::Rerank, Dialect::Rerank, &Abilities::default(), lacking);
        // llama.cpp reranks, but there are no scores to sort by
        let all: &[&str] = &["/v1/rerank", "/rerank", "/v2/rerank"];
        check("llamacpp", "http://h", Operation::Rerank, Dialect::Rerank, &Abilities::default(), Ok(all));
    }

    #[test]
    fn what_one_model_cannot_do_another_may() {
        let embeds = ModelAbilities { generates: Some(false), embeds: Some(true), ..Default::default() };
        let abilities = Abilities { models: [("e".to_owned(), embeds)].into(), ..Abilities::default() };
        let spec = find("ollama").expect("ollama");
        let base = Base::parse("http://h").expect("base");
        let ask = |operation, dialect, model| {
            let outgoing = Outgoing { operation, dialect, native_rerank: false, model: Some(model) };
            plans(spec, &base, &outgoing, &abilities, None).map(|plans| plans.len())
        };
        assert_eq!(ask(Operation::Generate, Dialect::Chat, "e"), Err(Unsupported::Model));
        assert_eq!(ask(Operation::Generate, Dialect::Chat, "c"), Ok(1));
        assert_eq!(ask(Operation::Embed, Dialect::Embeddings, "e"), Ok(1));
    }
}
