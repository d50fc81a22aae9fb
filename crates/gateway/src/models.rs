//! The list of models, as OpenAI's and Anthropic's clients ask for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dialect::listing::Listed;
use domain::{Dialect, Fault, FaultKind, Selector};
use serde_json::{Map, Value, json};

use crate::instance::State;
use crate::routing;
use crate::trail::Progress;
use crate::{Gateway, Instance};

/// The list, in the dialect of the client.
pub fn list(gateway: &Gateway, dialect: Dialect, query: Option<&str>) -> Result<Bytes, Fault> {
    let mut objects: BTreeMap<String, Value> = BTreeMap::new();
    if !gateway.settings.only_aliases {
        for instance in gateway.inventory.instances() {
            let state = instance.state();
            for model in state.models.values() {
                let listed = &model.listed;
                let public = public_id(gateway, instance, listed);
                // bare ids: the first instance that has it is the one that a call would reach
                objects.entry(public.clone()).or_insert_with(|| object(public, instance, &state, listed));
            }
        }
    }
    let data: Vec<Value> = objects.into_values().collect();
    let list = match dialect {
        Dialect::Messages => anthropic_list(&data, query)?,
        _ => json!({ "object": "list", "data": data }),
    };
    Ok(list.to_string().into())
}

/// One model. Bare ids are resolved as for a call.
pub async fn one(gateway: &Arc<Gateway>, dialect: Dialect, id: &str) -> Result<Bytes, Fault> {
    let not_found = |fault: Fault| match fault.kind {
        FaultKind::Invalid => Fault { kind: FaultKind::NotFound, ..fault },
        _ => fault,
    };
    let selector =
        Selector::parse(id, None).ok_or_else(|| Fault::invalid("model is required").param("model"))?;
    let route = routing::resolve(gateway, &selector, &Progress::default()).await.map_err(not_found)?;
    let state = route.instance.state();
    let model = state.models.get(route.model.as_str()).cloned();
    let model = model.unwrap_or_else(|| Arc::new(Listed::named(route.model.as_str()).into()));
    let public = public_id(gateway, &route.instance, &model.listed);
    let object = object(public, &route.instance, &state, &model.listed);
    Ok(match dialect {
        Dialect::Messages => anthropic(&object).to_string().into(),
        _ => object.to_string().into(),
    })
}

fn public_id(gateway: &Gateway, instance: &Instance, listed: &Listed) -> String {
    if gateway.settings.bare_model_ids {
        listed.id.clone()
    } else {
        format!("{}/{}", instance.name, listed.id)
    }
}

/// A model as clients see it: what the upstream says of it, under our id, with what we know added.
fn object(public: String, instance: &Instance, state: &State, listed: &Listed) -> Value {
    let mut object = Map::new();
    object.insert("id".into(), public.into());
    object.insert("object".into(), "model".into());
    object.insert("created".into(), listed.created.into());
    object.insert("owned_by".into(), instance.name.as_str().into());
    // an adapter has its base model's length, if it does not say its own
    let context = listed.context_length().or_else(|| {
        let base = state.models.get(listed.parent.as_deref()?)?;
        base.listed.context_length()
    });
    if let Some(root) = &listed.root {
        object.insert("root".into(), root.as_str().into());
    }
    if listed.root.is_some() || listed.parent.is_some() {
        object.insert("parent".into(), listed.parent.as_deref().map_or(Value::Null, Into::into));
    }
    if let Some(length) = listed.max_model_len {
        object.insert("max_model_len".into(), length.into());
    }
    if let Some(length) = context {
        object.insert("context_length".into(), length.into());
    }
    for (name, value) in &listed.rest {
        if !matches!(name.as_str(), "object" | "owned_by" | "permission" | "context_length") {
            object.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    let mut metadata = match object.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    if let Some(length) = context {
        metadata.entry("context_window").or_insert(length.into());
    }
    if let Some(since) = state.stale_since {
        metadata.insert("stale_since".into(), since.to_string().into());
    }
    if state.abilities.loading {
        metadata.insert("loading".into(), true.into());
    }
    let configured = instance.configured.iter().find(|model| model.id == listed.id);
    if let Some(Value::Object(said)) = configured.and_then(|model| model.metadata.as_ref()) {
        metadata.extend(said.clone());
    }
    if !metadata.is_empty() {
        object.insert("metadata".into(), metadata.into());
    }
    object.into()
}

/// A model in Anthropic's shape (docs.anthropic.com, "Models").
fn anthropic(object: &Value) -> Value {
    let created = object["created"].as_i64().unwrap_or(0);
    let created = jiff::Timestamp::from_second(created).unwrap_or_default().to_string();
    let name = object.pointer("/metadata/display_name").unwrap_or(&object["id"]).clone();
    json!({ "type": "model", "id": object["id"], "display_name": name, "created_at": created })
}

/// Anthropic's list, with its pages.
fn anthropic_list(data: &[Value], query: Option<&str>) -> Result<Value, Fault> {
    let ask = |name: &str| {
        let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(n, _)| *n == name).find_map(|(_, value)| crate::front::decode(value))
    };
    let limit: usize = match ask("limit") {
        None => 20,
        Some(written) => {
            let wrong = || Fault::invalid("'limit' must be a whole number from 1 to 1000").param("limit");
            written.parse().map_err(|_| wrong())?
        }
    };
    let limit = limit.clamp(1, 1000);
    let place =
        |id: Option<String>| id.and_then(|id| data.iter().position(|model| model["id"] == id.as_str()));
    let (first, last) = match (place(ask("after_id")), place(ask("before_id"))) {
        (Some(after), _) => (after + 1, (after + 1 + limit).min(data.len())),
        (None, Some(before)) => (before.saturating_sub(limit), before),
        (None, None) => (0, limit.min(data.len())),
    };
    let page: Vec<Value> = data[first..last].iter().map(anthropic).collect();
    let end = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
    Ok(json!({
        "data": page,
        "has_more": last < data.len(),
        "first_id": end(page.first()),
        "last_id": end(page.last()),
    }))
}
