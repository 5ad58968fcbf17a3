//! Definitions that are accepted, and those that are not.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Api, CustomResourceExt as _};
use serde_json::{Value, json};

use super::{Trouble, installed, trouble};
use crate::api::status_of;
use crate::cluster::{TestCluster, typed};

#[tokio::test]
async fn a_kind_is_unknown_until_it_is_defined_in_this_cluster() {
    let (test, other) = (installed().await, TestCluster::start().await);
    let here: Api<Trouble> = test.api();
    assert_eq!(here.list(&ListParams::default()).await.unwrap().items, []);
    let there: Api<Trouble> = other.api();
    assert_eq!(
        status_of(there.list(&ListParams::default()).await).code,
        404
    );
    test.cluster.shutdown().await;
    other.cluster.shutdown().await;
}

#[tokio::test]
async fn a_generated_definition_is_kept_as_it_is() {
    let test = installed().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(test.client.clone());
    let stored = definitions.get("troubles.test.holdfast.dev").await.unwrap();
    let (stored, sent) = (
        json!(stored.spec.versions),
        json!(Trouble::crd().spec.versions),
    );
    assert_eq!(stored, sent);
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn a_definition_with_bounds_is_applied_again_by_others_without_conflict() {
    let test = TestCluster::start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(test.client.clone());
    // Sent as 0.0, and kept as 0.
    let definition = Trouble::crd();
    let sent = json!(definition).to_string();
    assert!(sent.contains("\"minimum\":0.0"), "{sent}");
    let name = "troubles.test.holdfast.dev";
    let patch = Patch::Apply(&definition);
    let mut versions = Vec::new();
    for manager in ["one", "one", "two", "two"] {
        let parameters = PatchParams::apply(manager);
        let applied = definitions.patch(name, &parameters, &patch).await.unwrap();
        let established = await_condition(definitions.clone(), name, is_crd_established());
        established.await.unwrap();
        versions.push(applied.metadata.generation);
    }
    assert_eq!(versions, [Some(1); 4]);
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn a_later_default_is_shown_of_earlier_objects() {
    let test = installed().await;
    let troubles: Api<Trouble> = test.api();
    let early: Trouble = typed(trouble("early"));
    troubles
        .create(&PostParams::default(), &early)
        .await
        .unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(test.client.clone());
    let port = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/port/default";
    let operations = json!([{"op": "add", "path": port, "value": 80}]);
    let patch: Patch<()> = Patch::Json(typed(operations));
    let name = "troubles.test.holdfast.dev";
    definitions
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    let shown = troubles.get("early").await.unwrap();
    assert_eq!(shown.spec.port, Some(IntOrString::Int(80)));
    let mut events = troubles
        .watch(&WatchParams::default(), "0")
        .await
        .unwrap()
        .boxed();
    match events.try_next().await.unwrap() {
        Some(WatchEvent::Added(seen)) => assert_eq!(seen.spec.port, shown.spec.port),
        other => panic!("{other:?}"),
    }
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn each_thing_wrong_with_a_definition_is_told() {
    let test = TestCluster::start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(test.client.clone());
    let generated = json!(Trouble::crd());
    let schema = "/spec/versions/0/schema/openAPIV3Schema";
    let cases: [(&str, Value, &str); 11] = [
        ("/metadata/name", json!("x"), "metadata.name: Invalid value"),
        (
            "/spec/scope",
            json!("Planet"),
            "spec.scope: Unsupported value",
        ),
        ("/spec/group", json!("nodot"), "spec.group: Invalid value"),
        (
            "/spec/names/kind",
            json!("no kind"),
            "spec.names.kind: Invalid value",
        ),
        (
            "/spec/versions/0/storage",
            json!(false),
            "exactly one version marked as storage",
        ),
        (
            "/spec/versions/0/schema",
            Value::Null,
            "schemas are required",
        ),
        (
            schema,
            json!({"properties": {}}),
            "must not be empty at the root",
        ),
        (
            schema,
            json!({"type": "object", "properties": {"spec": {"type": "object", "oneOf": [{"required": ["a"], "properties": {"a": {}}}]}}}),
            "properties[spec].properties[a]: Required value: because it is defined in",
        ),
        (
            schema,
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "true"}]}),
            "rules in CEL are not supported by the local cluster",
        ),
        (
            schema,
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            "must be a valid regular expression",
        ),
        (
            schema,
            json!({"type": "object", "properties": {"a": {"type": "integer", "default": "one"}}}),
            "must be of type integer",
        ),
    ];
    for (place, value, complaint) in cases {
        let mut wrong = generated.clone();
        *wrong.pointer_mut(place).unwrap() = value;
        let wrong: CustomResourceDefinition = typed(wrong);
        let refused = status_of(definitions.create(&PostParams::default(), &wrong).await);
        assert_eq!(refused.code, 422, "{place}");
        assert!(
            refused.message.contains(complaint),
            "{place}: {}",
            refused.message
        );
    }
    test.cluster.shutdown().await;
}
