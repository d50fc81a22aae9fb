//! The end: stop accepting, let replies finish up to a limit, tell the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gateway::bell::{Bell, Listener};
use tokio::sync::Notify;

/// Held by every connection; clones are counted.
pub(crate) struct Drain {
    /// No new connections; requests under way are the last ones.
    begins: Bell,
    /// Nobody is waited for any more.
    over: Bell,
    held: Arc<Held>,
}

#[derive(Default)]
struct Held {
    count: AtomicUsize,
    gone: Notify,
}

impl Clone for Drain {
    fn clone(&self) -> Drain {
        self.held.count.fetch_add(1, Ordering::AcqRel);
        Drain { begins: self.begins.clone(), over: self.over.clone(), held: self.held.clone() }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        if self.held.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.held.gone.notify_one();
        }
    }
}

impl Drain {
    /// Waits until the end begins.
    pub(crate) fn begun(&self) -> Listener {
        self.begins.listen()
    }

    /// Gives the hold back, and waits until nobody is waited for.
    pub(crate) async fn over(self) {
        let over = self.over.listen();
        drop(self);
        over.await;
    }
}

/// The side that ends things.
pub(crate) struct Ending {
    begins: Bell,
    over: Bell,
    held: Arc<Held>,
}

impl Drop for Ending {
    /// Without this side nobody is left to wait for.
    fn drop(&mut self) {
        self.begins.ring();
        self.over.ring();
    }
}

/// A new drain, and the side that begins it.
pub(crate) fn pair() -> (Drain, Ending) {
    let (begins, over) = (Bell::default(), Bell::default());
    let held = Arc::new(Held { count: AtomicUsize::new(1), ..Held::default() });
    (Drain { begins: begins.clone(), over: over.clone(), held: held.clone() }, Ending { begins, over, held })
}

impl Ending {
    /// Begins the end and waits for everybody. After `limit`, those who are left are told through `closing`, and have
    /// two seconds to say so to their clients. True if all had finished by themselves.
    pub(crate) async fn drain(self, limit: Duration, closing: &Bell) -> bool {
        self.begins.ring();
        let finished = self.all_gone(limit).await;
        if !finished {
            closing.ring();
            self.all_gone(Duration::from_secs(2)).await;
        }
        self.over.ring();
        finished
    }

    async fn all_gone(&self, limit: Duration) -> bool {
        let waiting = async {
            while self.held.count.load(Ordering::Acquire) > 0 {
                self.held.gone.notified().await;
            }
        };
        tokio::time::timeout(limit, waiting).await.is_ok()
    }
}

/// Waits for the operator's word to end: Ctrl-C or SIGTERM.
pub(crate) async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            let _ = tokio::signal::ctrl_c().await;
            return;
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = tokio::signal::ctrl_c().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn everybody_is_waited_for_but_not_for_ever() {
        let (drain, ending) = pair();
        let closing = Bell::default();
        let connection = drain.clone();
        drop(drain);
        let told = async {
            closing.listen().await;
            drop(connection);
        };
        let (finished, ()) = tokio::join!(ending.drain(Duration::from_secs(5), &closing), told);
        assert!(!finished);

        let (drain, ending) = pair();
        let working = async {
            drain.begun().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            drain.over().await;
        };
        let (finished, ()) = tokio::join!(ending.drain(Duration::from_secs(5), &closing), working);
        assert!(finished);
    }
}
