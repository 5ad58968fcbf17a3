//! An experiment that names its cluster runs on no other.

use holdfast_core::experiment::ClusterLock;
use holdfast_faults::check_cluster;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};

use crate::cluster::TestCluster;

#[tokio::test(flavor = "multi_thread")]
async fn only_the_cluster_that_is_named_will_do() {
    let test = TestCluster::start().await;
    let namespaces = Api::<Namespace>::all(test.client.clone());
    let uid = namespaces.get("kube-system").await.unwrap().uid().unwrap();
    let refused = async |lock: ClusterLock| {
        let checked = check_cluster(&test.client, "local", &lock).await;
        checked.err().map(|error| error.to_string())
    };
    assert_eq!(
        refused(ClusterLock::Context("local".to_owned())).await,
        None
    );
    assert_eq!(refused(ClusterLock::Uid(uid.clone())).await, None);
    let other = "0b1e0f3a-6a35-4b7e-9d5c-7a6f6b0c1d2e";
    assert_eq!(
        refused(ClusterLock::Uid(other.to_owned())).await.unwrap(),
        format!(
            "the experiment may run on the cluster {other} alone (safety.cluster), and this one is {uid}"
        )
    );
    assert_eq!(
        refused(ClusterLock::Context("staging".to_owned()))
            .await
            .unwrap(),
        "the experiment may run on staging alone (safety.cluster), and this cluster is local"
    );
    test.shutdown().await;
}
