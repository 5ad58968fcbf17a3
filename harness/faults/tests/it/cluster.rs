//! A cluster whose pods never start, with a namespace in which faults are allowed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_cluster::{LocalCluster, Options};
use holdfast_core::experiment::SafetyNet;
use holdfast_core::fault::{Fault, Scale};
use holdfast_core::plan::PlannedFault;
use holdfast_faults::{CHAOS_LABEL, FaultInjection, KubeFaults};
use http::Request;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};

/// Faults are allowed here.
pub(crate) const NAMESPACE: &str = "default";
/// The run of all faults.
pub(crate) const RUN: &str = "Run-1";

/// The image of the agent.
const AGENT: &str = "holdfast/agent:dev";

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
        let client = Client::try_from(config.unwrap()).unwrap();
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
        let (client, down) = (self.client.clone(), Arc::new(AtomicBool::new(false)));
        let is_down = Arc::clone(&down);
        let failing = tower::service_fn(move |request: Request<Body>| {
            let (client, is_down) = (client.clone(), Arc::clone(&is_down));
            async move {
                if is_down.load(Ordering::SeqCst) {
                    return Err(tower::BoxError::from("connection refused"));
                }
                Ok(client.send(request).await?)
            }
        });
        (Client::new(failing, NAMESPACE), down)
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
                    "spec": {"containers": [{"name": "main", "image": "pay:1"}]},
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
            let ready = json!({"status": {
                "phase": "Running",
                "podIP": "127.0.0.9",
                "podIPs": [{"ip": "127.0.0.9"}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            }});
            pods.patch_status(
                &pod.name_any(),
                &PatchParams::default(),
                &Patch::Merge(ready),
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

    /// Marks the pods of a Deployment ready, whichever there are, until so many are.
    pub(crate) async fn keep_ready(&self, name: &str, replicas: usize) {
        let pods: Api<Pod> = self.api();
        let labelled = format!("app={name}");
        let config = kube::runtime::watcher::Config::default().labels(&labelled);
        let mut changes = std::pin::pin!(kube::runtime::watcher(pods.clone(), config));
        let ready = json!({"status": {
            "phase": "Running",
            "podIP": "127.0.0.9",
            "podIPs": [{"ip": "127.0.0.9"}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }});
        let is_ready = |pod: &Pod| {
            let status = serde_json::to_value(&pod.status).unwrap();
            status["conditions"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
        };
        loop {
            let now = pods
                .list(&ListParams::default().labels(&labelled))
                .await
                .unwrap();
            let alive = || {
                now.iter()
                    .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            };
            for pod in now
                .iter()
                .filter(|pod| pod.metadata.deletion_timestamp.is_some())
            {
                // The kubelet's last word: the pod's processes have ended.
                let done = DeleteParams::default().grace_period(0);
                drop(pods.delete(&pod.name_any(), &done).await);
            }
            for pod in alive().filter(|pod| !is_ready(pod)) {
                let patch = Patch::Merge(&ready);
                drop(
                    pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch)
                        .await,
                );
            }
            let whole = self.api::<Deployment>().get(name).await.unwrap();
            let status = whole.status.unwrap_or_default();
            let updated = status.updated_replicas.unwrap_or(0);
            let settled = status.observed_generation == whole.metadata.generation
                && usize::try_from(updated).unwrap() == replicas;
            if settled
                && alive().filter(|pod| is_ready(pod)).count() == replicas
                && now.items.len() == replicas
            {
                return;
            }
            in_time(futures::StreamExt::next(&mut changes))
                .await
                .unwrap()
                .unwrap();
        }
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

    async fn wait_until(&self, name: &str, wanted: impl Fn(&Deployment) -> bool) {
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
