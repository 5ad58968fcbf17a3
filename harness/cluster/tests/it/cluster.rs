//! A cluster without a node, and clients for it. The tests play the kubelet.

use std::path::PathBuf;
use std::time::Duration;

use holdfast_cluster::{LocalCluster, Options};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take in a test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct TestCluster {
    pub(crate) cluster: LocalCluster,
    pub(crate) client: Client,
    directory: TempDir,
}

impl TestCluster {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let cluster = LocalCluster::start(options).await.unwrap();
        let kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        let client = Client::try_from(config).unwrap();
        let directory = tempfile::tempdir().unwrap();
        Self {
            cluster,
            client,
            directory,
        }
    }

    /// A file in the test's folder.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Marks all pods with this label as running and ready.
    pub(crate) async fn make_ready(&self, selector: &str) {
        let pods: Api<Pod> = self.api();
        for pod in pods
            .list(&ListParams::default().labels(selector))
            .await
            .unwrap()
        {
            let status = json!({"status": {
                "phase": "Running",
                "podIP": "127.1.128.1",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            }});
            let patch = Patch::Merge(&status);
            pods.patch_status(&pod.metadata.name.unwrap(), &PatchParams::default(), &patch)
                .await
                .unwrap();
        }
    }

    /// Waits until a Deployment looks as wanted.
    pub(crate) async fn wait_for_deployment(
        &self,
        name: &str,
        wanted: impl Fn(&Deployment) -> bool,
    ) -> Deployment {
        let condition = |deployment: Option<&Deployment>| deployment.is_some_and(&wanted);
        let waiting =
            kube::runtime::wait::await_condition(self.api::<Deployment>(), name, condition);
        let found = tokio::time::timeout(DEADLINE, waiting).await;
        found
            .expect("the deployment did not get there in time")
            .unwrap()
            .unwrap()
    }
}

/// A Deployment of one container.
pub(crate) fn deployment(name: &str, replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "web:1", "env": [{"name": "A", "value": "1"}]}]},
            },
        },
    })
}

/// A JSON object as a typed one.
pub(crate) fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}
