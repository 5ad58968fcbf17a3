//! Drives a controller: from changes to keys, from keys to reconciliations.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Controller;
use super::queue::Queue;
use crate::store::{Event, Store};

/// How long a controller works before others of its thread get their turn. As long
/// for all: who has many small things to do must not fall behind those who cause
/// them.
const TURN: Duration = Duration::from_micros(500);

/// A controller with what it has still to do. Its steps are synchronous, so that
/// a test can take them one by one.
pub(super) struct Runner {
    controller: Box<dyn Controller>,
    events: UnboundedReceiver<Event>,
    queue: Queue,
}

impl Runner {
    /// Begins with every object that is there.
    pub(super) fn new(store: &Store, controller: Box<dyn Controller>) -> Self {
        Self {
            events: store.subscribe(controller.watched()),
            controller,
            queue: Queue::default(),
        }
    }

    /// Works until `shutdown`.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let mut turn = Instant::now();
            while self.step(Instant::now()) {
                if turn.elapsed() >= TURN {
                    tokio::task::yield_now().await;
                    turn = Instant::now();
                }
                if shutdown.is_cancelled() {
                    return;
                }
            }
            let due = self.queue.next_due();
            let pause = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.note(&event),
                    None => return,
                },
                () = pause => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Takes note of all changes so far, then reconciles one object. False when
    /// there is none.
    pub(super) fn step(&mut self, now: Instant) -> bool {
        while let Ok(event) = self.events.try_recv() {
            self.note(&event);
        }
        let Some(key) = self.queue.next(now) else {
            return false;
        };
        // One object that cannot be dealt with must not be the end of all others.
        let reconcile = AssertUnwindSafe(|| self.controller.reconcile(&key));
        match catch_unwind(reconcile) {
            Ok(Ok(again)) => self.queue.done(key, again.map(|pause| now + pause)),
            Err(_panic) => {
                tracing::error!(%key, controller = self.controller.name(), "panicked; will retry");
                self.queue.failed(key, now);
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, %key, controller = self.controller.name(), "will retry");
                self.queue.failed(key, now);
            }
        }
        true
    }

    fn note(&mut self, event: &Event) {
        for key in self.controller.concerned(event) {
            self.queue.add(key);
        }
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Runner")
            .field("controller", &self.controller.name())
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controllers::concerned;
    use crate::store::{Key, Kinds, Resource, StoreError};

    /// Panics over one object.
    struct Superstitious(std::sync::mpsc::Sender<String>);

    impl Controller for Superstitious {
        fn name(&self) -> &'static str {
            "superstitious"
        }

        fn watched(&self) -> Kinds {
            Kinds::Only(&[Resource::ConfigMaps])
        }

        fn concerned(&self, event: &Event) -> Vec<Key> {
            vec![concerned::itself(event)]
        }

        fn reconcile(&mut self, key: &Key) -> Result<Option<Duration>, StoreError> {
            assert_ne!(key.name, "thirteen");
            self.0.send(key.name.clone()).unwrap();
            Ok(None)
        }
    }

    #[test]
    fn a_panic_over_one_object_is_not_the_end_of_the_others() {
        let store = Store::new();
        let (seen, names) = std::sync::mpsc::channel();
        let mut runner = Runner::new(&store, Box::new(Superstitious(seen)));
        for name in ["thirteen", "fourteen"] {
            let object = json!({"metadata": {"name": name, "namespace": "default"}});
            store.create(Resource::ConfigMaps, object).unwrap();
        }
        let now = Instant::now();
        while runner.step(now) {}
        assert_eq!(names.try_iter().collect::<Vec<_>>(), ["fourteen"]);
    }
}
