//! HorizontalPodAutoscalers: as many replicas as the use of the pods asks for.
//!
//! ```text
//! scale of the target ─┐
//! pods, metrics ───────┼─▶ plan ─▶ replicas of the target, status, events
//! history ─────────────┘    │
//!    ▲──recommendations─────┘
//! ```

mod limits;
mod metric;
mod options;
mod plan;
mod replicas;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{CrossVersionObjectReference, HorizontalPodAutoscaler};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::time::Instant;

use super::{Controller, concerned};
use crate::api::scale;
use crate::events::Recorder;
use crate::metrics::Metrics;
use crate::selector::Selector;
use crate::store::{Event, Key, Kinds, Resource, Store, StoreError, Stored, Subresource};
use crate::{clock, object};
use limits::History;
pub use options::AutoscalingOptions;
use plan::{NoPods, Plan, Situation, longest_period, plan};

const NAME: &str = "horizontal-pod-autoscaler";

/// All autoscalers, and what they have to remember.
#[derive(Debug)]
pub(super) struct Autoscalers {
    store: Store,
    recorder: Recorder,
    metrics: Metrics,
    options: AutoscalingOptions,
    known: HashMap<Key, Known>,
}

#[derive(Debug)]
struct Known {
    uid: String,
    history: History,
    /// When it decides next.
    due: Instant,
}

/// What an autoscaler is to scale.
struct Workload {
    resource: Resource,
    object: Arc<Stored>,
    replicas: i32,
    /// Which pods are its own, or why that cannot be told.
    selector: Result<Selector, NoPods>,
}

impl Autoscalers {
    pub(super) fn new(store: &Store, metrics: Metrics, options: AutoscalingOptions) -> Self {
        Self {
            store: store.clone(),
            recorder: Recorder::new(store.clone(), NAME),
            metrics,
            options,
            known: HashMap::new(),
        }
    }

    /// What is known of an autoscaler. A new one waits for a period first, as on a real cluster.
    fn known(&mut self, key: &Key, uid: &str, now: Instant) -> Known {
        let known = self.known.remove(key).filter(|known| known.uid == uid);
        known.unwrap_or_else(|| Known {
            uid: uid.to_owned(),
            history: History::default(),
            due: now + self.options.sync_period,
        })
    }

    fn decide(&self, autoscaler: &HorizontalPodAutoscaler, history: &mut History) {
        let workload = workload(&self.store, autoscaler);
        let pods = match &workload {
            Ok(workload) => pods_of(&self.store, autoscaler, workload),
            Err(_) => Ok(Vec::new()),
        };
        let samples = pods.iter().flatten().filter_map(|pod| {
            let sample = self.metrics.pod(pod.metadata.uid.as_deref()?)?;
            Some((pod.metadata.name.clone()?, sample))
        });
        let situation = Situation {
            autoscaler,
            replicas: workload
                .as_ref()
                .map(|workload| workload.replicas)
                .map_err(String::clone),
            samples: samples.collect(),
            pods,
            options: &self.options,
            now: clock::now_precise(),
        };
        let mut plan = plan(&situation, history);
        if let (Some(rescale), Ok(workload)) = (plan.rescale.take(), &workload) {
            let outcome = set_replicas(&self.store, workload, rescale.to);
            let before = autoscaler.status.as_ref();
            let before = before.map_or(0, |status| status.desired_replicas);
            if let (Ok(()), Some(period)) = (&outcome, longest_period(autoscaler)) {
                history.scaled(rescale.from, rescale.to, situation.now, period);
            }
            plan.conclude(&rescale, outcome, before, situation.now);
        }
        tell(&self.store, &self.recorder, autoscaler, &plan);
    }
}

impl Controller for Autoscalers {
    fn name(&self) -> &'static str {
        NAME
    }

    /// What it depends on is looked at when its time has come, not before.
    fn watched(&self) -> Kinds {
        Kinds::Only(&[Resource::HorizontalPodAutoscalers])
    }

    fn concerned(&self, event: &Event) -> Vec<Key> {
        vec![concerned::itself(event)]
    }

    fn reconcile(&mut self, key: &Key) -> Result<Option<Duration>, StoreError> {
        let found = self
            .store
            .get(key.resource.clone(), &key.namespace, &key.name);
        let autoscaler = found.and_then(|found| found.typed::<HorizontalPodAutoscaler>());
        let Some(autoscaler) = autoscaler else {
            self.known.remove(key);
            return Ok(None);
        };
        let now = Instant::now();
        let mut known = self.known(key, uid(&autoscaler), now);
        if known.due <= now {
            known.due = now + self.options.sync_period;
            self.decide(&autoscaler, &mut known.history);
        }
        let again = known.due - now;
        self.known.insert(key.clone(), known);
        Ok(Some(again))
    }
}

fn uid(autoscaler: &HorizontalPodAutoscaler) -> &str {
    autoscaler.metadata.uid.as_deref().unwrap_or_default()
}

