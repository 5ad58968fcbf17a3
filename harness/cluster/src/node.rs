//! The one node of the cluster: what the scheduler, the kubelet and the container runtime do.
//!
//! ```text
//! store ─pods─▶ node ─wish─▶ pod ─stop─▶ container ─▶ process (through the pod shim)
//!   ▲                         │ ◀─view──┘    ▲
//!   └────────status, events───┘              └─ probes, hooks, logs
//! ```
//!
//! Each pod has a loop of its own; the node only tells it what the API wants. It knows nothing of
//! Deployments, Services or HTTP.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::events::Recorder;
use crate::images::ImageMap;
use crate::metrics::Metrics;
use crate::object;
use crate::pod_shim::Isolation;
use crate::store::{Event, EventKind, Resource, Store, Stored, Watch};
use crate::subnet::Subnet;

mod addresses;
mod back_off;
mod container;
mod environment;
mod folder;
mod listeners;
pub(crate) mod logs;
mod pod;
mod probe;
mod process;
mod registration;
mod relist;
mod sandbox;
mod schedule;
pub(crate) mod status;
mod ticks;
mod vacated;

use addresses::Addresses;
use folder::Folder;
use listeners::Listeners;
use logs::Logs;
use pod::{PodContext, Wish};
use process::{Shim, StartError};
pub(crate) use relist::RELIST_PERIOD;
use relist::Relist;

/// The name of the node, as in `spec.nodeName`.
pub(crate) const NODE_NAME: &str = "local";

/// After how long the node tries again what did not work for a pod. The kubelet adds up to half of
/// it by chance, so that pods do not all try at once.
pub(crate) const RETRY_PERIOD: Duration = Duration::from_secs(10);

const BETWEEN_LOOKS_FOR_LISTENERS: Duration = Duration::from_secs(1);

const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(30);

/// What the node is made of.
#[derive(Debug)]
pub(crate) struct NodeOptions {
    pub(crate) images: ImageMap,
    /// The command line (an absolute path first) that ends in [`crate::pod_shim::main`].
    pub(crate) pod_shim: Vec<OsString>,
    pub(crate) log_directory: PathBuf,
    pub(crate) subnet: Subnet,
    /// `None`: the best one that this machine permits.
    pub(crate) isolation: Option<Isolation>,
    pub(crate) relist_period: Duration,
    pub(crate) metrics: Metrics,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error("pods cannot be started: check the program given as pod shim")]
    Shim(#[from] StartError),
    #[error("cannot make a folder for the pods' files")]
    Directory(#[source] io::Error),
}

/// What every pod of the node shares.
#[derive(Debug)]
pub(crate) struct NodeContext {
    pub(crate) store: Store,
    pub(crate) recorder: Recorder,
    /// Tells of places that pods get.
    scheduler: Recorder,
    pub(crate) name: String,
    pub(crate) images: ImageMap,
    pub(crate) shim: Shim,
    pub(crate) logs: Logs,
    pub(crate) metrics: Metrics,
    pub(crate) relist: Relist,
    pub(crate) listeners: Listeners,
    addresses: Addresses,
    /// What goes on after a pod's end.
    aftermaths: TaskTracker,
    ending: CancellationToken,
    /// It has a folder for each namespace, and in that one for each pod: what a pod writes beside its
    /// own folder the others of its namespace find, as on a volume that they share.
    directory: PathBuf,
}

impl NodeContext {
    pub(crate) fn services_of(&self, namespace: &str) -> Vec<Arc<Service>> {
        self.typed(Resource::Services, namespace)
    }

    pub(crate) fn config_maps_of(&self, namespace: &str) -> Vec<Arc<ConfigMap>> {
        self.typed(Resource::ConfigMaps, namespace)
    }

    fn folder_of(&self, namespace: &str) -> PathBuf {
        self.directory.join(namespace)
    }

    fn typed<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        resource: Resource,
        namespace: &str,
    ) -> Vec<Arc<T>> {
        let (objects, _) = self.store.list(resource, Some(namespace));
        objects.iter().filter_map(|object| object.typed()).collect()
    }
}

/// The running node.
#[derive(Debug)]
pub(crate) struct NodeHandle {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    context: Arc<NodeContext>,
}

