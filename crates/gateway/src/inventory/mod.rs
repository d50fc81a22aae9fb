//! The deployments known right now: every configured instance with its models.
//!
//! Start-up never waits for the network. What is known comes from the last run's file, then from asking ([`ask`]); an
//! instance that cannot be asked keeps its models, marked stale.

pub mod ask;
pub mod file;
pub mod filter;
mod probe;
pub mod refresh;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Instance;

/// Every configured instance, sorted by name.
pub struct Inventory {
    instances: Vec<Arc<Instance>>,
    /// Something was heard that the file does not know yet.
    unsaved: AtomicBool,
}

impl Inventory {
    /// An inventory of these instances.
    pub fn new(mut instances: Vec<Arc<Instance>>) -> Inventory {
        instances.sort_by(|a, b| a.name.cmp(&b.name));
        Inventory { instances, unsaved: AtomicBool::new(false) }
    }

    /// All instances, by name.
    pub fn instances(&self) -> &[Arc<Instance>] {
        &self.instances
    }

    /// The instance of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Instance>> {
        self.instances.iter().find(|instance| instance.name.as_str() == name)
    }

    /// The instances of this type, by name.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Arc<Instance>> {
        self.instances.iter().filter(move |instance| instance.spec.name == kind)
    }

    /// Notes that the file no longer says what is known: something was heard, or instances came or went.
    pub fn heard(&self) {
        self.unsaved.store(true, Ordering::Relaxed);
    }

    /// Whether something was heard since this was last asked.
    pub(crate) fn take_unsaved(&self) -> bool {
        self.unsaved.swap(false, Ordering::Relaxed)
    }

    /// Whether there is nothing to call.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// Every public id that is known.
    pub fn public_ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for instance in &self.instances {
            ids.extend(instance.state().models.keys().map(|model| format!("{}/{model}", instance.name)));
        }
        ids.sort();
        ids
    }
}