/// Finds what an autoscaler scales.
fn workload(store: &Store, autoscaler: &HorizontalPodAutoscaler) -> Result<Workload, String> {
    let spec = autoscaler.spec.as_ref();
    let CrossVersionObjectReference {
        api_version,
        kind,
        name,
    } = spec
        .map(|spec| spec.scale_target_ref.clone())
        .unwrap_or_default();
    // A real one asks for the version that the server prefers, whichever is written here.
    let api_version = api_version.unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let mut served = store.served().into_iter();
    let resource = served
        .find(|resource| (resource.group(), resource.kind()) == (group, kind.as_str()))
        .ok_or_else(|| format!("no matches for kind \"{kind}\" in group \"{group}\""))?;
    let subresources = resource.description().subresources;
    if !resource.namespaced() || !subresources.contains(&Subresource::Scale) {
        return Err(format!("{} cannot be scaled", resource.qualified_name()));
    }
    let namespace = autoscaler.metadata.namespace.as_deref().unwrap_or_default();
    let object = store
        .get(resource.clone(), namespace, &name)
        .ok_or_else(|| {
            StoreError::NotFound {
                resource: resource.clone(),
                name,
            }
            .to_string()
        })?;
    let scale = scale::of(&resource, &object);
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64);
    Ok(Workload {
        resource,
        replicas: replicas
            .and_then(|replicas| i32::try_from(replicas).ok())
            .unwrap_or_default(),
        selector: selector(object::text(&scale, "/status/selector")),
        object,
    })
}

fn selector(text: &str) -> Result<Selector, NoPods> {
    if text.is_empty() {
        let missing = "the HPA target's scale is missing a selector";
        return Err(NoPods {
            condition: ("InvalidSelector", missing.to_owned()),
            event: ("SelectorRequired", "selector is required".to_owned()),
        });
    }
    Selector::parse(text).map_err(|error| {
        let message = format!(
            "couldn't convert selector into a corresponding internal selector object: {error}"
        );
        NoPods {
            condition: ("InvalidSelector", message.clone()),
            event: ("InvalidSelector", message),
        }
    })
}

/// The pods of a workload, unless another autoscaler is at work on them too.
fn pods_of(
    store: &Store,
    autoscaler: &HorizontalPodAutoscaler,
    workload: &Workload,
) -> Result<Vec<Arc<Pod>>, NoPods> {
    let selector = workload.selector.as_ref().map_err(NoPods::clone)?;
    let namespace = autoscaler.metadata.namespace.as_deref().unwrap_or_default();
    let pods = store.select(Resource::Pods, namespace, selector);
    let pods: Vec<Arc<Pod>> = pods.iter().filter_map(|pod| pod.typed()).collect();
    let (others, _) = store.list(Resource::HorizontalPodAutoscalers, Some(namespace));
    let rivals: Vec<String> = others
        .iter()
        .filter_map(|other| other.typed::<HorizontalPodAutoscaler>())
        .filter(|other| uid(other) == uid(autoscaler) || chooses(store, other, &pods))
        .filter_map(|other| Some(format!("{namespace}/{}", other.metadata.name.as_deref()?)))
        .collect();
    if rivals.len() > 1 {
        let message = format!(
            "pods by selector {selector} are controlled by multiple HPAs: [{}]",
            rivals.join(" ")
        );
        return Err(NoPods {
            condition: ("AmbiguousSelector", message.clone()),
            event: ("AmbiguousSelector", message),
        });
    }
    Ok(pods)
}

/// Whether an autoscaler's target has some of these pods.
fn chooses(store: &Store, autoscaler: &HorizontalPodAutoscaler, pods: &[Arc<Pod>]) -> bool {
    let Ok(Workload {
        selector: Ok(selector),
        ..
    }) = workload(store, autoscaler)
    else {
        return false;
    };
    pods.iter()
        .any(|pod| selector.matches(&pod.metadata.labels.clone().unwrap_or_default()))
}

/// Changes the number of replicas as a client of the subresource `scale` would.
fn set_replicas(store: &Store, workload: &Workload, replicas: i32) -> Result<(), String> {
    let Workload {
        resource, object, ..
    } = workload;
    let (namespace, name) = (object::namespace(object), object::name(object));
    let changed = store.try_update(resource.clone(), namespace, name, |workload| {
        let mut wanted = scale::of(resource, workload);
        wanted["spec"]["replicas"] = replicas.into();
        scale::set(resource, workload, &wanted)
    });
    changed.map(drop).map_err(|error| error.to_string())
}

/// Writes the status, if it is news, and the events.
fn tell(store: &Store, recorder: &Recorder, autoscaler: &HorizontalPodAutoscaler, plan: &Plan) {
    let namespace = autoscaler.metadata.namespace.as_deref().unwrap_or_default();
    let name = autoscaler.metadata.name.as_deref().unwrap_or_default();
    let resource = Resource::HorizontalPodAutoscalers;
    let written = store.update(resource, namespace, name, |object| {
        if object::uid(object) == uid(autoscaler) {
            object["status"] = serde_json::to_value(&plan.status).unwrap_or(Value::Null);
        }
    });
    match written {
        Ok(object) => {
            for note in &plan.events {
                recorder.record(&object, note.severity, note.reason, &note.message);
            }
        }
        // Deleted meanwhile.
        Err(error) => tracing::debug!(%error, name, "status of an autoscaler not written"),
    }
}
