//! One pod on the node: its containers in order, its status in the store, its end.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, PodStatus};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::PodContext;
use super::container::{ContainerTask, Slot, Stop};
use super::status::{ContainerView, DEADLINE_MESSAGE, PodView, RestartPolicy};
use crate::events::Severity;
use crate::store::{DeleteOptions, Resource, StoreError};
use crate::{clock, object};

/// What a pod that was deleted by force gets before SIGKILL.
const GRACE_AFTER_FORCE: Duration = Duration::from_secs(2);

/// What the API wants of a pod that is on the node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    Run,
    /// It is being deleted, with this grace period.
    End(Duration),
    /// The object is gone.
    Gone,
    /// The cluster ends.
    Vanish,
}

/// Keeps a pod until it is gone from the store.
pub(crate) async fn run(pod: Arc<PodContext>, mut wishes: watch::Receiver<Wish>) {
    let (stop, stopped) = watch::channel(Stop::No);
    let (views, mut changes) = mpsc::unbounded_channel();
    let spec = pod.pod.spec.clone().unwrap_or_default();
    let mut view = first_view(&pod);
    write_status(&pod, &view);
    let make = |slot, spec: &Container, restart_policy| {
        let view = container_view(spec, "PodInitializing");
        let (pod, views, stop) = (Arc::clone(&pod), views.clone(), stopped.clone());
        ContainerTask {
            pod,
            spec: spec.clone(),
            slot,
            restart_policy,
            stop,
            views,
            view,
        }
    };
    let restart_policy = view.restart_policy;
    let init: Vec<ContainerTask> = spec
        .init_containers
        .iter()
        .flatten()
        .enumerate()
        .map(|(index, spec)| make(Slot::Init(index), spec, init_policy(restart_policy)))
        .collect();
    let main: Vec<ContainerTask> = spec
        .containers
        .iter()
        .enumerate()
        .map(|(index, spec)| make(Slot::Main(index), spec, restart_policy))
        .collect();
    let containers = run_containers(init, main);
    tokio::pin!(containers);
    let deadline = active_deadline(&pod);
    let vanished = loop {
        let wish = *wishes.borrow_and_update();
        stop.send_replace(match wish {
            Wish::Run if view.past_deadline => {
                Stop::Within(Duration::from_secs(pod.grace_seconds()))
            }
            wish => stop_for(wish),
        });
        tokio::select! {
            () = &mut containers => break matches!(*wishes.borrow(), Wish::Vanish),
            Some((slot, change)) = changes.recv() => {
                // What happened meanwhile goes into the same write.
                take(&mut view, slot, change);
                while let Ok((slot, change)) = changes.try_recv() {
                    take(&mut view, slot, change);
                }
                write_status(&pod, &view);
                pod.synced.send_replace(());
            }
            Ok(()) = wishes.changed() => {}
            // What others write there may count, as readiness gates do, or has to be undone.
            () = pod.object_changed.notified() => write_status(&pod, &view),
            () = reached(deadline), if !view.past_deadline => {
                view.past_deadline = true;
                pod.note("", Severity::Normal, "DeadlineExceeded", DEADLINE_MESSAGE);
            }
        }
    };
    while let Ok((slot, change)) = changes.try_recv() {
        take(&mut view, slot, change);
    }
    if !vanished {
        conclude(&pod, &mut view, &mut wishes).await;
    }
}

/// The containers have ended for good: says so, and removes the object once that is wanted.
async fn conclude(pod: &PodContext, view: &mut PodView, wishes: &mut watch::Receiver<Wish>) {
    view.settle(clock::now());
    write_status(pod, view);
    if wishes
        .wait_for(|wish| !matches!(wish, Wish::Run))
        .await
        .is_err()
    {
        return;
    }
    let options = DeleteOptions::immediately(&pod.owner.uid);
    let store = &pod.node.store;
    let removed = store.delete(
        Resource::Pods,
        &pod.owner.namespace,
        &pod.owner.pod,
        &options,
    );
    match removed {
        // Gone already, or another pod of the same name: both mean that this one is gone.
        Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Conflict { .. }) => {}
        Err(error) => tracing::warn!(pod = pod.owner.pod, %error, "ended pod not removed"),
    }
}

/// When the pod has run for as long as it may.
fn active_deadline(pod: &PodContext) -> Option<Instant> {
    let seconds = pod.pod.spec.as_ref()?.active_deadline_seconds?;
    let seconds = u64::try_from(seconds).ok()?;
    pod.added.checked_add(Duration::from_secs(seconds))
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn run_containers(init: Vec<ContainerTask>, main: Vec<ContainerTask>) {
    for task in init {
        if !task.run().await {
            return;
        }
    }
    join_all(main.into_iter().map(ContainerTask::run)).await;
}

/// Init containers have to succeed, so under `Always` only a failure restarts them.
fn init_policy(policy: RestartPolicy) -> RestartPolicy {
    match policy {
        RestartPolicy::Always | RestartPolicy::OnFailure => RestartPolicy::OnFailure,
        RestartPolicy::Never => RestartPolicy::Never,
    }
}

fn stop_for(wish: Wish) -> Stop {
    match wish {
        Wish::Run => Stop::No,
        Wish::End(grace) => Stop::Within(grace),
        Wish::Gone => Stop::Within(GRACE_AFTER_FORCE),
        Wish::Vanish => Stop::AtOnce,
    }
}

fn first_view(pod: &PodContext) -> PodView {
    let spec = pod.pod.spec.clone().unwrap_or_default();
    let views = |containers: &[Container], reason: &'static str| -> Vec<ContainerView> {
        containers
            .iter()
            .map(|spec| container_view(spec, reason))
            .collect()
    };
    let init_containers = spec.init_containers.unwrap_or_default();
    let waiting_reason = if init_containers.is_empty() {
        "ContainerCreating"
    } else {
        "PodInitializing"
    };
    PodView {
        uid: pod.owner.uid.clone(),
        address: pod.address,
        start_time: clock::now(),
        restart_policy: RestartPolicy::parse(spec.restart_policy.as_deref()),
        init_containers: views(&init_containers, "PodInitializing"),
        containers: views(&spec.containers, waiting_reason),
        readiness_gates: spec
            .readiness_gates
            .into_iter()
            .flatten()
            .map(|gate| gate.condition_type)
            .collect(),
        past_deadline: false,
        over: false,
    }
}

fn container_view(spec: &Container, waiting_reason: &'static str) -> ContainerView {
    ContainerView::new(
        &spec.name,
        spec.image.as_deref().unwrap_or_default(),
        waiting_reason,
    )
}

fn take(view: &mut PodView, slot: Slot, change: ContainerView) {
    let place = match slot {
        Slot::Init(index) => view.init_containers.get_mut(index),
        Slot::Main(index) => view.containers.get_mut(index),
    };
    if let Some(place) = place {
        *place = change;
    }
}

fn write_status(pod: &PodContext, view: &PodView) {
    let owner = &pod.owner;
    let written = pod
        .node
        .store
        .update(Resource::Pods, &owner.namespace, &owner.pod, |object| {
            if object::uid(object) != owner.uid {
                return;
            }
            let previous: PodStatus =
                serde_json::from_value(object["status"].clone()).unwrap_or_default();
            object["status"] =
                serde_json::to_value(view.status(previous, clock::now())).unwrap_or(Value::Null);
        });
    match written {
        // Deleted by force: nobody is left to read it.
        Ok(_) | Err(StoreError::NotFound { .. }) => {}
        Err(error) => tracing::warn!(pod = owner.pod, %error, "pod status not written"),
    }
}
