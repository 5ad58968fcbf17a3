//! Each kind of fault that needs no running pod: what it changes, its evidence, and that everything
//! is as before afterwards.

use holdfast_core::fault::Fault;
use holdfast_engine::FaultDriver;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::ResourceExt;
use kube::api::{ListParams, ObjectMeta};
use serde_json::{Value, json};

use crate::cluster::{TestCluster, fault_of, in_time};

/// An object's desired state and what people write beside it: what must be as before.
async fn state<K>(test: &TestCluster, name: &str) -> Value
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

fn parse(fault: Value) -> Fault {
    serde_json::from_value(fault).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_selects_nobody_and_then_its_pods_again() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    test.create_service("pay").await;
    let before = state::<Service>(&test, "pay").await;
    let faults = test.faults();
    let down = fault_of(parse(json!({"serviceDown": {"service": "pay"}})));

    faults.prepare(&down).await.unwrap();
    let evidence = in_time(faults.inject(&down)).await.unwrap();
    assert!(
        evidence.ends_with("service pay has no endpoint"),
        "{evidence}"
    );
    let evidence = in_time(faults.recover(&down)).await.unwrap();
    assert!(
        evidence.ends_with("service pay has a ready endpoint"),
        "{evidence}"
    );
    assert_eq!(state::<Service>(&test, "pay").await, before);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_is_made_and_its_replicas_are_put_back() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    let before = state::<Deployment>(&test, "pay").await;
    let faults = test.faults();
    let hpa = json!({"deployment": "pay", "minReplicas": 1, "maxReplicas": 10, "cpu": 15});
    let scaling = fault_of(parse(json!({"hpa": {"create": hpa}})));

    faults.prepare(&scaling).await.unwrap();
    in_time(faults.inject(&scaling)).await.unwrap();
    let autoscalers = test.api::<HorizontalPodAutoscaler>();
    let made = autoscalers.get("pay").await.unwrap();
    assert_eq!(made.spec.unwrap().max_replicas, 10);
    test.set_replicas("pay", 7).await;
    in_time(faults.recover(&scaling)).await.unwrap();
    assert!(autoscalers.get_opt("pay").await.unwrap().is_none());
    assert_eq!(state::<Deployment>(&test, "pay").await, before);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_autoscaler_is_made_again_as_it_was() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    test.create::<HorizontalPodAutoscaler>(json!({
        "metadata": {"name": "pay", "labels": {"team": "payments"}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "pay"},
            "minReplicas": 2,
            "maxReplicas": 5,
        },
    }))
    .await;
    let before = state::<HorizontalPodAutoscaler>(&test, "pay").await;
    let faults = test.faults();
    let removal = fault_of(parse(json!({"hpa": {"remove": "pay"}})));

    faults.prepare(&removal).await.unwrap();
    in_time(faults.inject(&removal)).await.unwrap();
    let autoscalers = test.api::<HorizontalPodAutoscaler>();
    assert!(autoscalers.get_opt("pay").await.unwrap().is_none());
    in_time(faults.recover(&removal)).await.unwrap();
    assert_eq!(state::<HorizontalPodAutoscaler>(&test, "pay").await, before);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_and_images_are_set_and_put_back() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    let before = state::<Deployment>(&test, "pay").await;
    let faults = test.faults();
    let rollout = fault_of(parse(json!({"rollout": {
        "deployment": "pay", "setEnv": {"VERSION": "v2"}, "setImage": {"main": "pay:2"},
    }})));
    faults.prepare(&rollout).await.unwrap();
    in_time(faults.inject(&rollout)).await.unwrap();
    let changed = state::<Deployment>(&test, "pay").await;
    let container = &changed["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "pay:2");
    assert_eq!(
        container["env"],
        json!([{"name": "VERSION", "value": "v2"}])
    );

    let recovering = faults.recover(&rollout);
    let (evidence, ()) = tokio::join!(recovering, test.keep_ready("pay", 2));
    evidence.unwrap();
    assert_eq!(state::<Deployment>(&test, "pay").await, before);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_gets_its_values_back() {
    let test = TestCluster::start().await;
    test.create::<ConfigMap>(json!({
        "metadata": {"name": "prices"}, "data": {"chicken": "10000"},
    }))
    .await;
    let before = state::<ConfigMap>(&test, "prices").await;
    let faults = test.faults();
    let change = json!({"configMap": "prices", "set": {"chicken": "0", "beer": "1"}});
    let change = fault_of(parse(json!({"configChange": change})));
    faults.prepare(&change).await.unwrap();
    let evidence = in_time(faults.inject(&change)).await.unwrap();
    assert!(
        evidence.contains("data.chicken from 10000 to 0"),
        "{evidence}"
    );
    in_time(faults.recover(&change)).await.unwrap();
    assert_eq!(state::<ConfigMap>(&test, "prices").await, before);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_pods_are_gone_and_nothing_is_put_back() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 4).await;
    let before = test.pods("pay").await;
    let faults = test.faults();
    let kill = json!({"deployment": "pay", "count": "50%", "grace": "0s"});
    let kill = fault_of(parse(json!({"podKill": kill})));
    let undo = faults.prepare(&kill).await.unwrap();
    assert!(undo.starts_with("nothing to put back"), "{undo}");
    let evidence = in_time(faults.inject(&kill)).await.unwrap();
    assert!(evidence.starts_with("deleted pods pay-"), "{evidence}");
    let recovering = faults.recover(&kill);
    let (evidence, ()) = tokio::join!(recovering, test.keep_ready("pay", 4));
    assert!(evidence.unwrap().starts_with("4 other pods"));
    let after = test.pods("pay").await;
    assert_eq!(after.iter().filter(|pod| before.contains(pod)).count(), 2);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_cannot_do_is_refused_by_name_and_reason() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    let faults = test.faults();
    for (fault, words) in [
        (
            json!({"nodeDrain": {"node": "elsewhere"}}),
            "node default/elsewhere does not exist",
        ),
        (
            json!({"hpa": {"remove": "pay"}}),
            "horizontalpodautoscaler default/pay does not exist",
        ),
        (
            json!({"rollout": {"deployment": "pay", "setImage": {"app": "app:2"}}}),
            "container app cannot be: changed, for there is none of that name; there are main",
        ),
        (
            json!({"serviceDown": {"service": "pay"}}),
            "service default/pay does not exist",
        ),
    ] {
        let refused = faults.check(&fault_of(parse(fault))).await.unwrap_err();
        assert_eq!(refused.0, words);
    }
    assert_eq!(test.records().await, Vec::<String>::new());
    let deployments = test.api::<Deployment>().list(&ListParams::default()).await;
    assert_eq!(deployments.unwrap().items[0].name_any(), "pay");
    test.shutdown().await;
}
