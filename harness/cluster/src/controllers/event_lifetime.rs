//! Events are forgotten an hour after they were last seen.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Controller, concerned};
use crate::store::{DeleteOptions, Event, Key, Kinds, Resource, Store, StoreError};
use crate::{clock, object};

const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug)]
pub(super) struct EventLifetime {
    store: Store,
}

impl EventLifetime {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
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
        let Some(event) = self.store.get(key.resource, &key.namespace, &key.name) else {
            return Ok(None);
        };
        let last_seen = [
            "/lastTimestamp",
            "/eventTime",
            "/metadata/creationTimestamp",
        ]
        .into_iter()
        .find_map(|pointer| object::text(&event, pointer).parse::<Timestamp>().ok());
        let Some(last_seen) = last_seen else {
            return Ok(None);
        };
        let end = last_seen.checked_add(LIFETIME).unwrap_or(Timestamp::MAX);
        let left = end.duration_since(clock::now());
        if left.is_positive() {
            return Ok(Duration::try_from(left).ok());
        }
        let options = DeleteOptions::immediately(object::uid(&event));
        self.store
            .delete(key.resource, &key.namespace, &key.name, &options)?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
}
