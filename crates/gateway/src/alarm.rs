//! A timer that is asked with every event and goes off seldom: asking costs a look at the clock, not one at the runtime's
//! timers.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// What a future comes to, if it does so in time. One that is ready at once needs no clock.
pub(crate) async fn in_time<F: Future>(patience: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(output) => Some(output),
        Poll::Pending => timeout(patience, future).await.ok(),
    }
}

/// A timer, once it is needed.
#[derive(Debug, Default)]
pub struct Alarm(Option<Set>);

#[derive(Debug)]
struct Set {
    sleep: Pin<Box<Sleep>>,
    /// Who is woken when it goes off.
    wakes: Waker,
}

impl Alarm {
    /// Whether a moment has come; if not, the task is woken then or before. A moment that moves on with each event leaves
    /// the timer as it is: it goes off too early, and is set again.
    pub fn due(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        if now >= at {
            return Poll::Ready(());
        }
        let early_enough = |sleep: &Sleep| now < sleep.deadline() && sleep.deadline() <= at;
        match &mut self.0 {
            Some(set) if early_enough(&set.sleep) && set.wakes.will_wake(cx.waker()) => return Poll::Pending,
            Some(set) => {
                if !early_enough(&set.sleep) {
                    set.sleep.as_mut().reset(at);
                }
                set.wakes.clone_from(cx.waker());
            }
            None => self.0 = Some(Set { sleep: Box::pin(sleep_until(at)), wakes: cx.waker().clone() }),
        }
        // unconstrained: a task that has used up its turn would be told to come again before the timer is set
        self.0.as_mut().map_or(Poll::Pending, |set| pin!(unconstrained(set.sleep.as_mut())).poll(cx))
    }

    /// Whether it has been needed.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Lets the timer go.
    pub fn stop(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    async fn after(alarm: &mut Alarm, at: Instant) -> Duration {
        poll_fn(|cx| alarm.due(at, cx)).await;
        Instant::now() - at
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_future_has_its_time_and_no_more() {
        let began = Instant::now();
        assert_eq!(in_time(Duration::ZERO, async { 1 }).await, Some(1), "it was ready");
        assert_eq!(in_time(2 * SECOND, sleep(SECOND)).await, Some(()));
        assert_eq!(in_time(2 * SECOND, sleep(3 * SECOND)).await, None);
        assert_eq!(began.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_off_in_time_whenever_it_was_set() {
        let (mut alarm, began) = (Alarm::default(), Instant::now());
        assert!(!alarm.is_set());
        for at in [began + 3 * SECOND, began + 5 * SECOND] {
            assert!(after(&mut alarm, at).await <= Duration::from_millis(1));
        }
        assert_eq!(began.elapsed(), after(&mut alarm, began).await, "what is over is not waited for");
        // a moment before the one it was set for
        let now = Instant::now();
        let asked = poll_fn(|cx| Poll::Ready(alarm.due(now + 60 * SECOND, cx))).await;
        assert!(asked.is_pending());
        assert!(after(&mut alarm, now + 2 * SECOND).await <= Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_that_moves_on_is_still_met() {
        let (mut alarm, mut at, mut asked) = (Alarm::default(), Instant::now() + SECOND, 0);
        poll_fn(|cx| {
            asked += 1;
            // an event for each of the first times that it is asked
            if asked < 5 {
                at = Instant::now() + SECOND;
            }
            alarm.due(at, cx)
        })
        .await;
        assert_eq!(asked, 5, "it went off in between, and was set again");
        assert!(Instant::now() - at <= Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_that_asked_last_is_woken() {
        let (mut alarm, at) = (Alarm::default(), Instant::now() + SECOND);
        let nobody = Waker::noop();
        assert!(alarm.due(at, &mut Context::from_waker(nobody)).is_pending());
        assert!(after(&mut alarm, at).await <= Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_has_used_up_its_turn_is_woken_all_the_same() {
        let (mut alarm, at) = (Alarm::default(), Instant::now() + SECOND);
        let busy = async {
            for _ in 0..10_000 {
                tokio::task::consume_budget().await;
            }
        };
        let (_, late) = tokio::join!(busy, after(&mut alarm, at));
        assert!(late <= Duration::from_millis(1));
    }
}
