//! A cluster whose pods never start, with a namespace in which faults are allowed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use holdfast_cluster::{LocalCluster, Options};
use holdfast_core::experiment::SafetyNet;
use holdfast_core::fault::{Fault, Scale};
use holdfast_core::plan::PlannedFault;
use holdfast_faults::{CHAOS_LABEL, FaultInjection, KubeFaults};
use http::{Request, Response};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

/// Faults are allowed here.
pub(crate) const NAMESPACE: &str = "default";
/// The run of all faults.
pub(crate) const RUN: &str = "Run-1";

/// The image of the agent.
pub(crate) const AGENT: &str = "holdfast/agent:dev";

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct TestCluster {
    pub(crate) client: Client,
    cluster: LocalCluster,
}

impl TestCluster {
    pub(crate) async fn start() -> Self {
        let cluster = LocalCluster::start(Options::default()).await.unwrap();
        let kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig()).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let client = holdfast_faults::client(config.unwrap()).unwrap();
        let allowed = json!({"metadata": {"labels": {CHAOS_LABEL: "allowed"}}});
        Api::<Namespace>::all(client.clone())
            .patch(NAMESPACE, &PatchParams::default(), &Patch::Merge(allowed))
            .await
            .unwrap();
        holdfast_faults::install(&client, &holdfast_faults::definitions())
            .await
            .unwrap();
        Self { client, cluster }
    }

    /// A client that reaches nothing while the flag is set.
    pub(crate) fn failing_client(&self) -> (Client, Arc<AtomicBool>) {
        let down = Arc::new(AtomicBool::new(false));
        let is_down = Arc::clone(&down);
        let client = self.watched_client(move |_| !is_down.load(Ordering::SeqCst));
        (client, down)
    }

    /// A client that tells of each request before it is sent, and does not send those that it says
    /// no to.
    pub(crate) fn watched_client(
        &self,
        permit: impl Fn(&Request<Body>) -> bool + Clone + Send + Sync + 'static,
    ) -> Client {
        let client = self.client.clone();
        let watched = tower::service_fn(move |request: Request<Body>| {
            let (client, permit) = (client.clone(), permit.clone());
            async move {
                if !permit(&request) {
                    return Err(tower::BoxError::from("connection refused"));
                }
                Ok(client.send(request).await?)
            }
        });
        Client::new(watched, NAMESPACE)
    }

    /// A client some of whose requests are answered with an error, by its HTTP status and its message.
    pub(crate) fn refused_client(
        &self,
        refuse: impl Fn(&Request<Body>) -> Option<(u16, &'static str)> + Clone + Send + Sync + 'static,
    ) -> Client {
        let client = self.client.clone();
        let refusing = tower::service_fn(move |request: Request<Body>| {
            let (client, refused) = (client.clone(), refuse(&request));
            async move {
                let Some((code, message)) = refused else {
                    return client.send(request).await;
                };
                let body = Body::from(message.as_bytes().to_vec());
                Ok(Response::builder().status(code).body(body).unwrap())
            }
        });
        Client::new(refusing, NAMESPACE)
    }

    /// Takes one pod of a Deployment away, as a node that fails would.
    pub(crate) async fn delete_a_pod(&self, name: &str) {
        let pods: Api<Pod> = self.api();
        let labelled = ListParams::default().labels(&format!("app={name}"));
        if let Some(pod) = pods.list(&labelled).await.unwrap().items.first() {
            let at_once = DeleteParams::default().grace_period(0);
            pods.delete(&pod.name_any(), &at_once).await.unwrap();
        }
    }

    pub(crate) async fn shutdown(self) {
        self.cluster.shutdown().await;
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) fn faults(&self) -> KubeFaults {
        self.faults_of(RUN, self.client.clone())
    }

    /// The driver of a run that may take all pods of a workload.
    pub(crate) fn faults_of(&self, run: &str, client: Client) -> KubeFaults {
        KubeFaults::start(client, NAMESPACE, run, AGENT, &[SafetyNet::BlastRadius])
    }

    pub(crate) async fn create<K>(&self, object: Value)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + serde::Serialize
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).unwrap();
        let created = self.api().create(&PostParams::default(), &object).await;
        created.unwrap();
    }

    pub(crate) async fn create_deployment(&self, name: &str, replicas: i32) {
        self.create::<Deployment>(json!({
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{
                        "name": "main",
                        "image": "pay:1",
                        "resources": {"requests": {"cpu": "100m"}},
                    }]},
                },
            },
        }))
        .await;
    }

    /// A Deployment whose pods are ready.
    pub(crate) async fn create_ready(&self, name: &str, replicas: i32) {
        self.create_deployment(name, replicas).await;
        self.make_ready(name, replicas).await;
    }

    /// Waits for the Deployment's pods, marks them ready, and waits until its status says so.
    pub(crate) async fn make_ready(&self, name: &str, replicas: i32) {
        self.wait_until(name, |deployment| {
            deployment
                .status
                .as_ref()
                .and_then(|status| status.replicas)
                == Some(replicas)
        })
        .await;
        let pods: Api<Pod> = self.api();
        let labelled = ListParams::default().labels(&format!("app={name}"));
        for pod in pods.list(&labelled).await.unwrap() {
            pods.patch_status(
                &pod.name_any(),
                &PatchParams::default(),
                &Patch::Merge(ready()),
            )
            .await
            .unwrap();
        }
        self.wait_until(name, |deployment| {
            let status = deployment.status.as_ref();
            status.and_then(|status| status.ready_replicas) == Some(replicas)
        })
        .await;
    }

    /// Plays the kubelet of all pods until it is dropped: pods are ready as soon as they are there,
    /// and gone as soon as they are asked to.
    pub(crate) fn kubelet(&self) -> AbortOnDropHandle<()> {
        let pods: Api<Pod> = self.api();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let changes = watcher(pods.clone(), watcher::Config::default());
            let mut changes = std::pin::pin!(changes.default_backoff().applied_objects());
            while let Some(change) = changes.next().await {
                let Ok(pod) = change else { continue };
                let name = pod.name_any();
                // A pod may be gone by now, or changed: then there is another change to come.
                if pod.metadata.deletion_timestamp.is_some() {
                    let done = DeleteParams::default().grace_period(0);
                    drop(pods.delete(&name, &done).await);
                } else if !is_ready(&pod) {
                    let patch = Patch::Merge(ready());
                    drop(
                        pods.patch_status(&name, &PatchParams::default(), &patch)
                            .await,
                    );
                }
            }
        }))
    }

    /// Waits until a Deployment has so many ready pods of its newest template, and no others.
    pub(crate) async fn settled(&self, name: &str, replicas: i32) {
        self.wait_until(name, |deployment| {
            let status = deployment.status.clone().unwrap_or_default();
            status.observed_generation == deployment.metadata.generation
                && status.replicas == Some(replicas)
                && status.updated_replicas == Some(replicas)
                && status.ready_replicas == Some(replicas)
        })
        .await;
    }

    /// The UIDs of a Deployment's pods.
    pub(crate) async fn pods(&self, name: &str) -> Vec<String> {
        let labelled = ListParams::default().labels(&format!("app={name}"));
        let pods = self.api::<Pod>().list(&labelled).await.unwrap();
        pods.iter().filter_map(ResourceExt::uid).collect()
    }

    /// A Service in front of a Deployment.
    pub(crate) async fn create_service(&self, name: &str) {
        self.create::<Service>(json!({
            "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]},
        }))
        .await;
    }

    pub(crate) async fn wait_until(&self, name: &str, wanted: impl Fn(&Deployment) -> bool) {
        let condition = |found: Option<&Deployment>| found.is_some_and(&wanted);
        let waiting = await_condition(self.api::<Deployment>(), name, condition);
        let reached = tokio::time::timeout(DEADLINE, waiting).await;
        reached
            .expect("the deployment did not get there in time")
            .unwrap();
    }

    /// Scales as a person would.
    pub(crate) async fn set_replicas(&self, name: &str, replicas: i32) {
        let change = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.api::<Deployment>()
            .patch(name, &PatchParams::default(), &change)
            .await
            .unwrap();
    }

    pub(crate) async fn replicas(&self, name: &str) -> i32 {
        let deployment = self.api::<Deployment>().get(name).await.unwrap();
        deployment.spec.unwrap().replicas.unwrap()
    }

    pub(crate) async fn delete_deployment(&self, name: &str) {
        let deployments: Api<Deployment> = self.api();
        let uid = deployments.get(name).await.unwrap().uid().unwrap();
        let parameters = DeleteParams::background();
        deployments.delete(name, &parameters).await.unwrap();
        let gone = await_condition(
            deployments,
            name,
            kube::runtime::conditions::is_deleted(&uid),
        );
        let gone = tokio::time::timeout(DEADLINE, gone).await;
        gone.expect("the deployment stays").unwrap();
    }

    /// The names of the undo records.
    pub(crate) async fn records(&self) -> Vec<String> {
        let objects = self.api::<FaultInjection>();
        let objects = objects.list(&ListParams::default()).await.unwrap();
        objects.iter().map(ResourceExt::name_any).collect()
    }
}

