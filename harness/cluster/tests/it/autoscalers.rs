//! Autoscalers and metrics over the API, without a node: versions, checks, columns, and what an
//! autoscaler says that has nothing to measure.

use std::time::Duration;

use holdfast_cluster::{AutoscalingOptions, Options};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::{v1, v2};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use crate::cluster::{DEADLINE, TestCluster, deployment, typed};
use crate::custom::{Trouble, install, trouble};
use crate::kubectl::Kubectl;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

fn autoscaler(version: &str, spec: &Value) -> Value {
    let mut autoscaler = json!({
        "apiVersion": format!("autoscaling/{version}"),
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "maxReplicas": 5,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        },
    });
    for (field, value) in spec.as_object().unwrap() {
        autoscaler["spec"][field] = value.clone();
    }
    autoscaler
}

#[tokio::test]
async fn both_versions_show_the_same_autoscaler() {
    let test = TestCluster::start().await;
    let old: Api<v1::HorizontalPodAutoscaler> = test.api();
    let new: Api<v2::HorizontalPodAutoscaler> = test.api();
    let given = autoscaler("v1", &json!({"targetCPUUtilizationPercentage": 50}));
    let created = old
        .create(&PostParams::default(), &typed(given))
        .await
        .unwrap();
    let spec = created.spec.unwrap();
    assert_eq!(spec.target_cpu_utilization_percentage, Some(50));
    assert_eq!(spec.min_replicas, Some(1));
    let spec = new.get("web").await.unwrap().spec.unwrap();
    let metrics = serde_json::to_value(spec.metrics).unwrap();
    assert_eq!(
        metrics,
        json!([{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50},
        }}])
    );

    let patch =
        Patch::Merge(json!({"spec": {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}}));
    new.patch("web", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let annotations = old.get("web").await.unwrap().metadata.annotations.unwrap();
    assert!(
        annotations[BEHAVIOR].contains("Disabled"),
        "{annotations:?}"
    );

    // A change in the old version keeps what only the new one can say.
    let patch = Patch::Merge(json!({"spec": {"targetCPUUtilizationPercentage": 70}}));
    let patched = old
        .patch("web", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert!(!patched.metadata.annotations.unwrap().contains_key(METRICS));
    let spec = new.get("web").await.unwrap().spec.unwrap();
    let target = spec.metrics.unwrap()[0].resource.clone().unwrap().target;
    assert_eq!(target.average_utilization, Some(70));
    let down = spec.behavior.unwrap().scale_down.unwrap();
    assert_eq!(down.select_policy.as_deref(), Some("Disabled"));
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn an_applied_autoscaler_of_the_old_version_is_kept_in_the_new_one() {
    let test = TestCluster::start().await;
    let old: Api<v1::HorizontalPodAutoscaler> = test.api();
    let parameters = PatchParams::apply("someone");
    for percent in [50, 60] {
        let given = autoscaler("v1", &json!({"targetCPUUtilizationPercentage": percent}));
        let applied = old
            .patch("web", &parameters, &Patch::Apply(&given))
            .await
            .unwrap();
        let spec = applied.spec.unwrap();
        assert_eq!(spec.target_cpu_utilization_percentage, Some(percent));
    }
    let new: Api<v2::HorizontalPodAutoscaler> = test.api();
    let metrics = new.get("web").await.unwrap().spec.unwrap().metrics.unwrap();
    assert_eq!(metrics.len(), 1);
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_measured_is_refused_by_its_field() {
    let test = TestCluster::start().await;
    let new: Api<v2::HorizontalPodAutoscaler> = test.api();
    let pods = json!([{"type": "Pods", "pods": {"metric": {"name": "requests"}, "target": {"type": "AverageValue", "averageValue": 10}}}]);
    let given = autoscaler("v2", &json!({"minReplicas": 0, "metrics": pods}));
    let refused = new.create(&PostParams::default(), &typed(given)).await;
    let Err(kube::Error::Api(status)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(status.code, 422);
    let causes = status.details.clone().unwrap().causes;
    let fields: Vec<_> = causes.into_iter().map(|cause| cause.field).collect();
    assert_eq!(fields, ["spec.minReplicas", "spec.metrics[0].type"]);
    assert!(
        status
            .message
            .contains("not supported by the local cluster")
    );
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn metrics_can_be_read_only() {
    let test = TestCluster::start().await;
    let path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";
    let list = http::Request::get(path).body(Vec::new()).unwrap();
    let list: Value = test.client.request(list).await.unwrap();
    assert_eq!(
        (&list["kind"], &list["items"]),
        (&json!("PodMetricsList"), &json!([]))
    );
    let code = async |request: http::Request<Vec<u8>>| {
        let answered = test.client.request::<Value>(request).await;
        match answered {
            Err(kube::Error::Api(status)) => status.code,
            other => panic!("{other:?}"),
        }
    };
    let missing = http::Request::get(format!("{path}/web"))
        .body(Vec::new())
        .unwrap();
    assert_eq!(code(missing).await, 404);
    let watch = http::Request::get(format!("{path}?watch=1"))
        .body(Vec::new())
        .unwrap();
    assert_eq!(code(watch).await, 405);
    let create = http::Request::post(path).body(b"{}".to_vec()).unwrap();
    assert_eq!(code(create).await, 405);
    test.cluster.shutdown().await;
}

/// A cluster whose autoscalers decide soon.
async fn hurried() -> TestCluster {
    TestCluster::with(Options {
        autoscaling: AutoscalingOptions {
            sync_period: Duration::from_millis(200),
            ..AutoscalingOptions::default()
        },
        ..Options::default()
    })
    .await
}

/// Waits until the autoscaler says this.
async fn until(test: &TestCluster, type_: &str, status: &str, reason: &str) {
    let reached = |found: Option<&v2::HorizontalPodAutoscaler>| {
        let condition = found.and_then(|found| condition(found, type_));
        condition.is_some_and(|(is, why)| (is.as_str(), why.as_str()) == (status, reason))
    };
    let waiting = await_condition(test.api::<v2::HorizontalPodAutoscaler>(), "web", reached);
    let reached = tokio::time::timeout(DEADLINE, waiting).await;
    reached
        .expect("the autoscaler did not say so in time")
        .unwrap();
}

/// The autoscaler's condition of this type: status and reason.
fn condition(autoscaler: &v2::HorizontalPodAutoscaler, type_: &str) -> Option<(String, String)> {
    let conditions = autoscaler.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|known| known.type_ == type_)?;
    Some((found.status.clone(), found.reason.clone()?))
}

#[tokio::test]
async fn an_autoscaler_without_measurements_says_so() {
    let test = hurried().await;
    let emulations = test.cluster.emulations().join("\n");
    assert!(
        emulations.contains("sync period 200ms instead of 15s"),
        "{emulations}"
    );
    let new: Api<v2::HorizontalPodAutoscaler> = test.api();
    new.create(&PostParams::default(), &typed(autoscaler("v2", &json!({}))))
        .await
        .unwrap();
    let until = async |type_, status, reason| until(&test, type_, status, reason).await;
    until("AbleToScale", "False", "FailedGetScale").await;
    let deployments: Api<Deployment> = test.api();
    deployments
        .create(&PostParams::default(), &typed(deployment("web", 7)))
        .await
        .unwrap();
    // More replicas than permitted need no measurement.
    test.wait_for_deployment("web", |web| {
        web.spec.as_ref().and_then(|spec| spec.replicas) == Some(5)
    })
    .await;
    until("ScalingActive", "False", "FailedGetResourceMetric").await;
    if let Some(kubectl) = Kubectl::find(&test.cluster.kubeconfig()).await {
        let printed = kubectl.run(&["get", "hpa"]).await;
        let rows: Vec<Vec<&str>> = printed
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows[0],
            [
                "NAME",
                "REFERENCE",
                "TARGETS",
                "MINPODS",
                "MAXPODS",
                "REPLICAS",
                "AGE"
            ]
        );
        assert_eq!(
            rows[1][..7],
            [
                "web",
                "Deployment/web",
                "cpu:",
                "<unknown>/80%",
                "1",
                "5",
                "5"
            ]
        );
        let described = kubectl.run(&["describe", "hpa", "web"]).await;
        assert!(described.contains("FailedGetResourceMetric"), "{described}");
        assert!(described.contains("SuccessfulRescale"), "{described}");
    }
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn kubectl_autoscales_and_reads_both_versions() {
    let test = TestCluster::start().await;
    let Some(kubectl) = Kubectl::find(&test.cluster.kubeconfig()).await else {
        return;
    };
    let deployments: Api<Deployment> = test.api();
    deployments
        .create(&PostParams::default(), &typed(deployment("web", 1)))
        .await
        .unwrap();
    let autoscale = [
        "autoscale",
        "deployment",
        "web",
        "--cpu-percent=50",
        "--min=1",
        "--max=5",
    ];
    let printed = kubectl.run(&autoscale).await;
    assert_eq!(
        printed,
        "horizontalpodautoscaler.autoscaling/web autoscaled\n"
    );
    let printed = kubectl
        .run(&[
            "get",
            "horizontalpodautoscalers.v1.autoscaling",
            "web",
            "-o",
            "yaml",
        ])
        .await;
    assert!(printed.contains("apiVersion: autoscaling/v1"), "{printed}");
    assert!(
        printed.contains("targetCPUUtilizationPercentage: 50"),
        "{printed}"
    );
    let printed = kubectl.run(&["get", "hpa", "web", "-o", "yaml"]).await;
    assert!(printed.contains("apiVersion: autoscaling/v2"), "{printed}");
    let printed = kubectl.run(&["get", "hpa"]).await;
    assert!(printed.contains("cpu: <unknown>/50%"), "{printed}");
    let manifest = autoscaler("v1", &json!({"targetCPUUtilizationPercentage": 60}));
    let manifest = test.write("hpa.json", &manifest.to_string());
    let apply = ["apply", "-f", manifest.to_str().unwrap()];
    kubectl.run(&apply).await;
    let again = kubectl.run(&apply).await;
    assert_eq!(again, "horizontalpodautoscaler.autoscaling/web unchanged\n");
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn custom_objects_are_scaled_where_their_definition_says() {
    let test = hurried().await;
    install(&test).await;
    let troubles: Api<Trouble> = test.api();
    let mut seven = trouble("web");
    seven["spec"]["replicas"] = 7.into();
    troubles
        .create(&PostParams::default(), &typed(seven))
        .await
        .unwrap();
    // Of the API version only the group counts.
    let target = json!({"apiVersion": "test.holdfast.dev/other", "kind": "Trouble", "name": "web"});
    let given = autoscaler("v2", &json!({"scaleTargetRef": target}));
    let new: Api<v2::HorizontalPodAutoscaler> = test.api();
    new.create(&PostParams::default(), &typed(given))
        .await
        .unwrap();
    let five = |found: Option<&Trouble>| found.is_some_and(|found| found.spec.replicas == 5);
    let scaled = tokio::time::timeout(DEADLINE, await_condition(troubles, "web", five)).await;
    scaled
        .expect("it should be scaled down to the most")
        .unwrap();
    // It does not say which pods are its own.
    until(&test, "ScalingActive", "False", "InvalidSelector").await;
    test.cluster.shutdown().await;
}