impl NodeHandle {
    /// How the pods' processes are kept apart.
    pub(crate) fn isolation(&self) -> Isolation {
        self.context.shim.isolation()
    }

    /// How often the containers are looked at.
    pub(crate) fn relist_period(&self) -> Duration {
        self.context.relist.period()
    }

    /// The containers' logs.
    pub(crate) fn logs(&self) -> &Logs {
        &self.context.logs
    }

    /// Kills every pod's processes and waits until none is left.
    pub(crate) async fn shutdown(self) {
        self.shutdown.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the node did not end as it should");
        }
    }
}

/// Registers the node and starts to serve it.
pub(crate) async fn spawn(store: Store, options: NodeOptions) -> Result<NodeHandle, NodeError> {
    let shim = Shim::new(options.pod_shim, options.isolation).await?;
    let folder = Folder::new().map_err(NodeError::Directory)?;
    let context = Arc::new(NodeContext {
        recorder: Recorder::new(store.clone(), "kubelet"),
        scheduler: Recorder::new(store.clone(), schedule::SCHEDULER),
        store,
        name: NODE_NAME.to_owned(),
        images: options.images,
        shim,
        logs: Logs::new(options.log_directory),
        metrics: options.metrics,
        relist: Relist::starting_now(options.relist_period),
        listeners: Listeners::default(),
        addresses: Addresses::new(options.subnet),
        aftermaths: TaskTracker::new(),
        ending: CancellationToken::new(),
        directory: folder.path().to_owned(),
    });
    registration::register(&context);
    let shutdown = context.ending.clone();
    let node = Node {
        context: Arc::clone(&context),
        pods: HashMap::new(),
        workers: JoinSet::new(),
    };
    let ending = shutdown.clone();
    let (alive, watched) = (Arc::clone(&context), Arc::clone(&context));
    let task = tokio::spawn(async move {
        let serving = async { tokio::join!(node.serve(ending), registration::stay(&alive)) };
        tokio::select! {
            _ = serving => {}
            () = look_for_listeners(watched) => {}
        }
        if let Err(error) = folder.close() {
            tracing::warn!(%error, "the pods' folder is left behind");
        }
    });
    Ok(NodeHandle {
        shutdown,
        task,
        context,
    })
}

