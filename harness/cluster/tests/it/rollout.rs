//! Deployments through the API, without a node: the test makes pods ready.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::runtime::wait::await_condition;
use serde_json::json;

use crate::cluster::{DEADLINE, TestCluster, deployment, typed};

fn counts(deployment: &Deployment) -> (i32, i32, i32) {
    let status = deployment.status.clone().unwrap_or_default();
    (
        status.replicas.unwrap_or_default(),
        status.updated_replicas.unwrap_or_default(),
        status.available_replicas.unwrap_or_default(),
    )
}

async fn started(replicas: i32) -> TestCluster {
    let test = TestCluster::start().await;
    let deployments: Api<Deployment> = test.api();
    deployments
        .create(&PostParams::default(), &typed(deployment("web", replicas)))
        .await
        .unwrap();
    test.wait_for_deployment("web", |web| counts(web) == (replicas, replicas, 0))
        .await;
    test.make_ready("app=web").await;
    test.wait_for_deployment("web", |web| counts(web) == (replicas, replicas, replicas))
        .await;
    test
}

#[tokio::test]
async fn a_new_image_is_rolled_out_pod_by_pod() {
    let test = started(1).await;
    let deployments: Api<Deployment> = test.api();
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "web:2"}]}}}});
    deployments
        .patch("web", &PatchParams::default(), &Patch::Strategic(image))
        .await
        .unwrap();
    test.wait_for_deployment("web", |web| counts(web) == (2, 1, 1))
        .await;
    test.make_ready("app=web").await;
    let done = test
        .wait_for_deployment("web", |web| counts(web) == (1, 1, 1))
        .await;
    assert_eq!(
        done.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"],
        "2"
    );
    let sets: Api<ReplicaSet> = test.api();
    assert_eq!(
        sets.list(&ListParams::default()).await.unwrap().items.len(),
        2
    );
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn a_deployment_is_scaled_through_its_subresource() {
    let test = started(1).await;
    let deployments: Api<Deployment> = test.api();
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    let scale = deployments
        .patch_scale("web", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(3));
    test.wait_for_deployment("web", |web| counts(web) == (3, 3, 1))
        .await;
    let scale = deployments.get_scale("web").await.unwrap().status.unwrap();
    assert_eq!(
        (scale.replicas, scale.selector.as_deref()),
        (3, Some("app=web"))
    );
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn a_deleted_pod_is_replaced() {
    let test = started(1).await;
    let pods: Api<Pod> = test.api();
    let pod = pods
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .remove(0);
    pods.delete(
        pod.metadata.name.as_ref().unwrap(),
        &DeleteParams::default(),
    )
    .await
    .unwrap();
    test.wait_for_deployment("web", |web| counts(web) == (1, 1, 0))
        .await;
    let replacement = pods
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .remove(0);
    assert_ne!(replacement.metadata.uid, pod.metadata.uid);
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn what_a_deployment_owns_goes_with_it_or_is_orphaned() {
    for (policy, left) in [
        (PropagationPolicy::Background, 0),
        (PropagationPolicy::Orphan, 1),
    ] {
        let test = started(1).await;
        let deployments: Api<Deployment> = test.api();
        let params = DeleteParams {
            propagation_policy: Some(policy),
            ..DeleteParams::default()
        };
        deployments.delete("web", &params).await.unwrap();
        let gone = await_condition(deployments, "web", |found: Option<&Deployment>| {
            found.is_none()
        });
        tokio::time::timeout(DEADLINE, gone).await.unwrap().unwrap();
        let pods: Api<Pod> = test.api();
        if left == 0 {
            let sets: Api<ReplicaSet> = test.api();
            for set in sets.list(&ListParams::default()).await.unwrap() {
                let name = set.metadata.name.unwrap();
                let gone = await_condition(sets.clone(), &name, |found: Option<&ReplicaSet>| {
                    found.is_none()
                });
                tokio::time::timeout(DEADLINE, gone).await.unwrap().unwrap();
            }
            for pod in pods.list(&ListParams::default()).await.unwrap() {
                let name = pod.metadata.name.unwrap();
                let gone =
                    await_condition(pods.clone(), &name, |found: Option<&Pod>| found.is_none());
                tokio::time::timeout(DEADLINE, gone).await.unwrap().unwrap();
            }
        }
        let remaining = pods.list(&ListParams::default()).await.unwrap().items.len();
        assert_eq!(remaining, left, "{:?}", params.propagation_policy);
        test.cluster.shutdown().await;
    }
}
