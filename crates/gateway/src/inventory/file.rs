//! The last known inventory, on disk, so that a restart serves at once. The file is GoModel's `models.json` with more in it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use dialect::listing::Listed;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::instance::{self, State};
use crate::{Instance, Inventory};

/// Larger files are not ours.
const LARGEST: u64 = 32 << 20;

#[derive(Serialize, Deserialize)]
struct File {
    updated_at: String,
    providers: BTreeMap<String, Kept>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    provider_type: String,
    #[serde(default)]
    owned_by: String,
    /// Where the list came from: another address has other models. GoModel does not write it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    base_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    heard: Option<Timestamp>,
    models: Vec<Listed>,
}

/// Loads what the last run knew. A missing file is no error; an unreadable one is told in a sentence.
pub fn load(path: &Path, inventory: &Inventory) -> Result<usize, String> {
    let text = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.to_string()),
        Ok(meta) if meta.len() > LARGEST => return Err("it is too large to be a model cache".into()),
        Ok(_) => std::fs::read(path).map_err(|error| error.to_string())?,
    };
    let file: File = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let updated: Option<Timestamp> = file.updated_at.parse().ok();
    let mut loaded = 0;
    for (name, kept) in file.providers {
        let Some(instance) = inventory.named(&name) else { continue };
        let moved = !kept.base_url.is_empty() && kept.base_url != address(instance);
        if kept.provider_type != instance.spec.name || moved || instance.state().has_answered() {
            continue;
        }
        let heard = kept.heard.or(updated);
        let shown = kept.models.into_iter().filter(|model| instance.filter.shows(&model.id));
        let models = instance::models(shown);
        let state = State { models, heard, stale_since: heard, ..State::default() };
        loaded += state.models.len();
        instance.update(state);
    }
    Ok(loaded)
}

/// Writes what is known: to a new file first, so that a full disk spoils nothing.
pub fn save(path: &Path, inventory: &Inventory) -> std::io::Result<()> {
    let kept = |instance: &Arc<Instance>| {
        let state = instance.state();
        let mut models: Vec<Listed> = state.models.values().map(|model| model.listed.clone()).collect();
        models.sort_by(|a, b| a.id.cmp(&b.id));
        let kept = Kept {
            provider_type: instance.spec.name.to_owned(),
            owned_by: instance.name.to_string(),
            base_url: address(instance),
            heard: state.heard,
            models,
        };
        state.has_answered().then(|| (instance.name.to_string(), kept))
    };
    let file = File {
        updated_at: Timestamp::now().to_string(),
        providers: inventory.instances().iter().filter_map(kept).collect(),
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension("json.new");
    let mut out = std::fs::File::create(&temporary)?;
    out.write_all(&serde_json::to_vec(&file)?)?;
    out.sync_all()?;
    std::fs::rename(&temporary, path)
}

fn address(instance: &Instance) -> String {
    format!("{}{}", instance.base.origin, instance.base.api)
}
