//! The controllers: each looks at the present state and moves it one step
//! towards the desired one. They work on the store, never over HTTP.
//!
//! A controller is a synchronous `sync` over the store; deciding is done by
//! pure functions below it. This file holds the loop which all of them share.

mod deployment;
mod endpoint_slice;
mod garbage;
mod horizontal_pod_autoscaler;
mod job;
mod namespace;
mod ownership;
mod replica_set;

pub use horizontal_pod_autoscaler::AutoscalingOptions;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::events::Recorder;
use crate::store::{Kinds, Resource, Store};

/// Starts all controllers; they end at `shutdown`.
pub(crate) fn spawn(store: &Store, tasks: &TaskTracker, shutdown: &CancellationToken) {
    let start_for = |watched: Kinds, sync: fn(&Store, &Recorder) -> Option<Duration>, component| {
        let recorder = Recorder::new(store.clone(), component);
        tasks.spawn(run(
            store.clone(),
            watched,
            recorder,
            sync,
            shutdown.clone(),
        ));
    };
    let start = |watched: &'static [Resource], sync, component| {
        start_for(Kinds::Only(watched), sync, component);
    };
    start(
        &[Resource::Deployments, Resource::ReplicaSets, Resource::Pods],
        deployment::sync,
        "deployment-controller",
    );
    start(
        &[Resource::ReplicaSets, Resource::Pods],
        replica_set::sync,
        "replicaset-controller",
    );
    start(
        &[Resource::Services, Resource::Pods, Resource::EndpointSlices],
        endpoint_slice::sync,
        "endpoint-slice-controller",
    );
    let mut memory = job::Memory::default();
    tasks.spawn(run(
        store.clone(),
        Kinds::Only(&[Resource::Jobs, Resource::Pods]),
        Recorder::new(store.clone(), "job-controller"),
        move |store, recorder| job::sync(store, recorder, &mut memory),
        shutdown.clone(),
    ));
    start_for(Kinds::All, garbage::sync, "garbage-collector");
    start_for(Kinds::All, namespace::sync, "namespace-controller");
}

/// Calls `sync` after each change of a watched kind, and again after the time
/// it asks for.
async fn run(
    store: Store,
    watched: Kinds,
    recorder: Recorder,
    mut sync: impl FnMut(&Store, &Recorder) -> Option<Duration>,
    shutdown: CancellationToken,
) {
    let mut changes = store.changes(watched);
    let mut again: Option<Duration> = None;
    loop {
        let pause = async {
            match again {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changes.next() => {}
            () = pause => {}
            () = shutdown.cancelled() => return,
        }
        again = sync(&store, &recorder);
    }
}

/// The earlier of two times at which to look again.
fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
