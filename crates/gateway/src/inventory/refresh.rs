//! When instances are asked: at start, when they are new, now and then, soon again after a failure, and when a client names
//! a model that nobody is known to have.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::{ask, file};
use crate::{Gateway, Instance};

/// An instance is asked for news at most this often.
const NEWS: Duration = Duration::from_secs(5);

/// A client that names an unknown model waits at most this long for news.
const NEWS_PATIENCE: Duration = Duration::from_secs(2);

/// How often the inventory is refreshed.
#[derive(Clone, Debug)]
pub struct Rhythm {
    /// All instances.
    pub all: Duration,
    /// Those that failed.
    pub failed: Duration,
    /// Where the inventory is kept between runs. `None`: nowhere.
    pub file: Option<PathBuf>,
}

/// What is kept fresh, and how often.
#[derive(Clone)]
pub struct Kept {
    /// Whose instances are asked.
    pub gateway: Arc<Gateway>,
    /// How often.
    pub rhythm: Rhythm,
}

/// Refreshes until the future is dropped, or nobody can say any more what is to be kept fresh: everything at once, then by
/// the clock. When another gateway takes the place of the present one, its instances that nobody has asked yet are asked
/// at once, and those that it does not have never again.
pub async fn keep_fresh(mut kept: watch::Receiver<Kept>) {
    let mut last = Instant::now();
    loop {
        let now = kept.borrow_and_update().clone();
        tokio::select! {
            never = keep(&now, &mut last) => match never {},
            changed = kept.changed() => if changed.is_err() { return },
        }
    }
}

async fn keep(Kept { gateway, rhythm }: &Kept, last: &mut Instant) -> Infallible {
    refresh_all(gateway, rhythm, true).await;
    let mut recheck = tokio::time::interval(rhythm.failed);
    recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
    recheck.tick().await;
    loop {
        recheck.tick().await;
        let everything = last.elapsed() >= rhythm.all;
        refresh_all(gateway, rhythm, !everything).await;
        if everything {
            *last = Instant::now();
        }
    }
}

/// Asks all instances at the same time (or all that failed or were loading the last time, or were never asked), and keeps
/// what they said.
pub async fn refresh_all(gateway: &Arc<Gateway>, rhythm: &Rhythm, only_due: bool) {
    let due: Vec<_> = gateway
        .inventory
        .instances()
        .iter()
        .filter(|instance| {
            let state = instance.state();
            !only_due
                || !instance.asked.load(Ordering::Relaxed)
                || state.error.is_some()
                || !state.has_answered()
                || state.abilities.loading
        })
        .cloned()
        .collect();
    futures_util::future::join_all(due.iter().map(|instance| refresh_one(gateway, instance))).await;
    if let Some(path) = rhythm.file.clone().filter(|_| gateway.inventory.take_unsaved()) {
        let gateway = gateway.clone();
        let saved = tokio::task::spawn_blocking(move || (file::save(&path, &gateway.inventory), path)).await;
        if let Ok((Err(error), path)) = saved {
            tracing::warn!(file = %path.display(), %error, "the model inventory could not be saved; a restart begins without it");
        }
    }
}

/// Asks one instance, and says what changed.
pub async fn refresh_one(gateway: &Gateway, instance: &Arc<Instance>) {
    let before = instance.state();
    let result = ask::refresh(gateway, instance).await;
    instance.asked.store(true, Ordering::Relaxed);
    let now = instance.state();
    if result.is_ok() {
        gateway.inventory.heard();
    }
    match result {
        Ok(())
            if before.stale_since.is_some()
                || !before.has_answered()
                || before.abilities.loading != now.abilities.loading
                || before.models.len() != now.models.len() =>
        {
            tracing::info!(
                provider = %instance.name,
                models = now.models.len(),
                engine = now.abilities.engine.unwrap_or("unknown"),
                version = now.abilities.version.as_deref().unwrap_or("unknown"),
                loading = now.abilities.loading,
                "provider answered"
            );
            if let Some(engine) = now.abilities.engine
                && engine != instance.spec.name
                && before.abilities.engine != now.abilities.engine
            {
                tracing::warn!(
                    provider = %instance.name,
                    configured = instance.spec.name,
                    engine,
                    "the provider is another engine than its type says; `ferrovia doctor` says what to change"
                );
            }
        }
        Err(error) if before.error.as_deref() != Some(&error) => {
            tracing::warn!(provider = %instance.name, kept_models = now.models.len(), %error, "provider did not answer; it is asked again soon");
        }
        _ => {}
    }
}

/// Asks these instances whether there is something new, unless they were asked a moment ago. Waits two seconds at most.
pub async fn news(gateway: &Arc<Gateway>, instances: Vec<Arc<Instance>>) {
    let asking = instances.into_iter().map(|instance| {
        let gateway = gateway.clone();
        // a task of its own: a client that leaves does not stop the question, and others wait for the same answer
        tokio::spawn(async move {
            let mut asked = instance.asked_for_news.lock().await;
            if asked.is_none_or(|at| at.elapsed() >= NEWS) {
                refresh_one(&gateway, &instance).await;
                *asked = Some(Instant::now());
            }
        })
    });
    let _ = tokio::time::timeout(NEWS_PATIENCE, futures_util::future::join_all(asking)).await;
}
