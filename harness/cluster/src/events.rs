//! Telling users what the controllers and the node did: Event objects.

use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use crate::store::{DeleteOptions, Resource, Store, StoreError};
use crate::{clock, object};

/// How long an event is kept after it was last seen.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

/// Writes events in the name of one component.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    store: Store,
    component: &'static str,
}

impl Recorder {
    /// `component` is the reporting controller, such as `kubelet`.
    pub(crate) fn new(store: Store, component: &'static str) -> Self {
        Self { store, component }
    }

    /// Records something about an object (which must carry its `kind` and
    /// metadata). A repetition raises the count of the event that is there.
    pub(crate) fn record(&self, about: &Value, severity: Severity, reason: &str, message: &str) {
        self.remove_expired();
        let outcome = match self.find(about, reason, message) {
            Some(name) => self.repeat(about, &name),
            None => self.create(about, severity, reason, message),
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, reason, object = object::name(about), "event not recorded");
        }
    }

    fn find(&self, about: &Value, reason: &str, message: &str) -> Option<String> {
        let (events, _) = self
            .store
            .list(Resource::Events, Some(event_namespace(about)));
        let same = events.iter().find(|event| {
            object::text(event, "/involvedObject/uid") == object::uid(about)
                && object::text(event, "/reason") == reason
                && object::text(event, "/message") == message
                && object::text(event, "/source/component") == self.component
        });
        same.map(|event| object::name(event).to_owned())
    }

    fn repeat(&self, about: &Value, name: &str) -> Result<(), StoreError> {
        let update = self
            .store
            .update(Resource::Events, event_namespace(about), name, |event| {
                let count = event["count"].as_u64().unwrap_or(1);
                event["count"] = (count + 1).into();
                event["lastTimestamp"] = clock::rfc3339(clock::now()).into();
            });
        update.map(drop)
    }

    fn create(
        &self,
        about: &Value,
        severity: Severity,
        reason: &str,
        message: &str,
    ) -> Result<(), StoreError> {
        let now = clock::rfc3339(clock::now());
        let event = json!({
            "metadata": {
                "generateName": format!("{}.", object::name(about)),
                "namespace": event_namespace(about),
            },
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": object::namespace(about),
                "name": object::name(about),
                "uid": object::uid(about),
                "resourceVersion": object::text(about, "/metadata/resourceVersion"),
            },
            "type": match severity {
                Severity::Normal => "Normal",
                Severity::Warning => "Warning",
            },
            "reason": reason,
            "message": message,
            "source": {"component": self.component},
            "reportingComponent": self.component,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        });
        self.store.create(Resource::Events, event).map(drop)
    }

    fn remove_expired(&self) {
        let oldest = clock::rfc3339(clock::now() - LIFETIME);
        let (events, _) = self.store.list(Resource::Events, None);
        for event in events {
            let last_seen = object::text(&event, "/lastTimestamp");
            // Times of this form sort as text.
            if last_seen.is_empty() || last_seen >= oldest.as_str() {
                continue;
            }
            let options = DeleteOptions::immediately(object::uid(&event));
            let (namespace, name) = (object::namespace(&event), object::name(&event));
            if let Err(error) = self
                .store
                .delete(Resource::Events, namespace, name, &options)
            {
                tracing::debug!(%error, "expired event not removed");
            }
        }
    }
}

/// Events about objects without a namespace live in `default`.
fn event_namespace(about: &Value) -> &str {
    match object::namespace(about) {
        "" => "default",
        namespace => namespace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_raise_the_count() {
        let store = Store::new();
        let recorder = Recorder::new(store.clone(), "kubelet");
        let pod =
            json!({"kind": "Pod", "metadata": {"name": "p", "namespace": "default", "uid": "u"}});
        recorder.record(&pod, Severity::Warning, "BackOff", "back-off 10s");
        recorder.record(&pod, Severity::Warning, "BackOff", "back-off 10s");
        recorder.record(&pod, Severity::Warning, "BackOff", "back-off 20s");
        let (events, _) = store.list(Resource::Events, Some("default"));
        let mut counts: Vec<_> = events
            .iter()
            .map(|event| event["count"].as_u64().unwrap())
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2]);
    }
}
