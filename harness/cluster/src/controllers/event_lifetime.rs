//! Events are forgotten an hour after they were last seen, or earlier when there
//! are too many: then those go first which have not changed for the longest time.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::Controller;
use crate::store::{DeleteOptions, Event, Key, Kinds, Resource, Store, StoreError, Stored};
use crate::{clock, object};

const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// How often to look for events which have had their time.
const LOOK_PERIOD: SignedDuration = SignedDuration::from_secs(30);
/// How many events are kept: those of a thousand pods that have just started.
/// Real clusters have no such bound, but a database on disk.
const MOST: usize = 5000;

/// It looks at all events together: one after the other they may come faster than
/// it gets its turn.
#[derive(Debug)]
pub(super) struct EventLifetime {
    store: Store,
    most: usize,
    looked_at: Option<Timestamp>,
}

impl EventLifetime {
    pub(super) fn new(store: &Store) -> Self {
        Self::keeping(MOST, store)
    }

    fn keeping(most: usize, store: &Store) -> Self {
        Self {
            store: store.clone(),
            most,
            looked_at: None,
        }
    }

    /// Forgets what has had its time and, if there are too many, a tenth more than
    /// necessary, or each new event would need another look. Returns how many stay.
    fn look(&self, now: Timestamp) -> Result<usize, StoreError> {
        let (mut events, _) = self.store.list(Resource::Events, None);
        let is_over = |event: &Arc<Stored>| {
            last_seen(event).is_some_and(|seen| now.duration_since(seen) >= LIFETIME)
        };
        for event in events.extract_if(.., |event| is_over(event)) {
            self.forget(&event)?;
        }
        if events.len() > self.most {
            events.sort_unstable_by_key(|event| object::resource_version(event));
            let surplus = events.len() - (self.most - self.most / 10);
            for event in events.drain(..surplus) {
                self.forget(&event)?;
            }
        }
        Ok(events.len())
    }

    /// Deletes an event, unless it has changed since.
    fn forget(&self, event: &Stored) -> Result<(), StoreError> {
        let options = DeleteOptions {
            resource_version: Some(object::resource_version(event)),
            ..DeleteOptions::default()
        };
        let (namespace, name) = (object::namespace(event), object::name(event));
        match self
            .store
            .delete(Resource::Events, namespace, name, &options)
        {
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Controller for EventLifetime {
    fn name(&self) -> &'static str {
        "event-lifetime-controller"
    }

    fn watched(&self) -> Kinds {
        Kinds::Only(&[Resource::Events])
    }

    /// All events are one thing to look at.
    fn concerned(&self, _: &Event) -> Vec<Key> {
        vec![Key::new(Resource::Events, "", "")]
    }

    fn reconcile(&mut self, _: &Key) -> Result<Option<Duration>, StoreError> {
        let now = clock::now();
        let left = match self.looked_at {
            Some(looked_at) => LOOK_PERIOD - now.duration_since(looked_at),
            None => SignedDuration::ZERO,
        };
        if left.is_positive() && self.store.count(Resource::Events) <= self.most {
            return Ok(Duration::try_from(left).ok());
        }
        let stay = self.look(now)?;
        self.looked_at = Some(now);
        Ok(Duration::try_from(LOOK_PERIOD).ok().filter(|_| stay > 0))
    }
}

fn last_seen(event: &Stored) -> Option<Timestamp> {
    [
        "/lastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]
    .into_iter()
    .find_map(|pointer| object::text(event, pointer).parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controllers::settle::Settling;

    fn create(store: &Store, name: &str, minutes_ago: i64) {
        let seen = clock::rfc3339(clock::now() - SignedDuration::from_mins(minutes_ago));
        let event =
            json!({"metadata": {"name": name, "namespace": "default"}, "lastTimestamp": seen});
        store.create(Resource::Events, event).unwrap();
    }

    fn left(store: &Store) -> Vec<String> {
        let (events, _) = store.list(Resource::Events, None);
        let names = events.iter().map(|event| object::name(event).to_owned());
        names.collect()
    }

    #[test]
    fn events_go_an_hour_after_they_were_last_seen() {
        let store = Store::new();
        create(&store, "old", 60);
        create(&store, "young", 59);
        let mut controller = EventLifetime::new(&store);
        let mut reconcile = || controller.reconcile(&Key::new(Resource::Events, "", ""));
        let again = reconcile().unwrap().unwrap();
        assert_eq!(left(&store), ["young"]);
        create(&store, "another", 60);
        assert!(reconcile().unwrap().unwrap() <= again);
        assert_eq!(left(&store), ["another", "young"], "it is not time to look");
    }

    #[test]
    fn of_too_many_events_those_go_which_have_not_changed_for_the_longest_time() {
        let store = Store::new();
        let controller = EventLifetime::keeping(20, &store);
        let mut settling = Settling::new(&store, vec![Box::new(controller)]);
        for number in 0..20 {
            create(&store, &format!("{number:02}"), 0);
        }
        settling.settle();
        assert_eq!(left(&store).len(), 20);
        let repeat = |event: &mut Value| event["count"] = 2.into();
        store
            .update(Resource::Events, "default", "01", repeat)
            .unwrap();
        create(&store, "new", 0);
        settling.settle();
        let kept = left(&store);
        assert_eq!(kept.len(), 18);
        assert_eq!(kept[..2], ["01", "04"]);
        for number in 0..100 {
            create(&store, &format!("more-{number:02}"), 0);
        }
        settling.settle();
        assert_eq!(left(&store).len(), 18);
        assert_eq!(left(&store)[0], "more-82");
    }
}
