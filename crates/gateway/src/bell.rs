//! A bell that is rung once and heard by everybody who listens, also by those who come later.
//!
//! Whoever serves a connection asks with each of its events whether the bell has rung. So asking again takes no lock: it
//! looks at one flag, and at whether the task that is to be woken is still the same.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// A bell; clones ring together.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    rung: AtomicBool,
    waiting: Mutex<Waiting>,
}

/// Who is to be woken, each in a place of its own, and the places that are free.
#[derive(Debug, Default)]
struct Waiting {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Bell {
    /// Rings. It cannot be taken back.
    pub fn ring(&self) {
        self.0.rung.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut *self.0.waiting.lock());
        waiting.wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// A future that is ready once the bell has rung.
    pub fn listen(&self) -> Listener {
        Listener { bell: self.clone(), place: None }
    }

    fn has_rung(&self) -> bool {
        self.0.rung.load(Ordering::Acquire)
    }
}

/// Waits for a bell. Wakes nobody any more once it is dropped.
#[derive(Debug)]
pub struct Listener {
    bell: Bell,
    /// Where it waits, and who is woken there.
    place: Option<(usize, Waker)>,
}

impl Future for Listener {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let listener = &mut *self;
        if listener.bell.has_rung() {
            return Poll::Ready(());
        }
        if listener.place.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let mut waiting = listener.bell.0.waiting.lock();
        // who rings says so before the lock is taken: either we see it here, or our waker is found
        if listener.bell.has_rung() {
            return Poll::Ready(());
        }
        let place = listener.place.take().map(|(place, _)| place).or_else(|| waiting.free.pop());
        let place = place.unwrap_or_else(|| {
            waiting.wakers.push(None);
            waiting.wakers.len() - 1
        });
        waiting.wakers[place] = Some(cx.waker().clone());
        listener.place = Some((place, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some((place, _)) = self.place.take() else { return };
        let mut waiting = self.bell.0.waiting.lock();
        // it has no place any more if the bell has rung
        if let Some(waker) = waiting.wakers.get_mut(place) {
            let gone = waker.take();
            waiting.free.push(place);
            drop(waiting);
            drop(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn polled(listener: &mut Listener, count: &Arc<Count>) -> bool {
        let waker = Waker::from(count.clone());
        Pin::new(listener).poll(&mut Context::from_waker(&waker)).is_ready()
    }

    #[test]
    fn everybody_is_woken_once_and_later_ones_need_not_wait() {
        let bell = Bell::default();
        let counts: [Arc<Count>; 3] = Default::default();
        let mut listeners = [bell.listen(), bell.listen(), bell.listen()];
        for _ in 0..2 {
            for (listener, count) in listeners.iter_mut().zip(&counts) {
                assert!(!polled(listener, count));
            }
        }
        bell.ring();
        assert!(counts.iter().all(|count| count.0.load(Ordering::SeqCst) == 1));
        assert!(listeners.iter_mut().zip(&counts).all(|(listener, count)| polled(listener, count)));
        assert!(polled(&mut bell.listen(), &counts[0]));
        drop(listeners);
        bell.ring();
        assert!(counts.iter().all(|count| count.0.load(Ordering::SeqCst) == 1));
    }

    #[test]
    fn the_task_that_asked_last_is_woken() {
        let bell = Bell::default();
        let (before, after) = (Arc::default(), Arc::default());
        let mut listener = bell.listen();
        assert!(!polled(&mut listener, &before) && !polled(&mut listener, &after));
        bell.ring();
        assert_eq!((before.0.load(Ordering::SeqCst), after.0.load(Ordering::SeqCst)), (0, 1));
    }

    #[test]
    fn who_is_gone_is_not_woken_and_leaves_its_place() {
        let bell = Bell::default();
        let (gone, stays) = (Arc::default(), Arc::default());
        let mut other = bell.listen();
        assert!(!polled(&mut other, &stays));
        for _ in 0..100 {
            let mut listener = bell.listen();
            assert!(!polled(&mut listener, &gone));
        }
        assert_eq!(bell.0.waiting.lock().wakers.len(), 2);
        assert_eq!(Arc::strong_count(&gone), 1, "its waker is let go");
        bell.ring();
        assert_eq!((gone.0.load(Ordering::SeqCst), stays.0.load(Ordering::SeqCst)), (0, 1));
    }

    #[test]
    fn a_bell_that_rings_while_somebody_begins_to_listen_is_heard() {
        for _ in 0..2000 {
            let bell = Bell::default();
            let (mut listener, count) = (bell.listen(), Arc::<Count>::default());
            let ready = std::thread::scope(|scope| {
                scope.spawn(|| bell.ring());
                polled(&mut listener, &count)
            });
            assert!(ready || count.0.load(Ordering::SeqCst) == 1);
        }
    }
}
