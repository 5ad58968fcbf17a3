//! Telling users what the controllers and the node did: Event objects.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Value, json};

use crate::store::{Resource, Store, StoreError};
use crate::{clock, object};

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
        self.record_part(about, "", severity, reason, message);
    }

    /// Records something about a part of an object, such as `spec.containers{app}`.
    pub(crate) fn record_part(
        &self,
        about: &Value,
        field_path: &str,
        severity: Severity,
        reason: &str,
        message: &str,
    ) {
        let name = self.event_name(about, field_path, reason, message);
        let outcome = match self.repeat(about, &name) {
            Err(StoreError::NotFound { .. }) => {
                let mut event = self.first(about, severity, reason, message);
                event["metadata"]["name"] = name.into();
                if !field_path.is_empty() {
                    event["involvedObject"]["fieldPath"] = field_path.into();
                }
                self.store.create(Resource::Events, event).map(drop)
            }
            other => other,
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, reason, object = object::name(about), "event not recorded");
        }
    }

    /// The same for repetitions, so that the event is found without a search.
    fn event_name(&self, about: &Value, part: &str, reason: &str, message: &str) -> String {
        let mut hasher = DefaultHasher::new();
        (object::uid(about), part, self.component, reason, message).hash(&mut hasher);
        format!("{}.{:016x}", object::name(about), hasher.finish())
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

    fn first(&self, about: &Value, severity: Severity, reason: &str, message: &str) -> Value {
        let now = clock::rfc3339(clock::now());
        json!({
            "metadata": {"namespace": event_namespace(about)},
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
        })
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
