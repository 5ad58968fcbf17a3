//! A bounded number of slots and two ways to hand a freed one on: to the longest waiting, or in the
//! manner of HikariCP, where a newcomer may take it while the waiter is still waking up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::precise;

/// How a freed slot finds its next holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handoff {
    /// First come, first served.
    Fair,
    /// The longest waiting is woken and needs `delay` to take the slot. Whoever asks during that
    /// time gets it at once, and the loser goes to the back of the queue.
    Barging { delay: Duration },
}

/// Hands out a fixed number of slots.
#[derive(Debug)]
pub struct Gate(Discipline);

#[derive(Debug)]
enum Discipline {
    Fair(Arc<Semaphore>),
    Barging { slots: Arc<Slots>, delay: Duration },
}

/// One slot, given back when dropped.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its drop")] Held);

#[derive(Debug)]
#[expect(dead_code, reason = "held for their drop")]
enum Held {
    Fair(OwnedSemaphorePermit),
    Barging(FreedOnDrop),
}

impl Gate {
    /// A gate with `slots` free slots.
    pub fn new(slots: usize, handoff: Handoff) -> Self {
        Self(match handoff {
            Handoff::Fair => Discipline::Fair(Arc::new(Semaphore::new(slots))),
            Handoff::Barging { delay } => Discipline::Barging {
                slots: Arc::new(Slots(Mutex::new(Queue {
                    free: slots,
                    waiting: VecDeque::new(),
                }))),
                delay,
            },
        })
    }

    /// Waits for a slot. Dropping the future gives the place in the queue up.
    pub async fn enter(&self) -> Slot {
        Slot(match &self.0 {
            Discipline::Fair(semaphore) => Held::Fair(
                Arc::clone(semaphore)
                    .acquire_owned()
                    .await
                    .expect("the semaphore is never closed"),
            ),
            Discipline::Barging { slots, delay } => Held::Barging(barge(slots, *delay).await),
        })
    }
}

#[derive(Debug)]
struct Slots(Mutex<Queue>);

/// A slot on its way to a woken waiter still counts as free: that is what a newcomer can take.
#[derive(Debug)]
struct Queue {
    free: usize,
    waiting: VecDeque<oneshot::Sender<Woken>>,
}

#[derive(Debug)]
struct FreedOnDrop(Arc<Slots>);

impl Drop for FreedOnDrop {
    fn drop(&mut self) {
        self.0.lock().free += 1;
        Slots::wake_next(&self.0);
    }
}

/// The news that a slot is free. Whoever drops it without taking a slot passes it on, so that a
/// waiter that goes away does not leave a slot idle.
#[derive(Debug)]
struct Woken(Option<Arc<Slots>>);

impl Drop for Woken {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take()
            && slots.lock().free > 0
        {
            Slots::wake_next(&slots);
        }
    }
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().expect("no holder of this lock can panic")
    }

    /// Wakes the longest waiting that has not gone away.
    fn wake_next(slots: &Arc<Self>) {
        loop {
            let next = slots.lock().waiting.pop_front();
            let Some(waiter) = next else { return };
            match waiter.send(Woken(Some(Arc::clone(slots)))) {
                Ok(()) => return,
                // Gone already: this loop passes the news on, its drop must not.
                Err(mut unheard) => unheard.0 = None,
            }
        }
    }
}

async fn barge(slots: &Arc<Slots>, delay: Duration) -> FreedOnDrop {
    let mut woken: Option<Woken> = None;
    loop {
        let place = {
            let mut queue = slots.lock();
            if queue.free > 0 {
                queue.free -= 1;
                None
            } else {
                let (waiter, place) = oneshot::channel();
                queue.waiting.push_back(waiter);
                Some(place)
            }
        };
        if let Some(mut news) = woken.take() {
            news.0 = None;
        }
        let Some(place) = place else {
            return FreedOnDrop(Arc::clone(slots));
        };
        woken = place.await.ok();
        precise::sleep(delay).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// Long enough for the other side of a race to act first on a busy machine.
    const LONG: Duration = Duration::from_millis(300);

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn a_gate_never_admits_more_than_its_slots() {
        for handoff in [
            Handoff::Fair,
            Handoff::Barging {
                delay: Duration::ZERO,
            },
        ] {
            let gate = Gate::new(2, handoff);
            let first = gate.enter().await;
            let _second = gate.enter().await;
            let mut third = pin!(gate.enter());
            assert!(poll(third.as_mut()).is_pending());
            drop(first);
            third.await;
        }
    }

    #[tokio::test]
    async fn fair_serves_in_order_of_arrival() {
        let gate = Gate::new(1, Handoff::Fair);
        let held = gate.enter().await;
        let mut waiting = pin!(gate.enter());
        assert!(poll(waiting.as_mut()).is_pending());
        drop(held);
        let mut newcomer = pin!(gate.enter());
        assert!(poll(newcomer.as_mut()).is_pending());
        drop(waiting.await);
        newcomer.await;
    }

    #[tokio::test]
    async fn barging_lets_a_newcomer_take_the_slot_and_the_loser_waits_behind_the_others() {
        let gate = Gate::new(1, Handoff::Barging { delay: LONG });
        let held = gate.enter().await;
        let mut loser = pin!(gate.enter());
        let mut next = pin!(gate.enter());
        assert!(poll(loser.as_mut()).is_pending());
        assert!(poll(next.as_mut()).is_pending());

        drop(held);
        let stolen = gate.enter().await;
        // The loser finds the slot taken and queues again, behind `next`.
        let outcome = tokio::time::timeout(LONG * 2, loser.as_mut()).await;
        assert!(outcome.is_err());
        drop(stolen);
        let slot = next.await;
        assert!(poll(loser.as_mut()).is_pending());
        drop(slot);
        loser.await;
    }

    #[tokio::test]
    async fn a_woken_waiter_that_gives_up_passes_the_slot_on() {
        let gate = Gate::new(1, Handoff::Barging { delay: LONG });
        let held = gate.enter().await;
        let mut leaving = Box::pin(gate.enter());
        let mut staying = pin!(gate.enter());
        assert!(poll(leaving.as_mut()).is_pending());
        assert!(poll(staying.as_mut()).is_pending());
        drop(held);
        assert!(poll(leaving.as_mut()).is_pending());
        drop(leaving);
        staying.await;
    }

    #[tokio::test]
    async fn a_waiter_that_gave_up_before_being_woken_is_skipped() {
        let gate = Gate::new(
            1,
            Handoff::Barging {
                delay: Duration::ZERO,
            },
        );
        let held = gate.enter().await;
        let mut leaving = Box::pin(gate.enter());
        let mut staying = pin!(gate.enter());
        assert!(poll(leaving.as_mut()).is_pending());
        assert!(poll(staying.as_mut()).is_pending());
        drop(leaving);
        drop(held);
        staying.await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_is_forgotten_when_many_come_go_and_give_up() {
        let gate = Arc::new(Gate::new(
            3,
            Handoff::Barging {
                delay: Duration::from_micros(50),
            },
        ));
        let visitors: Vec<_> = (0..300_u64)
            .map(|visitor| {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move {
                    let patience =
                        Duration::from_micros(if visitor % 3 == 0 { 200 } else { 60_000_000 });
                    let slot = tokio::time::timeout(patience, gate.enter()).await;
                    tokio::task::yield_now().await;
                    slot.is_ok() || visitor % 3 == 0
                })
            })
            .collect();
        for visitor in visitors {
            assert!(visitor.await.unwrap());
        }
        let all = [gate.enter().await, gate.enter().await, gate.enter().await];
        drop(all);
    }
}
