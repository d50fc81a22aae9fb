//! The engine behind the routes: what it serves, what it counts, and one ticket per request under way.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::metrics::{Finished, Metrics};
use crate::pace::Pace;
use crate::seen::{Ending, Entry, Ring};
use crate::settings::{Model, Settings, Tasks};

/// One engine. Several replicas would be several of these.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) settings: Settings,
    pub(crate) metrics: Mutex<Metrics>,
    pub(crate) ring: Mutex<Ring>,
    /// How many requests are in the model, and how many were left by their clients.
    running: Mutex<usize>,
    aborted: watch::Sender<u64>,
}

impl Engine {
    pub(crate) fn new(settings: Settings) -> Self {
        let capacity = settings.max_model_len as usize * 8;
        let metrics = Metrics::new(settings.models.iter().map(|model| model.id.clone()), capacity);
        Engine {
            metrics: Mutex::new(metrics),
            ring: Mutex::new(Ring::new(settings.remembered)),
            running: Mutex::new(0),
            aborted: watch::Sender::new(0),
            settings,
        }
    }

    pub(crate) fn running(&self) -> usize {
        *self.running.lock()
    }

    pub(crate) fn aborts(&self) -> watch::Receiver<u64> {
        self.aborted.subscribe()
    }

    /// The timetable of a request that begins now.
    pub(crate) fn pace(&self, prompt_tokens: usize) -> Pace {
        let settings = &self.settings;
        Pace::new(prompt_tokens, settings.prefill_tokens_per_second, settings.decode_tokens_per_second)
    }

    /// What any of the models can do.
    pub(crate) fn tasks(&self) -> Tasks {
        let none = Tasks { generate: false, embed: false, classify: false };
        self.settings.models.iter().fold(none, |all, model| Tasks {
            generate: all.generate || model.tasks.generate,
            embed: all.embed || model.tasks.embed,
            classify: all.classify || model.tasks.classify,
        })
    }

    /// A model by name; without a name, the first that can do it.
    pub(crate) fn model(&self, name: Option<&str>, able: impl Fn(Tasks) -> bool) -> Option<(usize, &Model)> {
        let mut models = self.settings.models.iter().enumerate();
        match name.filter(|name| !name.is_empty()) {
            Some(name) => models.find(|(_, model)| model.id == name),
            None => models.find(|(_, model)| able(model.tasks)),
        }
    }
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

/// What a request makes the model do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// The model's place in the settings.
    pub(crate) model: usize,
    pub(crate) sequences: usize,
    pub(crate) prompt_tokens: usize,
    /// The tokens of all sequences together, and of the longest.
    pub(crate) output_tokens: usize,
    pub(crate) longest: usize,
    pub(crate) max_tokens: usize,
    /// How many sequences end at the token limit.
    pub(crate) cut: usize,
    pub(crate) pace: Pace,
}

impl Work {
    /// When the last token is there.
    pub(crate) fn done(&self) -> Instant {
        self.pace.all(self.longest)
    }
}

/// One request under way. Dropped before it is completed, it was aborted: the connection let go of it.
#[derive(Debug)]
pub(crate) struct Ticket {
    engine: Arc<Engine>,
    entry: Entry,
    route: &'static str,
    begun: Instant,
    work: Option<Work>,
    open: bool,
}

impl Ticket {
    pub(crate) fn new(engine: Arc<Engine>, entry: Entry) -> Self {
        let begun = entry.lock().at;
        Ticket { engine, entry, route: "none", begun, work: None, open: true }
    }

    /// Which route it takes.
    pub(crate) fn take(&mut self, route: &'static str) {
        self.route = route;
    }

    /// The model begins to work.
    pub(crate) fn begin(&mut self, work: Work) {
        *self.engine.running.lock() += work.sequences;
        self.engine.metrics.lock().begin(work.model, work.sequences, work.prompt_tokens + work.output_tokens);
        self.work = Some(work);
    }

    /// The status is known.
    pub(crate) fn answered(&self, status: u16) {
        let mut entry = self.entry.lock();
        entry.status = Some(status);
        self.engine.metrics.lock().answered(self.route, entry.method.as_str(), status);
    }

    /// The answer is out.
    pub(crate) fn complete(&mut self) {
        self.close(Ending::Completed);
    }

    /// The request did not arrive whole.
    pub(crate) fn fail(&mut self) {
        self.close(Ending::Failed);
    }

    fn close(&mut self, ending: Ending) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        self.entry.lock().ended = Some(ending);
        let Some(work) = self.work.take() else { return };
        let running = &mut *self.engine.running.lock();
        *running = running.saturating_sub(work.sequences);
        let mut metrics = self.engine.metrics.lock();
        metrics.end(work.model, work.sequences, work.prompt_tokens + work.output_tokens);
        if let Ending::Aborted { .. } = ending {
            let each = work.pace.so_far(work.longest);
            let output = (each * work.sequences).min(work.output_tokens);
            let read = if each > 0 { work.prompt_tokens } else { 0 };
            metrics.aborted(work.model, work.sequences, read, output);
            drop(metrics);
            self.engine.aborted.send_modify(|aborted| *aborted += 1);
        } else {
            let since = |at: Instant| at.saturating_duration_since(self.begun);
            let to_first = since(work.pace.token(0));
            let finished = Finished {
                prompt_tokens: work.prompt_tokens,
                output_tokens: work.output_tokens,
                longest: work.longest,
                sequences: work.sequences,
                max_tokens: work.max_tokens,
                to_first,
                whole: self.begun.elapsed().max(to_first),
            };
            metrics.finished(work.model, finished, work.cut);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            let at = Instant::now();
            let after: Duration = at.saturating_duration_since(self.begun);
            self.close(Ending::Aborted { after, at });
        }
    }
}
