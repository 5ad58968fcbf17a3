//! A local cluster to measure, and a client for it.

use std::time::Duration;

use holdfast_cluster::{ImageMap, LocalCluster, Options, Program};
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What has not happened by then will not happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

pub(crate) struct Site {
    pub(crate) cluster: LocalCluster,
    pub(crate) client: Client,
    _logs: TempDir,
}

impl Site {
    /// A cluster whose pods can run `sleep`, the most trivial program.
    pub(crate) async fn start() -> Self {
        Self::with_relist_period(None).await
    }

    /// The same with a node that looks at its containers at another interval than the kubelet.
    pub(crate) async fn with_relist_period(relist_period: Option<Duration>) -> Self {
        let sleep = Program {
            path: "/bin/sleep".into(),
            arguments: vec!["1000".into()],
        };
        let images = ImageMap::from_iter([("sleep".to_owned(), sleep)]);
        Self::with(images, relist_period).await
    }

    /// A cluster whose pods can run these images.
    pub(crate) async fn with_images(images: ImageMap) -> Self {
        Self::with(images, None).await
    }

    async fn with(images: ImageMap, relist_period: Option<Duration>) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let cluster = LocalCluster::start(Options {
            images,
            pod_shim: vec![env!("CARGO_BIN_EXE_holdfast-cluster-pod-shim").into()],
            relist_period,
            log_directory: logs.path().to_owned(),
            ..Options::default()
        })
        .await
        .unwrap();
        let kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        Self {
            client: Client::try_from(config).unwrap(),
            cluster,
            _logs: logs,
        }
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    pub(crate) async fn end(self) {
        self.cluster.shutdown().await;
    }
}

pub(crate) fn sleeping_pod() -> Value {
    json!({"containers": [{"name": "c", "image": "sleep"}], "terminationGracePeriodSeconds": 0})
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.iter();
    let mut conditions = status.flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
