//! Waiting for what cannot be awaited: asking again and again, for a bounded time.

use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The longest pause between two questions.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Waits until `condition` holds. Prefer awaiting the event itself where there is one.
///
/// # Panics
/// When it does not hold within `deadline`; the message names the caller's line.
#[track_caller]
pub fn eventually(deadline: Duration, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    eventually_some(deadline, move || condition().then_some(()))
}

/// Waits until `probe` finds something, and returns it.
///
/// # Panics
/// When it finds nothing within `deadline`; the message names the caller's line.
#[track_caller]
pub fn eventually_some<T>(
    deadline: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let end = Instant::now() + deadline;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(found) = probe() {
                return found;
            }
            assert!(Instant::now() < end, "not so within {deadline:?}: the condition at {caller}");
            sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_becomes_true_is_awaited() {
        let mut asked = 0;
        let found = eventually_some(Duration::from_secs(5), || {
            asked += 1;
            (asked == 4).then_some("there")
        });
        assert_eq!(found.await, "there");
        assert_eq!(asked, 4);
    }

    #[tokio::test]
    async fn what_stays_false_names_the_line_that_waited() {
        let line = line!() + 1;
        let waiting = tokio::spawn(eventually(Duration::from_millis(30), || false));
        let panic = waiting.await.unwrap_err().into_panic();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains(&format!("wait.rs:{line}")), "{message}");
        assert!(message.starts_with("not so within 30ms"), "{message}");
    }
}
