//! Deadlines without a timer for each request.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// One timer for one sender. It is set for a request's deadline and then left alone: a request
/// that ends in time does not touch it, a later one sets it again only if its own deadline is
/// earlier, or when it goes off too early for it.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom the timer will wake.
    waker: Option<Waker>,
}

impl Alarm {
    /// What `work` gives; `None` when it is not ready at `deadline`.
    pub(crate) async fn until<T>(
        &mut self,
        deadline: Instant,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll_over(deadline, context).map(|()| None),
        })
        .await
    }

    fn poll_over(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        let set_for = sleep.deadline();
        if set_for > deadline || (set_for < deadline && sleep.is_elapsed()) {
            sleep.as_mut().reset(deadline);
            self.waker = None;
        }
        if sleep.is_elapsed() {
            return Poll::Ready(());
        }
        let wakes_us = |waker: &Waker| waker.will_wake(context.waker());
        if !self.waker.as_ref().is_some_and(wakes_us) {
            // Work that has used up the task's budget must not hide the deadline.
            ready!(pin!(unconstrained(sleep.as_mut())).poll(context));
            self.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_deadline_is_kept() {
        let mut alarm = Alarm::default();
        // Earlier, later and equal ones, met and missed, in every order.
        for (deadline, work) in [(50, 10), (20, 30), (500, 100), (70, 90), (70, 69), (5, 6)] {
            let begin = Instant::now();
            let work = sleep(Duration::from_millis(work));
            let deadline = begin + Duration::from_millis(deadline);
            let expected = work.deadline() < deadline;
            assert_eq!(alarm.until(deadline, work).await.is_some(), expected);
            assert!(Instant::now() <= deadline + Duration::from_millis(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_kept_in_another_task() {
        let mut alarm = Alarm::default();
        let soon = |millis| Instant::now() + Duration::from_millis(millis);
        alarm.until(soon(50), sleep(Duration::from_millis(1))).await;
        let deadline = soon(100);
        let other = tokio::spawn(async move { alarm.until(deadline, pending::<()>()).await });
        assert!(other.await.unwrap().is_none());
        assert_eq!(Instant::now(), deadline);
    }

    #[tokio::test]
    async fn work_that_never_pauses_is_ended() {
        let mut alarm = Alarm::default();
        let deadline = Instant::now() + Duration::from_millis(30);
        let busy = async {
            loop {
                tokio::task::coop::consume_budget().await;
            }
        };
        assert_eq!(alarm.until::<()>(deadline, busy).await, None);
    }
}
