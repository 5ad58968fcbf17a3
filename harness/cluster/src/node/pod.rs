//! One pod on the node: its sandbox, its containers in order, its status in the store, its end.

use std::iter;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use serde_json::Value;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::container::{Change, ContainerTask, Slot, Stop};
use super::logs::LogOwner;
use super::process::Shim;
use super::sandbox::Sandbox;
use super::status::{ContainerView, DEADLINE_MESSAGE, PodView, RestartPolicy};
use super::{DEFAULT_GRACE_PERIOD, NodeContext, RETRY_PERIOD};
use crate::events::Severity;
use crate::store::{DeleteOptions, Resource, StoreError, Stored};
use crate::{clock, object};

/// What a pod gets that is ended, if it does not ask for more.
const SHORTEST_GRACE: Duration = Duration::from_secs(1);

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

/// What every container of a pod shares.
#[derive(Debug)]
pub(crate) struct PodContext {
    pub(crate) node: Arc<NodeContext>,
    /// The pod as it came to the node: its spec does not change.
    pub(crate) object: Arc<Stored>,
    pub(crate) pod: Arc<Pod>,
    pub(crate) owner: LogOwner,
    /// Starts the pod's processes.
    pub(crate) shim: Shim,
    pub(crate) added: Instant,
    /// Once it could be made.
    pub(crate) sandbox: OnceLock<Arc<Sandbox>>,
    /// Changes whenever the node has looked at the pod anew.
    pub(crate) synced: watch::Sender<()>,
    /// Told when somebody has changed the pod's object.
    pub(crate) object_changed: Notify,
}

impl PodContext {
    /// A pod that comes to the node now, if it is one.
    pub(crate) fn new(node: &Arc<NodeContext>, object: &Arc<Stored>) -> Option<Self> {
        let pod: Arc<Pod> = object.typed()?;
        let shares_process_ids = pod.spec.as_ref().and_then(|spec| spec.host_pid);
        Some(Self {
            node: Arc::clone(node),
            shim: if shares_process_ids == Some(true) {
                node.shim.with_host_processes()
            } else {
                node.shim.clone()
            },
            pod,
            owner: LogOwner {
                namespace: object::namespace(object).to_owned(),
                pod: object::name(object).to_owned(),
                uid: object::uid(object).to_owned(),
            },
            object: Arc::clone(object),
            added: Instant::now(),
            sandbox: OnceLock::new(),
            synced: watch::Sender::new(()),
            object_changed: Notify::new(),
        })
    }

    /// Records an event about the pod, or about a part of it.
    pub(crate) fn note(&self, field_path: &str, severity: Severity, reason: &str, message: &str) {
        self.node
            .recorder
            .record_part(&self.object, field_path, severity, reason, message);
    }

    /// The grace period which the pod itself asks for.
    pub(crate) fn grace_period(&self) -> Duration {
        let spec = self.pod.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.termination_grace_period_seconds);
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        seconds.map_or(DEFAULT_GRACE_PERIOD, Duration::from_secs)
    }

    /// The ports which the containers declare.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let spec = self.pod.spec.iter();
        let containers = spec.flat_map(|spec| &spec.containers);
        let ports = containers.flat_map(|container| container.ports.iter().flatten());
        ports
            .filter_map(|port| u16::try_from(port.container_port).ok())
            .collect()
    }
}

/// Keeps a pod until it is gone from the store.
pub(crate) async fn run(pod: Arc<PodContext>, mut wishes: watch::Receiver<Wish>) {
    let (stop, stopped) = watch::channel(Stop::No);
    let (views, mut changes) = mpsc::unbounded_channel();
    let mut view = first_view(&pod);
    write_status(&pod, &view);
    let containers = live(Arc::clone(&pod), stopped, views);
    tokio::pin!(containers);
    let deadline = active_deadline(&pod);
    let mut ends = Vec::new();
    let vanished = loop {
        let wish = *wishes.borrow_and_update();
        stop.send_replace(match wish {
            Wish::Run if !view.past_deadline => Stop::No,
            // Also a pod that was deleted by force ends as it would like to: all that its node hears
            // is that it is no longer there.
            Wish::Run | Wish::Gone => Stop::Within(pod.grace_period().max(SHORTEST_GRACE)),
            Wish::End(grace) => Stop::Within(grace.max(SHORTEST_GRACE)),
            Wish::Vanish => Stop::AtOnce,
        });
        tokio::select! {
            () = &mut containers => break matches!(*wishes.borrow(), Wish::Vanish),
            Some(first) = changes.recv() => {
                // What happened meanwhile goes into the same write.
                let all = iter::once(first).chain(iter::from_fn(|| changes.try_recv().ok()));
                // The kubelet is busy with ending a pod until all its containers have ended.
                let ending = !matches!(*stop.borrow(), Stop::No);
                let unnoticed = |change: &Change| ending && change.1.has_ended();
                let (later, now): (Vec<_>, Vec<_>) = all.partition(unnoticed);
                ends.extend(later);
                if !now.is_empty() {
                    now.into_iter().for_each(|change| take(&mut view, change));
                    view.address = pod.sandbox.get().map(|sandbox| sandbox.address);
                    write_status(&pod, &view);
                    pod.synced.send_replace(());
                }
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
    let last = iter::from_fn(|| changes.try_recv().ok());
    for change in ends.into_iter().chain(last) {
        take(&mut view, change);
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

/// Has a sandbox made, then runs the containers in it until they end for good.
async fn live(
    pod: Arc<PodContext>,
    mut stop: watch::Receiver<Stop>,
    views: mpsc::UnboundedSender<Change>,
) {
    let sandbox = tokio::select! {
        sandbox = make_sandbox(&pod) => pod.sandbox.get_or_init(|| Arc::new(sandbox)),
        _ = stop.wait_for(|stop| !matches!(stop, Stop::No)) => return,
    };
    let Some(spec) = &pod.pod.spec else {
        return;
    };
    let make = |slot, spec: &Container, restart_policy| ContainerTask {
        pod: Arc::clone(&pod),
        sandbox: Arc::clone(sandbox),
        spec: spec.clone(),
        slot,
        restart_policy,
        stop: stop.clone(),
        views: views.clone(),
        view: container_view(spec, "PodInitializing"),
    };
    let policy = RestartPolicy::parse(spec.restart_policy.as_deref());
    for (index, spec) in spec.init_containers.iter().flatten().enumerate() {
        let task = make(Slot::Init(index), spec, init_policy(policy));
        if !task.run().await {
            return;
        }
    }
    let main = spec.containers.iter().enumerate();
    let main = main.map(|(index, spec)| make(Slot::Main(index), spec, policy).run());
    join_all(main).await;
}

/// Makes the pod's sandbox; goes on trying while that is impossible.
async fn make_sandbox(pod: &PodContext) -> Sandbox {
    loop {
        let node = &pod.node;
        let parent = node.folder_of(&pod.owner.namespace);
        match Sandbox::make(&node.addresses, &parent, &pod.owner.uid) {
            Ok(sandbox) => return sandbox,
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {error}");
                pod.note("", Severity::Warning, "FailedCreatePodSandBox", &message);
            }
        }
        sleep(RETRY_PERIOD).await;
    }
}

/// Init containers have to succeed, so under `Always` only a failure restarts them.
fn init_policy(policy: RestartPolicy) -> RestartPolicy {
    match policy {
        RestartPolicy::Always | RestartPolicy::OnFailure => RestartPolicy::OnFailure,
        RestartPolicy::Never => RestartPolicy::Never,
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
        address: None,
        start_time: clock::now(),
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

fn take(view: &mut PodView, (slot, change): Change) {
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
