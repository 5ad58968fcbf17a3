//! Objects of a defined kind, over the API.

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::{Trouble, installed, trouble};
use crate::api::status_of;
use crate::cluster::{DEADLINE, typed};

/// Creates an object which need not be one.
async fn create(test: &crate::cluster::TestCluster, object: &Value) -> kube::Result<Value> {
    let path =
        "/apis/test.holdfast.dev/v1alpha1/namespaces/default/troubles?fieldValidation=Strict";
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    test.client.request(request).await
}

#[tokio::test]
async fn objects_have_defaults_generations_and_a_status_apart() {
    let test = installed().await;
    let troubles: Api<Trouble> = test.api();
    let created = create(&test, &trouble("a")).await.unwrap();
    assert_eq!(
        created["spec"],
        json!({"target": "pay", "replicas": 1, "severity": "Low"})
    );
    assert_eq!(created["metadata"]["generation"], 1);

    let status = json!({"status": {"conditions": [{"type": "Done", "status": "True"}]}, "spec": {"target": "app"}});
    let params = PatchParams::default();
    let patched = troubles
        .patch_status("a", &params, &Patch::Merge(&status))
        .await
        .unwrap();
    assert_eq!(patched.spec.target, "pay");
    assert_eq!(patched.metadata.generation, Some(1));
    assert_eq!(patched.status.clone().unwrap().conditions[0].kind, "Done");

    let change = json!({"spec": {"replicas": 3}, "status": null});
    let changed = troubles
        .patch("a", &params, &Patch::Merge(&change))
        .await
        .unwrap();
    assert_eq!(
        (changed.spec.replicas, changed.metadata.generation),
        (3, Some(2))
    );
    assert_eq!(changed.status, patched.status);

    let stale = status_of(
        troubles
            .replace("a", &PostParams::default(), &patched)
            .await,
    );
    assert_eq!((stale.code, stale.reason.as_str()), (409, "Conflict"));
    let operations = json!([{"op": "replace", "path": "/spec/severity", "value": "High"}]);
    let patch: Patch<()> = Patch::Json(typed(operations));
    troubles.patch("a", &params, &patch).await.unwrap();
    let strategic = Patch::Strategic(json!({"spec": {"replicas": 4}}));
    assert_eq!(
        status_of(troubles.patch("a", &params, &strategic).await).code,
        415
    );
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn what_the_schema_forbids_is_refused_by_field() {
    let test = installed().await;
    let mut wrong = trouble("a");
    wrong["spec"] = json!({
        "target": "Pay",
        "replicas": 11,
        "severity": "Medium",
        "port": true,
        "labels": {"x": 1},
        "steps": [{"name": "a"}, {"name": "a"}, {}],
    });
    let refused = status_of(create(&test, &wrong).await);
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    let causes = refused.details.unwrap().causes;
    let mut causes: Vec<_> = causes
        .iter()
        .map(|cause| format!("{}: {}", cause.field, cause.message))
        .collect();
    causes.sort();
    assert_eq!(
        causes,
        [
            "spec.labels.x: Invalid value: \"integer\": spec.labels.x in body must be of type string: \"integer\"",
            "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
            "spec.severity: Unsupported value: \"Medium\": supported values: \"Low\", \"High\"",
            "spec.steps[1]: Duplicate value: {\"name\":\"a\"}",
            "spec.steps[2].name: Required value",
            "spec.target: Invalid value: \"Pay\": spec.target in body should match '^[a-z]+$'",
        ]
    );
    let mut two = trouble("a");
    two["spec"]["kind"] = json!({"kill": {"signal": "TERM"}, "delay": {"milliseconds": 1}});
    let refused = status_of(create(&test, &two).await);
    assert!(
        refused
            .message
            .contains("(oneOf). Found 2 valid alternatives"),
        "{}",
        refused.message
    );
    let mut unknown = trouble("a");
    unknown["spec"]["targets"] = json!([]);
    unknown["metadata"]["labls"] = json!({});
    let refused = status_of(create(&test, &unknown).await);
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (
            400,
            "Trouble in version \"v1alpha1\" cannot be handled as a Trouble: strict decoding error: unknown field \"metadata.labls\", unknown field \"spec.targets\""
        )
    );
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn lists_select_and_watches_end_with_the_definition() {
    let test = installed().await;
    let troubles: Api<Trouble> = test.api();
    for name in ["a", "b"] {
        let mut object = trouble(name);
        object["spec"]["target"] = format!("target{name}").into();
        create(&test, &object).await.unwrap();
    }
    let selected = ListParams::default().fields("spec.target=targetb");
    let listed = troubles.list(&selected).await.unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|found| found.name_any())
            .collect::<Vec<_>>(),
        ["b"]
    );
    let refused = ListParams::default().fields("spec.replicas=1");
    assert_eq!(status_of(troubles.list(&refused).await).code, 400);

    let events = troubles.watch(&WatchParams::default(), "0").await.unwrap();
    let name = "troubles.test.holdfast.dev";
    let definitions: Api<
        k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    > = Api::all(test.client.clone());
    let mut events = events.boxed();
    for _ in 0..2 {
        assert!(matches!(
            events.try_next().await.unwrap(),
            Some(WatchEvent::Added(_))
        ));
    }
    definitions
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    let rest: Vec<_> = tokio::time::timeout(DEADLINE, events.try_collect())
        .await
        .expect("the watch did not end")
        .unwrap();
    let deleted = rest
        .iter()
        .filter(|event| matches!(event, WatchEvent::Deleted(_)));
    assert_eq!((deleted.count(), rest.len()), (2, 2), "{rest:?}");
    assert_eq!(
        status_of(troubles.list(&ListParams::default()).await).code,
        404
    );

    super::install(&test).await;
    assert_eq!(
        troubles.list(&ListParams::default()).await.unwrap().items,
        []
    );
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn owners_and_namespaces_take_their_objects_along() {
    let test = installed().await;
    let troubles: Api<Trouble> = test.api();
    let owner = create(&test, &trouble("owner")).await.unwrap();
    let mut owned = trouble("owned");
    owned["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "test.holdfast.dev/v1alpha1", "kind": "Trouble", "name": "owner",
        "uid": owner["metadata"]["uid"],
    }]);
    create(&test, &owned).await.unwrap();
    let gone = |troubles: &Api<Trouble>, name| {
        kube::runtime::wait::await_condition(troubles.clone(), name, |found: Option<&Trouble>| {
            found.is_none()
        })
    };
    troubles
        .delete("owner", &DeleteParams::default())
        .await
        .unwrap();
    tokio::time::timeout(DEADLINE, gone(&troubles, "owned"))
        .await
        .unwrap()
        .unwrap();
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(test.client.clone());
    let shop = typed(json!({"metadata": {"name": "shop"}}));
    namespaces
        .create(&PostParams::default(), &shop)
        .await
        .unwrap();
    let in_shop: Api<Trouble> = Api::namespaced(test.client.clone(), "shop");
    in_shop
        .create(&PostParams::default(), &typed(trouble("left")))
        .await
        .unwrap();
    namespaces
        .delete("shop", &DeleteParams::default())
        .await
        .unwrap();
    tokio::time::timeout(DEADLINE, gone(&in_shop, "left"))
        .await
        .unwrap()
        .unwrap();
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn managers_share_a_list_whose_elements_have_keys() {
    let test = installed().await;
    let troubles: Api<Trouble> = test.api();
    create(&test, &trouble("a")).await.unwrap();
    let apply = async |manager: &str, steps: Value| {
        let mut object = trouble("a");
        object["spec"] = json!({"steps": steps});
        let params = PatchParams::apply(manager);
        troubles.patch("a", &params, &Patch::Apply(object)).await
    };
    let names = |found: &Trouble| -> Vec<String> {
        let steps = found.spec.steps.iter();
        steps.map(|step| step.name.clone()).collect()
    };
    apply("one", json!([{"name": "x"}, {"name": "y", "seconds": 1}]))
        .await
        .unwrap();
    let both = apply("two", json!([{"name": "z"}])).await.unwrap();
    assert_eq!(names(&both), ["x", "y", "z"]);
    let refused = status_of(apply("two", json!([{"name": "y", "seconds": 2}])).await);
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    let left = apply("one", json!([{"name": "y", "seconds": 1}]))
        .await
        .unwrap();
    assert_eq!(names(&left), ["y", "z"]);
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn the_scale_is_where_the_definition_says() {
    let test = installed().await;
    let troubles: Api<Trouble> = test.api();
    create(&test, &trouble("a")).await.unwrap();
    let status = json!({"status": {"replicas": 2, "selector": "app=a", "conditions": []}});
    let params = PatchParams::default();
    troubles
        .patch_status("a", &params, &Patch::Merge(&status))
        .await
        .unwrap();
    let change = Patch::Merge(json!({"spec": {"replicas": 5}}));
    let scale = troubles.patch_scale("a", &params, &change).await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(5));
    let shown = scale.status.unwrap();
    assert_eq!(
        (shown.replicas, shown.selector.as_deref()),
        (2, Some("app=a"))
    );
    assert_eq!(troubles.get("a").await.unwrap().spec.replicas, 5);
    let above = Patch::Merge(json!({"spec": {"replicas": 11}}));
    assert_eq!(
        status_of(troubles.patch_scale("a", &params, &above).await).code,
        422
    );
    test.cluster.shutdown().await;
}
