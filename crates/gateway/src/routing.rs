//! From what a client named to the deployment that is called.

use std::sync::Arc;

use bytes::Bytes;
use domain::{Deployment, Fault, FaultKind, ModelName, Selector};

use crate::inventory::refresh;
use crate::trail::Progress;
use crate::{Gateway, Instance, Inventory};

/// A deployment, resolved.
#[derive(Clone)]
pub struct Route {
    /// The instance.
    pub instance: Arc<Instance>,
    /// The model, as the instance spells it.
    pub model: ModelName,
    /// The same, as it stands in the body of a call.
    pub json: Bytes,
}

impl Route {
    /// The deployment's name.
    pub fn deployment(&self) -> Deployment {
        Deployment { provider: self.instance.name.clone(), model: self.model.clone() }
    }
}

/// Finds the deployment. A model that nobody is known to have is asked for first.
pub async fn resolve(
    gateway: &Arc<Gateway>,
    selector: &Selector,
    progress: &Progress,
) -> Result<Route, Fault> {
    if gateway.inventory.is_empty() {
        let message =
            "no provider is configured; set one, for example VLLM_BASE_URL=http://localhost:8000/v1";
        return Err(Fault::new(FaultKind::Unavailable, message));
    }
    if let Some(route) = find(&gateway.inventory, selector) {
        return Ok(route);
    }
    progress.wait_begins();
    refresh::news(gateway, candidates(&gateway.inventory, selector)).await;
    progress.wait_ends();
    find(&gateway.inventory, selector).ok_or_else(|| unknown(&gateway.inventory, selector))
}

/// Finds the deployment among those that are known.
///
/// A prefix is an instance's name, else a type; only a prefix that is neither may be part of a model's own id. A bare
/// id goes to the first instance that has it, in the order of their names.
pub fn find(inventory: &Inventory, selector: &Selector) -> Option<Route> {
    let offer = |instance: &Arc<Instance>, id: &str| {
        instance.model(id).map(|(model, json)| Route { instance: instance.clone(), model, json })
    };
    let anywhere = |id: &str| inventory.instances().iter().find_map(|instance| offer(instance, id));
    let Some(prefix) = selector.provider() else { return anywhere(selector.model()) };
    if let Some(route) = inventory.named(prefix).and_then(|instance| offer(instance, selector.model())) {
        return Some(route);
    }
    if let Some(route) = inventory.of_type(prefix).find_map(|instance| offer(instance, selector.model())) {
        return Some(route);
    }
    let configured = inventory.named(prefix).is_some() || inventory.of_type(prefix).next().is_some();
    if selector.explicit || configured { None } else { anywhere(selector.qualified()) }
}

/// The instances that might have it: the ones that the prefix names, else all.
fn candidates(inventory: &Inventory, selector: &Selector) -> Vec<Arc<Instance>> {
    if let Some(prefix) = selector.provider() {
        let mut named: Vec<_> =
            inventory.named(prefix).into_iter().chain(inventory.of_type(prefix)).cloned().collect();
        named.sort_by(|a, b| a.name.cmp(&b.name));
        named.dedup_by(|a, b| a.name == b.name);
        if !named.is_empty() {
            return named;
        }
        if selector.explicit {
            return Vec::new();
        }
    }
    inventory.instances().to_vec()
}

/// Why there is no deployment: the model is unknown, or one that could have it never told what it has.
fn unknown(inventory: &Inventory, selector: &Selector) -> Fault {
    let silent: Vec<String> = candidates(inventory, selector)
        .iter()
        .filter(|instance| !instance.state().has_answered())
        .map(|instance| format!("{:?}", instance.name.as_str()))
        .collect();
    if !silent.is_empty() {
        let message = format!(
            "cannot tell whether {} has the model {:?}: it has not answered yet, see `ferrovia doctor`",
            silent.join(", "),
            selector.qualified()
        );
        let mut fault =
            Fault::new(FaultKind::Unavailable, message).param("model").code("provider_unavailable");
        fault.retry_after = Some("5".into());
        return fault;
    }
    let near = near(inventory, selector);
    let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
    Fault::invalid(format!("unsupported model: {}{hint}", selector.qualified()))
        .param("model")
        .code("model_not_found")
}

/// Up to three known names that look like what the client wrote.
fn near(inventory: &Inventory, selector: &Selector) -> Vec<String> {
    let wanted = selector.qualified().to_lowercase();
    let bare = selector.model().to_lowercase();
    let mut scored: Vec<(f64, String)> = inventory
        .public_ids()
        .into_iter()
        .map(|id| {
            let lower = id.to_lowercase();
            let own = lower.split_once('/').map_or(lower.as_str(), |(_, model)| model);
            let score = strsim::jaro_winkler(&wanted, &lower)
                .max(strsim::jaro_winkler(&bare, own))
                .max(if own.contains(&bare) { 0.9 } else { 0.0 });
            (score, id)
        })
        .filter(|(score, _)| *score >= 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    scored.into_iter().take(3).map(|(_, id)| id).collect()
}
