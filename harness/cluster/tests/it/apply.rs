//! Server-side apply: kube-rs and kubectl, with several managers.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::{TestCluster, deployment, typed};
use crate::kubectl::Kubectl;

fn status_of<T: std::fmt::Debug>(outcome: kube::Result<T>) -> kube::core::Status {
    match outcome {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("expected an API error, got {other:?}"),
    }
}

/// Operation, manager and subresource of each entry.
fn managers(entries: &[ManagedFieldsEntry]) -> Vec<String> {
    let text = |entry: &ManagedFieldsEntry| {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let words = [
            part(&entry.operation),
            part(&entry.manager),
            part(&entry.subresource),
        ];
        words.join(" ").trim_end().to_owned()
    };
    entries.iter().map(text).collect()
}

async fn applied(
    deployments: &Api<Deployment>,
    object: &Value,
    params: PatchParams,
) -> kube::Result<Deployment> {
    let patch = Patch::Apply(object);
    deployments.patch("web", &params, &patch).await
}

#[tokio::test]
async fn the_status_and_the_scale_have_managers_of_their_own() {
    let test = TestCluster::start().await;
    let deployments: Api<Deployment> = test.api();
    applied(
        &deployments,
        &deployment("web", 2),
        PatchParams::apply("one"),
    )
    .await
    .unwrap();
    test.wait_for_deployment("web", |web| {
        web.status
            .as_ref()
            .is_some_and(|status| status.replicas == Some(2))
    })
    .await;
    let scale = Patch::Merge(json!({"spec": {"replicas": 3}}));
    let params = PatchParams {
        field_manager: Some("scaler".to_owned()),
        ..PatchParams::default()
    };
    deployments
        .patch_scale("web", &params, &scale)
        .await
        .unwrap();
    let scaled = deployments.get("web").await.unwrap();
    let mut found = managers(scaled.managed_fields());
    found.sort();
    assert_eq!(
        found,
        [
            "Apply one",
            "Update kube-controller-manager status",
            "Update scaler scale"
        ]
    );

    let refused = status_of(
        applied(
            &deployments,
            &deployment("web", 2),
            PatchParams::apply("one"),
        )
        .await,
    );
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    let mut without = deployment("web", 2);
    without["spec"].as_object_mut().unwrap().remove("replicas");
    let shared = applied(&deployments, &without, PatchParams::apply("one"))
        .await
        .unwrap();
    assert_eq!(
        shared.spec.unwrap().replicas,
        Some(3),
        "the scaler keeps it"
    );

    let status = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "status": {"conditions": [{"type": "Mine", "status": "True"}]},
    });
    let params = PatchParams::apply("two");
    let applied = deployments
        .patch_status("web", &params, &Patch::Apply(&status))
        .await
        .unwrap();
    assert!(managers(applied.managed_fields()).contains(&"Apply two status".to_owned()));
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn a_scale_is_applied_for_its_workload() {
    let test = TestCluster::start().await;
    let deployments: Api<Deployment> = test.api();
    applied(
        &deployments,
        &deployment("web", 2),
        PatchParams::apply("one"),
    )
    .await
    .unwrap();
    let scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"},
        "spec": {"replicas": 4},
    });
    let patch = Patch::Apply(&scale);
    let params = PatchParams::apply("two");
    let refused = status_of(deployments.patch_scale("web", &params, &patch).await);
    assert_eq!(refused.code, 409);
    let scaled = deployments
        .patch_scale("web", &params.force(), &patch)
        .await
        .unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(4));
    let found = deployments.get("web").await.unwrap();
    assert!(managers(found.managed_fields()).contains(&"Apply two scale".to_owned()));
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn an_apply_that_cannot_be_meant_is_refused() {
    let test = TestCluster::start().await;
    let maps: Api<ConfigMap> = test.api();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let with = |pointer: &str, value: Value| {
        let mut map = map.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        map.pointer_mut(parent).unwrap()[field] = value;
        map
    };
    let one = PatchParams::apply("one");
    let nobody = PatchParams::default();
    let cases = [
        (map.clone(), &nobody, 422, "fieldManager: Required value"),
        (
            with("/metadata/managedFields", json!([])),
            &one,
            400,
            "managedFields must be nil",
        ),
        (
            with("/apiVersion", "v2".into()),
            &one,
            400,
            "Incorrect version",
        ),
        (
            with("/metadata/name", "b".into()),
            &one,
            400,
            "does not match",
        ),
        (
            with("/dat", json!({})),
            &one,
            400,
            ".dat: field not declared in schema",
        ),
        (
            with("/metadata/resourceVersion", "1".into()),
            &one,
            409,
            "resourceVersion",
        ),
        (with("/metadata/uid", "1".into()), &one, 409, "uid"),
    ];
    for (object, params, code, part) in cases {
        let refused = status_of(maps.patch("a", params, &Patch::Apply(&object)).await);
        assert_eq!(refused.code, code, "{}", refused.message);
        assert!(refused.message.contains(part), "{}", refused.message);
    }
    maps.patch("a", &one, &Patch::Apply(&map)).await.unwrap();
    let stale = with("/metadata/resourceVersion", "1".into());
    let refused = status_of(maps.patch("a", &one, &Patch::Apply(&stale)).await);
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn applying_the_same_again_writes_nothing_and_a_dry_run_neither() {
    let test = TestCluster::start().await;
    let deployments: Api<Deployment> = test.api();
    let one = PatchParams::apply("one");
    let created = applied(&deployments, &deployment("web", 0), one.clone())
        .await
        .unwrap();
    let settled = test
        .wait_for_deployment("web", |web| {
            let status = web.status.as_ref();
            status.and_then(|status| status.observed_generation) == created.metadata.generation
        })
        .await;
    let again = applied(&deployments, &deployment("web", 0), one.clone())
        .await
        .unwrap();
    assert_eq!(again.managed_fields()[0], settled.managed_fields()[0]);
    assert_eq!(again.metadata.generation, settled.metadata.generation);

    let dry = applied(&deployments, &deployment("web", 7), one.dry_run())
        .await
        .unwrap();
    assert_eq!(dry.spec.unwrap().replicas, Some(7));
    let found = deployments.get("web").await.unwrap();
    assert_eq!(found.spec.unwrap().replicas, Some(0));
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn managers_are_forgotten_when_a_client_asks_for_it() {
    let test = TestCluster::start().await;
    let maps: Api<ConfigMap> = test.api();
    let map = typed(json!({"metadata": {"name": "a"}, "data": {"x": "1"}}));
    let params = PostParams {
        field_manager: Some("creator".to_owned()),
        ..PostParams::default()
    };
    let created = maps.create(&params, &map).await.unwrap();
    assert_eq!(managers(created.managed_fields()), ["Update creator"]);
    let reset = Patch::Merge(json!({"metadata": {"managedFields": [{}]}}));
    let params = PatchParams::default();
    let forgotten = maps.patch("a", &params, &reset).await.unwrap();
    assert!(forgotten.managed_fields().is_empty());
    let wrong = Patch::Merge(json!({"metadata": {"managedFields": [{"operation": "Eat"}]}}));
    let refused = status_of(maps.patch("a", &params, &wrong).await);
    assert_eq!(refused.code, 422);
    let cause = &refused.details.unwrap().causes[0];
    assert_eq!(cause.field, "metadata.managedFields[0].operation");
    test.cluster.shutdown().await;
}

const SELECTOR: &str = "jsonpath={.metadata.managedFields[*].manager}";

#[tokio::test]
async fn kubectl_moves_from_client_side_to_server_side_apply() {
    let test = TestCluster::start().await;
    let Some(kubectl) = Kubectl::find(&test.cluster.kubeconfig()).await else {
        return test.cluster.shutdown().await;
    };
    let mut manifest = deployment("web", 0);
    let file = test.write("web.yaml", &manifest.to_string());
    let file = file.to_str().unwrap();
    kubectl.run(&["apply", "-f", file]).await;
    let get = [
        "get",
        "deploy",
        "web",
        "--show-managed-fields",
        "-o",
        SELECTOR,
    ];
    let before = kubectl.run(&get).await;
    assert!(before.contains("kubectl-client-side-apply"), "{before}");

    // What client-side apply had set is kubectl's own: no conflict.
    manifest["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2".into();
    test.write("web.yaml", &manifest.to_string());
    let apply = ["apply", "--server-side", "-f", file];
    kubectl.run(&apply).await;
    let after = kubectl.run(&get).await;
    assert!(!after.contains("kubectl-client-side-apply"), "{after}");
    assert!(after.contains("kubectl-last-applied"), "{after}");
    let view = kubectl
        .run(&["apply", "view-last-applied", "deploy", "web"])
        .await;
    assert!(view.contains("web:2"), "{view}");

    // What kubectl owned by client-side apply goes when it is dropped.
    let container = &mut manifest["spec"]["template"]["spec"]["containers"][0];
    container.as_object_mut().unwrap().remove("env");
    test.write("web.yaml", &manifest.to_string());
    let difference = kubectl.output(&["diff", "--server-side", "-f", file]).await;
    let difference = String::from_utf8_lossy(&difference.stdout).into_owned();
    assert!(difference.contains("-        - name: A"), "{difference}");
    kubectl.run(&apply).await;
    let env = "jsonpath={.spec.template.spec.containers[0].env}";
    assert_eq!(kubectl.run(&["get", "deploy", "web", "-o", env]).await, "");
    kubectl.run(&["diff", "--server-side", "-f", file]).await;

    kubectl.run(&["scale", "deploy/web", "--replicas=1"]).await;
    let refused = kubectl.fail(&apply).await;
    assert!(
        refused.contains("conflict with \"kubectl\" with subresource \"scale\""),
        "{refused}"
    );
    kubectl
        .run(&["apply", "--server-side", "--force-conflicts", "-f", file])
        .await;
    let replicas = "jsonpath={.spec.replicas}";
    assert_eq!(
        kubectl.run(&["get", "deploy", "web", "-o", replicas]).await,
        "0"
    );
    test.cluster.shutdown().await;
}
