//! Events are forgotten an hour after they were last seen, or earlier when there
//! are too many: then those go first which have not changed for the longest time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Controller, concerned};
use crate::store::{DeleteOptions, Event, Key, Kinds, Resource, Store, StoreError, Stored};
use crate::{clock, object};

const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// How many events are kept: those of a thousand pods that have just started.
/// Real clusters have no such bound, but a database on disk.
const MOST: usize = 5000;

#[derive(Debug)]
pub(super) struct EventLifetime {
    store: Store,
    most: usize,
    /// The events that are there, and the revision of the latest change of each.
    revisions: HashMap<Key, u64>,
    /// The same, the one that has not changed for the longest time first.
    by_revision: BTreeMap<u64, Key>,
}

impl EventLifetime {
    pub(super) fn new(store: &Store) -> Self {
        Self::keeping(MOST, store)
    }

    fn keeping(most: usize, store: &Store) -> Self {
        Self {
            store: store.clone(),
            most,
            revisions: HashMap::new(),
            by_revision: BTreeMap::new(),
        }
    }

    fn note(&mut self, key: &Key, event: Option<&Stored>) {
        if let Some(revision) = self.revisions.remove(key) {
            self.by_revision.remove(&revision);
        }
        if let Some(event) = event {
            let revision = object::resource_version(event);
            self.revisions.insert(key.clone(), revision);
            self.by_revision.insert(revision, key.clone());
        }
    }

    /// Forgets as many events as there are too many.
    fn make_room(&mut self) -> Result<(), StoreError> {
        while self.by_revision.len() > self.most
            && let Some((revision, key)) = self.by_revision.pop_first()
        {
            self.revisions.remove(&key);
            self.forget(&key, revision)?;
        }
        Ok(())
    }

    /// Deletes an event, unless it has changed since.
    fn forget(&self, key: &Key, revision: u64) -> Result<(), StoreError> {
        let options = DeleteOptions {
            resource_version: Some(revision),
            ..DeleteOptions::default()
        };
        let deleted = self
            .store
            .delete(key.resource.clone(), &key.namespace, &key.name, &options);
        match deleted {
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

    fn concerned(&self, event: &Event) -> Vec<Key> {
        vec![concerned::itself(event)]
    }

    fn reconcile(&mut self, key: &Key) -> Result<Option<Duration>, StoreError> {
        let found = self
            .store
            .get(key.resource.clone(), &key.namespace, &key.name);
        self.note(key, found.as_deref());
        self.make_room()?;
        let Some(event) = found else {
            return Ok(None);
        };
        let Some(last_seen) = last_seen(&event) else {
            return Ok(None);
        };
        let end = last_seen.checked_add(LIFETIME).unwrap_or(Timestamp::MAX);
        let left = end.duration_since(clock::now());
        if left.is_positive() {
            return Ok(Duration::try_from(left).ok());
        }
        self.forget(key, object::resource_version(&event))?;
        Ok(None)
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
    use serde_json::json;

    use super::*;
    use crate::controllers::settle::Settling;

    #[test]
    fn events_go_an_hour_after_they_were_last_seen() {
        let store = Store::new();
        let event = |name: &str, minutes: i64| {
            let seen = clock::rfc3339(clock::now() - SignedDuration::from_mins(minutes));
            let event =
                json!({"metadata": {"name": name, "namespace": "default"}, "lastTimestamp": seen});
            store.create(Resource::Events, event).unwrap();
            let key = Key::new(Resource::Events, "default", name);
            EventLifetime::new(&store).reconcile(&key).unwrap()
        };
        assert_eq!(event("old", 60), None);
        let left = event("young", 50).unwrap();
        assert!(left <= Duration::from_mins(10), "{left:?}");
        assert!(left > Duration::from_mins(9), "{left:?}");
        assert!(store.get(Resource::Events, "default", "old").is_none());
        assert!(store.get(Resource::Events, "default", "young").is_some());
    }

    #[test]
    fn of_too_many_events_those_go_which_have_not_changed_for_the_longest_time() {
        let store = Store::new();
        let controller = EventLifetime::keeping(3, &store);
        let mut settling = Settling::new(&store, vec![Box::new(controller)]);
        let create = |name: &str| {
            let event = json!({"metadata": {"name": name, "namespace": "default"}});
            store.create(Resource::Events, event).unwrap();
        };
        let left = || {
            let (events, _) = store.list(Resource::Events, None);
            let names = events.iter().map(|event| object::name(event).to_owned());
            names.collect::<Vec<_>>()
        };
        ["a", "b", "c"].into_iter().for_each(create);
        settling.settle();
        assert_eq!(left(), ["a", "b", "c"]);
        let repeat = |event: &mut serde_json::Value| event["count"] = 2.into();
        store
            .update(Resource::Events, "default", "a", repeat)
            .unwrap();
        create("d");
        settling.settle();
        assert_eq!(left(), ["a", "c", "d"]);
        ["e", "f", "g", "h"].into_iter().for_each(create);
        settling.settle();
        assert_eq!(left(), ["f", "g", "h"]);
        let options = DeleteOptions::default();
        store
            .delete(Resource::Events, "default", "h", &options)
            .unwrap();
        create("i");
        settling.settle();
        assert_eq!(left(), ["f", "g", "i"], "what was deleted does not count");
    }
}
