//! The engine behind the routes: what it serves, who is in its batch, what it has counted.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::connections::Connections;
use crate::fault::Draws;
use crate::metrics::{Metrics, State};
use crate::pace::{Pace, Speed};
use crate::scheduler::{Bounds, Scheduler};
use crate::seen::Ring;
use crate::settings::{Model, Settings, Tasks};

/// One engine. A fleet is several of these.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) settings: Settings,
    pub(crate) metrics: Mutex<Metrics>,
    pub(crate) ring: Mutex<Ring>,
    pub(crate) scheduler: Mutex<Scheduler>,
    models: Vec<Arc<Model>>,
    /// LoRA adapters that were loaded since the start.
    adapters: Mutex<Vec<Arc<Model>>>,
    started: Instant,
    /// How deep it sleeps, if it does.
    asleep: Mutex<Option<u8>>,
    paused: Mutex<bool>,
    aborted: watch::Sender<u64>,
    pub(crate) connections: Arc<Connections>,
    /// How far the schedule of faults is.
    pub(crate) draws: Draws,
}

impl Engine {
    pub(crate) fn new(settings: Settings) -> Self {
        let bounds = Bounds {
            sequences: settings.max_num_seqs.max(1),
            in_flight: settings.max_num_queued_reqs,
            blocks: settings.kv_cache_blocks,
            speed: speed(&settings),
        };
        let bases = settings.models.iter().filter(|model| model.parent.is_none());
        Engine {
            metrics: Mutex::new(Metrics::new(bases.map(|model| model.id.clone()))),
            ring: Mutex::new(Ring::new(settings.remembered, settings.remembered_body)),
            scheduler: Mutex::new(Scheduler::new(bounds)),
            models: settings.models.iter().cloned().map(Arc::new).collect(),
            adapters: Mutex::new(Vec::new()),
            started: Instant::now(),
            asleep: Mutex::new(None),
            paused: Mutex::new(false),
            aborted: watch::Sender::new(0),
            connections: Arc::default(),
            draws: Draws::new(&settings.faults),
            settings,
        }
    }

    pub(crate) fn running(&self) -> usize {
        self.scheduler.lock().running()
    }

    pub(crate) fn aborts(&self) -> watch::Receiver<u64> {
        self.aborted.subscribe()
    }

    /// A client has left while the model was at work for it, or was about to be.
    pub(crate) fn count_abort(&self) {
        self.aborted.send_modify(|aborted| *aborted += 1);
    }

    /// The timetable of a request that has nothing to read.
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(0, speed(&self.settings))
    }

    /// The models it was started with, then the adapters that were loaded since.
    pub(crate) fn models(&self) -> Vec<Arc<Model>> {
        self.models.iter().chain(&*self.adapters.lock()).cloned().collect()
    }

    /// What any of the models can do.
    pub(crate) fn tasks(&self) -> Tasks {
        self.models.iter().fold(Tasks::NONE, |all, model| Tasks {
            generate: all.generate || model.tasks.generate,
            embed: all.embed || model.tasks.embed,
            classify: all.classify || model.tasks.classify,
            transcribe: all.transcribe || model.tasks.transcribe,
        })
    }

    /// A model by name; without a name, the first that can do it.
    pub(crate) fn model(&self, name: Option<&str>, able: impl Fn(Tasks) -> bool) -> Option<Arc<Model>> {
        let mut models = self.models().into_iter();
        match name.filter(|name| !name.is_empty()) {
            Some(name) => models.find(|model| model.id == name),
            None => models.find(|model| able(model.tasks)),
        }
    }

    /// The row of the metrics that a model counts in: an adapter in its base model's.
    pub(crate) fn row(&self, model: &Model) -> usize {
        let name = model.parent.as_ref().unwrap_or(&model.id);
        let mut bases = self.models.iter().filter(|base| base.parent.is_none());
        bases.position(|base| base.id == *name).unwrap_or(0)
    }

    /// Adds an adapter to the first base model, unless there is one of that name.
    pub(crate) fn load_adapter(&self, name: &str, path: &str) -> bool {
        let base = self.models.iter().find(|model| model.parent.is_none()).or(self.models.first());
        let mut adapters = self.adapters.lock();
        let known = self.models.iter().chain(&*adapters).any(|model| model.id == name);
        let Some(base) = base.filter(|_| !known) else { return false };
        adapters.push(Arc::new(Model {
            id: name.to_owned(),
            root: path.to_owned(),
            parent: Some(base.id.clone()),
            ..Model::clone(base)
        }));
        true
    }

    /// Removes an adapter that was loaded since the start, if there is one.
    pub(crate) fn unload_adapter(&self, name: &str) -> bool {
        let mut adapters = self.adapters.lock();
        let before = adapters.len();
        adapters.retain(|adapter| adapter.id != name);
        adapters.len() < before
    }

    /// Whether its model is still being loaded.
    pub(crate) fn loading(&self) -> bool {
        self.started.elapsed() < self.settings.loading
    }

    /// How deep it sleeps, if it does.
    pub(crate) fn asleep(&self) -> Option<u8> {
        *self.asleep.lock()
    }

    /// Falls asleep, which loses the cache, or wakes up. Asleep, it lets nobody into the batch.
    pub(crate) fn sleep(&self, level: Option<u8>) {
        *self.asleep.lock() = level;
        let paused = level.is_some() || self.paused();
        let mut scheduler = self.scheduler.lock();
        if level.is_some() {
            scheduler.forget_prefixes();
        }
        scheduler.pause(paused);
    }

    /// Whether it is told to let nobody into the batch.
    pub(crate) fn paused(&self) -> bool {
        *self.paused.lock()
    }

    /// Lets nobody into the batch, or everybody again.
    pub(crate) fn pause(&self, paused: bool) {
        *self.paused.lock() = paused;
        let paused = paused || self.asleep().is_some();
        self.scheduler.lock().pause(paused);
    }

    /// What stands beside the counters on the page of metrics.
    pub(crate) fn state(&self) -> State {
        let models = self.models();
        State {
            load: self.scheduler.lock().load(),
            asleep: self.asleep(),
            dev_mode: self.settings.dev_mode,
            max_loras: (self.settings.dev_mode || models.iter().any(|model| model.parent.is_some()))
                .then_some(self.settings.max_loras),
            blocks: self.settings.kv_cache_blocks,
        }
    }
}

fn speed(settings: &Settings) -> Speed {
    Speed { prefill: settings.prefill_tokens_per_second, decode: settings.decode_tokens_per_second }
}

/// Seconds since 1970, as `created` members tell them.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A new id of sixteen hexadecimal digits, as vLLM makes them.
pub(crate) fn id() -> String {
    let mut id = uuid::Uuid::new_v4().simple().to_string();
    id.truncate(16);
    id
}
