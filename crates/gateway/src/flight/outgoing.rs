//! What of a request is changed on its way: the model's name, the usage option, and nothing else.

use bytes::Bytes;
use dialect::{Body, Edit};
use domain::{Dialect, Fault};
use provider::plan::{Plan, ReplyShape};
use upstream::OutBody;

use super::{Names, has_provider_member};
use smallvec::SmallVec;

use crate::Settings;
use crate::call::{Call, Payload};
use crate::routing::Route;

/// The changes of one call.
#[derive(Debug, Default)]
pub struct Changed {
    /// What is spliced into the request.
    pub edits: SmallVec<[Edit; 4]>,
    /// The names of what is changed in the request on every route.
    pub names: Names,
    /// Whether the usage chunk is ours, and not for the client.
    pub hide_usage: bool,
    /// The value of the `provider` member that the reply gets, as JSON.
    pub provider_member: Option<Bytes>,
}

/// Decides what is changed.
pub fn changes(settings: &Settings, call: &Call, route: &Route) -> Result<Changed, Fault> {
    let mut changed = Changed::default();
    if let Payload::Form(form) = &call.payload
        && form.model() != route.model.as_str().as_bytes()
    {
        changed.names.push("request.model");
    }
    let Payload::Json(body) = &call.payload else { return Ok(changed) };
    if body.text("model")?.as_deref() != Some(route.model.as_str()) {
        changed.edits.push(Edit::set("model", route.json.clone()));
        changed.names.push("request.model");
    }
    // a hint for us, be it an empty one; an object is some upstream's own parameter
    if body.raw("provider").is_some_and(|raw| raw.first() != Some(&b'{')) {
        changed.edits.push(Edit::remove("provider"));
        changed.names.push("request.provider");
    }
    let reports_on_request = matches!(call.dialect, Dialect::Chat | Dialect::Completions);
    if call.stream && reports_on_request && settings.ask_for_usage && !call.asked_usage {
        changed.edits.push(Edit::set("stream_options", with_usage(body)?));
        changed.names.push("request.stream_options");
        changed.hide_usage = true;
    }
    if !call.stream && settings.provider_member && has_provider_member(call.operation, call.dialect) {
        changed.provider_member = Some(route.instance.kind.clone());
    }
    Ok(changed)
}

/// The client's stream options, with `include_usage` switched on and everything else as it was.
fn with_usage(body: &Body) -> Result<Bytes, Fault> {
    match body.raw("stream_options").filter(|raw| &raw[..] != b"null") {
        None => Ok(Bytes::from_static(b"{\"include_usage\":true}")),
        Some(raw) => {
            Ok(Body::read(raw)?.apply(&[Edit::set("include_usage", Bytes::from_static(b"true"))]).to_bytes())
        }
    }
}

/// The body as it goes out under one plan.
pub fn body(call: &mut Call, route: &Route, plan: &Plan, changed: &Changed) -> OutBody {
    let model = route.model.as_str();
    let body = match &mut call.payload {
        Payload::Json(body) => body,
        Payload::Form(form) => return form.body(model),
        // nothing else is planned
        Payload::Opaque(_) | Payload::Empty | Payload::Stream { .. } => return OutBody::Empty,
    };
    let one = |bytes| [bytes].into_iter().collect();
    OutBody::Segments(match (&call.rerank, plan.reply) {
        (Some(request), ReplyShape::Rerank) => one(request.to_vllm(body, model)),
        (Some(request), ReplyShape::RerankV2) => one(request.to_cohere(body, model)),
        (Some(request), ReplyShape::Score) => one(request.to_score(body, model)),
        _ => body.apply(&changed.edits).into_pieces(),
    })
}