/// What a kubelet says of a pod that runs.
pub(crate) fn ready() -> Value {
    json!({"status": {
        "phase": "Running",
        "podIP": "127.0.0.9",
        "podIPs": [{"ip": "127.0.0.9"}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }})
}

fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut conditions = status
        .iter()
        .filter_map(|status| status.conditions.as_ref())
        .flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The fault `outage`: scale the Deployment `pay`.
pub(crate) fn outage(replicas: u32) -> PlannedFault {
    fault_of(Fault::Scale(Scale {
        deployment: "pay".to_owned(),
        replicas,
    }))
}

/// A step of the plan, by the name of `outage`.
pub(crate) fn fault_of(fault: Fault) -> PlannedFault {
    PlannedFault {
        name: "outage".to_owned(),
        start: Duration::from_secs(1),
        end: Duration::from_secs(2),
        fault,
    }
}

/// The result within the deadline.
pub(crate) async fn in_time<T>(result: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, result)
        .await
        .expect("it did not happen in time")
}

/// The evidence of a recovery but for how long pods took to be ready again.
pub(crate) fn timeless(evidence: &str) -> String {
    let (before, seen) = evidence.split_once(" s later: ").unwrap();
    let (proof, _) = before.rsplit_once("; ").unwrap();
    format!("{proof}; later: {seen}")
}

/// An object's desired state and what people write beside it: what must be as before.
pub(crate) async fn state<K>(test: &TestCluster, name: &str) -> Value
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + serde::Serialize,
    K::DynamicType: Default,
{
    let mut object = test.api::<K>().get(name).await.unwrap();
    let mut meta = object.meta().clone();
    // The Deployment's controller counts in it.
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove("deployment.kubernetes.io/revision");
    }
    *object.meta_mut() = ObjectMeta {
        labels: meta.labels,
        annotations: meta.annotations,
        ..ObjectMeta::default()
    };
    let mut value = serde_json::to_value(object).unwrap();
    value.as_object_mut().unwrap().remove("status");
    value
}
