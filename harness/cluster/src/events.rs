//! Telling users what the controllers and the node did: Event objects.
//!
//! As on a real cluster, similar events are combined, and about one object no
//! component says more than an allowance: see `correlator`.

mod correlator;

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::store::{Resource, Store, StoreError};
use crate::{clock, object};
use correlator::{Correlator, Observation, Telling};

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

impl Severity {
    /// As in an event's `type`.
    const fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Writes events in the name of one component. Clones are the same component.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    store: Store,
    component: &'static str,
    correlator: Arc<Mutex<Correlator>>,
}

impl Recorder {
    /// `component` is the reporting controller, such as `kubelet`.
    pub(crate) fn new(store: Store, component: &'static str) -> Self {
        Self {
            store,
            component,
            correlator: Arc::new(Mutex::new(Correlator::new(component))),
        }
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
        let observation = Observation {
            uid: object::uid(about),
            field_path,
            severity: severity.name(),
            reason,
            message,
        };
        let mut correlator = self
            .correlator
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(telling) = correlator.correlate(&observation, clock::now()) else {
            return;
        };
        drop(correlator);
        // Found by its name without a search.
        let name = format!("{}.{:016x}", object::name(about), telling.id);
        let outcome = match self.repeat(about, &name, &telling) {
            Err(StoreError::NotFound { .. }) => {
                let event = self.first(about, &observation, &name, &telling);
                self.store.create(Resource::Events, event).map(drop)
            }
            other => other,
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, reason, object = object::name(about), "event not recorded");
        }
    }

    fn repeat(&self, about: &Value, name: &str, telling: &Telling) -> Result<(), StoreError> {
        let update = self
            .store
            .update(Resource::Events, event_namespace(about), name, |event| {
                let count = event["count"].as_u64().unwrap_or(1);
                event["count"] = (count + telling.times).into();
                event["message"] = telling.message.as_str().into();
                event["lastTimestamp"] = clock::rfc3339(clock::now()).into();
            });
        update.map(drop)
    }

    fn first(
        &self,
        about: &Value,
        observation: &Observation<'_>,
        name: &str,
        telling: &Telling,
    ) -> Value {
        let now = clock::rfc3339(clock::now());
        let mut event = json!({
            "metadata": {"namespace": event_namespace(about), "name": name},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": object::namespace(about),
                "name": object::name(about),
                "uid": object::uid(about),
                "resourceVersion": object::text(about, "/metadata/resourceVersion"),
            },
            "type": observation.severity,
            "reason": observation.reason,
            "message": telling.message,
            "source": {"component": self.component},
            "reportingComponent": self.component,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": telling.times,
        });
        if !observation.field_path.is_empty() {
            event["involvedObject"]["fieldPath"] = observation.field_path.into();
        }
        event
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

    #[test]
    fn an_object_about_which_very_much_is_said_has_few_events() {
        let store = Store::new();
        let recorder = Recorder::new(store.clone(), "replicaset-controller");
        let set = json!({
            "kind": "ReplicaSet",
            "metadata": {"name": "s", "namespace": "default", "uid": "u"},
        });
        for number in 0..1000 {
            let message = format!("Created pod: {number}");
            recorder.record(&set, Severity::Normal, "SuccessfulCreate", &message);
        }
        let (events, _) = store.list(Resource::Events, Some("default"));
        assert_eq!(events.len(), 10);
        let combined = events.iter().find(|event| event["count"] != 1).unwrap();
        assert_eq!(combined["count"], 16);
        let message = "(combined from similar events): Created pod: 24";
        assert_eq!(combined["message"], message, "the latest");
    }
}
