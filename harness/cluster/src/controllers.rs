//! The controllers: each looks at one object at a time and moves it one step
//! towards its desired state. They work on the store, never over HTTP.
//!
//! To add a controller, write a file with a struct that holds the [`Store`] (and
//! a `Recorder` if it writes events), implement [`Controller`] for it, and add it
//! to the list in [`all`]:
//!
//! * `watched` names its own kind and those its decisions depend on.
//! * `concerned` says which objects a change is of interest to. For the own kind
//!   that is the object itself; `concerned.rs` finds the others: the controllers
//!   of a changed object, and those which select it.
//! * `reconcile` reads what it needs, decides (in a pure `plan` function, tested
//!   without a store) and carries it out. It is called again after each change
//!   of interest, also those it makes; after the time it returns; and, with
//!   growing pauses, after an error. It must be right however often it is called.
//!
//! Read with [`Store::get`], [`Store::select`] and [`Store::dependents`], whose
//! cost does not depend on unrelated objects, and use [`Stored::typed`], which
//! parses each revision once for all readers.
//!
//! [`Stored::typed`]: crate::store::Stored::typed

mod concerned;
mod custom_resource_definition;
mod deployment;
mod disruption;
mod endpoint_slice;
mod event_lifetime;
mod garbage;
mod horizontal_pod_autoscaler;
mod job;
mod namespace;
mod ownership;
mod queue;
mod replica_set;
mod runner;
#[cfg(test)]
mod scaling_tests;
#[cfg(test)]
mod settle;

pub use horizontal_pod_autoscaler::AutoscalingOptions;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::store::{Event, Key, Kinds, Store, StoreError};
use horizontal_pod_autoscaler::Autoscalers;
use runner::Runner;

/// Keeps the objects of one kind as they should be.
pub(crate) trait Controller: Send + Sync {
    /// As the source of events and in logs.
    fn name(&self) -> &'static str;

    /// The kinds whose changes it wants to hear of.
    fn watched(&self) -> Kinds;

    /// The objects which may need another look after a change.
    fn concerned(&self, event: &Event) -> Vec<Key>;

    /// Moves an object one step, if it is still there. The answer is when to
    /// look again although nothing has changed.
    fn reconcile(&mut self, key: &Key) -> Result<Option<Duration>, StoreError>;
}

/// Starts all controllers; they end at `shutdown`.
pub(crate) fn spawn(
    store: &Store,
    metrics: &Metrics,
    autoscaling: &AutoscalingOptions,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let autoscalers = Autoscalers::new(store, metrics.clone(), autoscaling.clone());
    let measuring: Box<dyn Controller> = Box::new(autoscalers);
    for controller in all(store).into_iter().chain([measuring]) {
        let runner = Runner::new(store, controller);
        tasks.spawn(runner.run(shutdown.clone()));
    }
}

/// The controllers that look at objects only.
fn all(store: &Store) -> Vec<Box<dyn Controller>> {
    vec![
        Box::new(deployment::Deployments::new(store)),
        Box::new(replica_set::ReplicaSets::new(store)),
        Box::new(endpoint_slice::EndpointSlices::new(store)),
        Box::new(job::Jobs::new(store)),
        Box::new(custom_resource_definition::CustomResourceDefinitions::new(
            store,
        )),
        Box::new(disruption::Disruptions::new(store)),
        Box::new(garbage::GarbageCollector::new(store)),
        Box::new(namespace::Namespaces::new(store)),
        Box::new(event_lifetime::EventLifetime::new(store)),
    ]
}

/// The earlier of two times at which to look again.
fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
