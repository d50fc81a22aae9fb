//! How many calls an instance has at one time, and no to the one that would be too many.
//!
//! A call takes a slot when everything about it is known, and gives it back when the last byte of its reply is out or
//! its client has left; tries and retries within are one call. Nobody waits for a slot: whoever comes when all are taken
//! is told so at once, since a queue in front of a queue only hides how long it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::{Fault, FaultKind};

use crate::Instance;

/// The slots of one instance.
#[derive(Debug, Default)]
pub struct Slots {
    /// `None`: as many as come.
    limit: Option<usize>,
    taken: Arc<AtomicUsize>,
}

/// One slot, taken. Dropping it gives it back.
#[derive(Debug)]
pub struct Slot(Arc<AtomicUsize>);

impl Slots {
    /// So many slots; `None` for no limit.
    pub fn new(limit: Option<usize>) -> Slots {
        Slots { limit, taken: Arc::default() }
    }

    /// Counts on where the slots of the instance that had this name before stand: their calls go on.
    pub fn follow(&mut self, before: &Slots) {
        self.taken = before.taken.clone();
    }

    /// How many calls there may be at one time, if that is limited.
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// How many there are now.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes a slot, if one is free.
    pub fn take(&self) -> Option<Slot> {
        let free = |taken: usize| (self.limit.is_none_or(|limit| taken < limit)).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).ok()?;
        Some(Slot(self.taken.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a slot of this instance, or says that it is busy. That is no failure of the engine, which is not asked.
pub(crate) fn admit(instance: &Instance) -> Result<Slot, Fault> {
    instance.slots.take().ok_or_else(|| {
        let message = format!(
            "{} has as many calls under way as it may have at one time ({}); ask again in a moment",
            instance.name,
            instance.slots.limit().unwrap_or_default()
        );
        let mut fault = Fault::new(FaultKind::RateLimited, message).code("provider_busy");
        fault.retry_after = Some("1".into());
        fault
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_again_when_it_is_dropped() {
        let slots = Slots::new(Some(2));
        let (first, second) = (slots.take(), slots.take());
        assert!(first.is_some() && second.is_some() && slots.take().is_none());
        assert_eq!(slots.taken(), 2);
        drop(first);
        assert!(slots.take().is_some(), "and given back at once, since nobody kept it");
        assert_eq!(slots.taken(), 1);
    }

    #[test]
    fn without_a_limit_calls_are_only_counted() {
        let slots = Slots::new(None);
        let many: Vec<_> = (0..1000).map(|_| slots.take()).collect();
        assert!(many.iter().all(Option::is_some));
        assert_eq!(slots.taken(), 1000);
        drop(many);
        assert_eq!(slots.taken(), 0);
    }

    #[test]
    fn a_panic_gives_its_slot_back() {
        let slots = Slots::new(Some(1));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _slot = slots.take().expect("it is free");
            panic!("in the middle of a call");
        }));
        assert!(panicked.is_err() && slots.taken() == 0);
    }

    #[test]
    fn never_more_than_the_limit_however_many_come_at_once() {
        let slots = Slots::new(Some(3));
        let most = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if let Some(_slot) = slots.take() {
                            most.fetch_max(slots.taken(), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert!(most.into_inner() <= 3);
        assert_eq!(slots.taken(), 0);
    }

    #[test]
    fn slots_that_follow_others_count_their_calls_too() {
        let before = Slots::new(Some(3));
        let held = [before.take(), before.take()];
        let mut now = Slots::new(Some(2));
        now.follow(&before);
        assert!(now.take().is_none());
        drop(held);
        assert_eq!(now.taken(), 0);
        assert!(now.take().is_some());
    }
}
