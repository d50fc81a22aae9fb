//! Idle connections of one runtime.
//!
//! A socket is bound to the runtime that opened it: its events come through that runtime's driver. With
//! one runtime per core each has its own shard, so connections stay on their core and no lock is fought
//! over; a multi-thread runtime has one shard for all its threads.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::link::Link;

/// How often idle connections are looked through, while there are any.
const ROUND: Duration = Duration::from_secs(1);

/// The idle connections of one runtime, by target.
pub(crate) struct Shard {
    shelf: Mutex<Shelf>,
    /// Tells the keeper that there is something to keep.
    stir: Arc<Notify>,
    max_idle: Duration,
    max_per_target: usize,
}

#[derive(Default)]
struct Shelf {
    /// Oldest first.
    idle: BTreeMap<u64, VecDeque<Idle>>,
    count: usize,
    /// Set when the runtime ends: nothing is kept any more.
    closed: bool,
}

struct Idle {
    link: Box<Link>,
    until: Instant,
}

impl Shard {
    /// A shard for the runtime that calls. Its keeper runs there, and `ended` is called when that
    /// runtime shuts down.
    pub(crate) fn start(
        max_idle: Duration,
        max_per_target: usize,
        ended: impl FnOnce(&Weak<Shard>) + Send + 'static,
    ) -> Arc<Shard> {
        let stir = Arc::new(Notify::new());
        let shard = Arc::new(Shard { shelf: Mutex::default(), stir: stir.clone(), max_idle, max_per_target });
        let farewell = Farewell { shard: Arc::downgrade(&shard), ended: Some(ended) };
        tokio::spawn(keep(farewell, stir));
        shard
    }

    /// The most recently used connection to `target` whose time is not over and which the server has not closed, as far
    /// as this runtime knows.
    pub(crate) fn take(&self, target: u64) -> Option<Box<Link>> {
        loop {
            let mut idle = {
                let mut shelf = self.shelf.lock();
                let idle = shelf.idle.get_mut(&target)?.pop_back()?;
                shelf.count -= 1;
                idle
            };
            // Others are closed here, with the lock released.
            if Instant::now() < idle.until && idle.link.alive() {
                return Some(idle.link);
            }
        }
    }

    /// Keeps a connection for later, for `idle` at most. The oldest makes room if there are too many.
    pub(crate) fn park(&self, target: u64, link: Box<Link>, idle: Duration) {
        let idle = idle.min(self.max_idle);
        if idle.is_zero() || self.max_per_target == 0 {
            return;
        }
        let until = Instant::now() + idle;
        let mut shelf = self.shelf.lock();
        if shelf.closed {
            drop(shelf);
            return;
        }
        let row = shelf.idle.entry(target).or_default();
        row.push_back(Idle { link, until });
        let surplus = if row.len() > self.max_per_target { row.pop_front() } else { None };
        shelf.count += usize::from(surplus.is_none());
        let first = shelf.count == 1;
        drop(shelf);
        drop(surplus);
        if first {
            self.stir.notify_one();
        }
    }

    /// How many connections are idle.
    pub(crate) fn count(&self) -> usize {
        self.shelf.lock().count
    }

    /// Closes every idle connection to `target`.
    pub(crate) fn forget(&self, target: u64) {
        let mut shelf = self.shelf.lock();
        let row = shelf.idle.remove(&target).unwrap_or_default();
        shelf.count -= row.len();
        drop(shelf);
    }

    /// Closes what has waited too long and what the peer has closed; tells how many are left.
    fn sweep(&self) -> usize {
        let now = Instant::now();
        let mut over = Vec::new();
        let mut shelf = self.shelf.lock();
        for row in shelf.idle.values_mut() {
            let all = std::mem::take(row);
            for mut idle in all {
                if idle.until > now && idle.link.alive() {
                    row.push_back(idle);
                } else {
                    over.push(idle);
                }
            }
        }
        shelf.idle.retain(|_, row| !row.is_empty());
        shelf.count -= over.len();
        shelf.count
    }

    fn close(&self) {
        let mut shelf = self.shelf.lock();
        shelf.closed = true;
        shelf.count = 0;
        let idle = std::mem::take(&mut shelf.idle);
        drop(shelf);
        drop(idle);
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        // The keeper finds its shard gone and ends.
        self.stir.notify_one();
    }
}

/// Sleeps while nothing is idle, then looks through the shelf once per [`ROUND`].
async fn keep<F: FnOnce(&Weak<Shard>)>(farewell: Farewell<F>, stir: Arc<Notify>) {
    loop {
        stir.notified().await;
        loop {
            match farewell.shard.upgrade() {
                Some(shard) if shard.count() > 0 => {}
                Some(_) => break,
                None => return,
            }
            sleep(ROUND).await;
            if let Some(shard) = farewell.shard.upgrade() {
                shard.sweep();
            }
        }
    }
}

/// Dropped with the keeper, thus when the runtime ends: the connections end with it.
struct Farewell<F: FnOnce(&Weak<Shard>)> {
    shard: Weak<Shard>,
    ended: Option<F>,
}

impl<F: FnOnce(&Weak<Shard>)> Drop for Farewell<F> {
    fn drop(&mut self) {
        if let Some(shard) = self.shard.upgrade() {
            shard.close();
        }
        if let Some(ended) = self.ended.take() {
            ended(&self.shard);
        }
    }
}