/// Looks again and again for containers that listen where they may not.
async fn look_for_listeners(node: Arc<NodeContext>) {
    // A kernel that does not answer will not answer the next time: once is enough to say so.
    let mut is_blind = false;
    loop {
        sleep(BETWEEN_LOOKS_FOR_LISTENERS).await;
        let listeners = node.listeners.clone();
        let looked = spawn_blocking(move || listeners.look()).await;
        let error = match looked {
            Ok(Ok(())) => {
                is_blind = false;
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        if !std::mem::replace(&mut is_blind, true) {
            tracing::error!(%error, "containers may listen where they should not, unnoticed");
        }
    }
}

/// A pod on the node, and what is wanted of it.
struct Tenant {
    pod: Arc<PodContext>,
    wish: watch::Sender<Wish>,
}

/// The node's loop and the pods it has.
struct Node {
    context: Arc<NodeContext>,
    /// By uid.
    pods: HashMap<String, Tenant>,
    workers: JoinSet<String>,
}

impl Node {
    async fn serve(mut self, ending: CancellationToken) {
        let store = self.context.store.clone();
        let (mut pods, mut nodes, mut namespaces) = (
            follow(&store, Resource::Pods),
            follow(&store, Resource::Nodes),
            follow(&store, Resource::Namespaces),
        );
        loop {
            tokio::select! {
                () = ending.cancelled() => break,
                change = pods.next() => match change {
                    Ok(event) => self.follow_pod(&event),
                    // Too slow: look at everything once more.
                    Err(_) => {
                        pods = follow(&store, Resource::Pods);
                        self.drop_missing_pods();
                    }
                },
                change = nodes.next() => match change {
                    Ok(_) => schedule::bind_waiting_pods(&self.context),
                    Err(_) => nodes = follow(&store, Resource::Nodes),
                },
                change = namespaces.next() => match change {
                    Ok(event) if event.kind == EventKind::Deleted => {
                        self.vacate(object::name(&event.object));
                    }
                    Ok(_) => {}
                    // A folder that is missed goes with the cluster.
                    Err(_) => namespaces = follow(&store, Resource::Namespaces),
                },
                Some(ended) = self.workers.join_next() => self.forget(ended),
            }
        }
        for tenant in self.pods.values() {
            tenant.wish.send_replace(Wish::Vanish);
        }
        while self.workers.join_next().await.is_some() {}
        self.context.aftermaths.close();
        self.context.aftermaths.wait().await;
    }

    fn follow_pod(&mut self, event: &Event) {
        let pod = &event.object;
        let uid = object::uid(pod);
        let deleted = event.kind == EventKind::Deleted;
        if let Some(tenant) = self.pods.get(uid) {
            if deleted {
                tenant.wish.send_replace(Wish::Gone);
            } else if object::is_deleting(pod) {
                tenant.wish.send_replace(Wish::End(deletion_grace(pod)));
            }
            tenant.pod.object_changed.notify_one();
            return;
        }
        if deleted || is_over(pod) {
            return;
        }
        match object::text(pod, "/spec/nodeName") {
            "" => schedule::bind(&self.context, pod),
            node if node == self.context.name => self.start(pod),
            _ => {}
        }
    }

    fn start(&mut self, object: &Arc<Stored>) {
        let Some(context) = PodContext::new(&self.context, object) else {
            return;
        };
        let context = Arc::new(context);
        let uid = context.owner.uid.clone();
        let first = if object::is_deleting(object) {
            Wish::End(deletion_grace(object))
        } else {
            Wish::Run
        };
        let (wish, wishes) = watch::channel(first);
        let pod = Arc::clone(&context);
        self.pods.insert(uid.clone(), Tenant { pod, wish });
        self.workers.spawn(async move {
            pod::run(Arc::clone(&context), wishes).await;
            clean_up(context);
            uid
        });
    }

    fn forget(&mut self, ended: Result<String, tokio::task::JoinError>) {
        let tenant = match ended {
            Ok(uid) => self.pods.remove(&uid),
            Err(error) => return tracing::error!(%error, "a pod's loop failed"),
        };
        // One that was deleted by force may end after its namespace.
        let namespace = tenant.map(|tenant| tenant.pod.owner.namespace.clone());
        let store = &self.context.store;
        let is_gone = |name: &String| store.get(Resource::Namespaces, "", name).is_none();
        if let Some(namespace) = namespace.filter(is_gone) {
            self.vacate(&namespace);
        }
    }

    /// Removes the folder of a namespace that is gone, unless a pod is still in it.
    fn vacate(&self, namespace: &str) {
        let mut pods = self.pods.values().map(|tenant| &tenant.pod.owner);
        if pods.any(|owner| owner.namespace == namespace) {
            return;
        }
        let folder = self.context.folder_of(namespace);
        match fs::remove_dir_all(&folder) {
            Ok(()) => {}
            // No pod has been in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "a namespace's folder is left behind");
            }
        }
    }

    /// After a gap in the history: a pod that is no longer there was deleted meanwhile.
    fn drop_missing_pods(&self) {
        let (present, _) = self.context.store.list(Resource::Pods, None);
        for (uid, tenant) in &self.pods {
            if present.iter().all(|pod| object::uid(pod) != uid) {
                tenant.wish.send_replace(Wish::Gone);
            }
        }
    }
}

/// Every present object, then every change.
fn follow(store: &Store, resource: Resource) -> Watch {
    store
        .watch(resource, None)
        .expect("a watch without a revision cannot be too old")
}

fn is_over(pod: &Value) -> bool {
    matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn deletion_grace(pod: &Value) -> Duration {
    let seconds = pod
        .pointer("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_u64);
    seconds.map_or(DEFAULT_GRACE_PERIOD, Duration::from_secs)
}

fn clean_up(pod: Arc<PodContext>) {
    pod.node.logs.forget(&pod.owner);
    let Some(sandbox) = pod.sandbox.get().map(Arc::clone) else {
        return;
    };
    sandbox.remove_directory();
    let node = Arc::clone(&pod.node);
    let losing = vacated::lose_packets(sandbox.address, pod.ports(), node.ending.clone());
    node.aftermaths.spawn(async move {
        losing.await;
        pod.node.addresses.release(sandbox.address);
    });
}
