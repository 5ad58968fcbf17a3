//! Objects of a defined kind, with the real kubectl.

use kube::CustomResourceExt as _;
use serde_json::json;

use super::{Trouble, trouble};
use crate::cluster::TestCluster;
use crate::kubectl::{Kubectl, header};

#[tokio::test]
async fn a_defined_kind_is_one_like_any_other() {
    let test = TestCluster::start().await;
    let Some(kubectl) = Kubectl::find(&test.cluster.kubeconfig()).await else {
        return test.cluster.shutdown().await;
    };
    let definition = json!(Trouble::crd());
    let file = test.write("definition.json", &definition.to_string());
    let file = file.to_str().unwrap();
    kubectl.run(&["apply", "-f", file]).await;
    let name = "crd/troubles.test.holdfast.dev";
    kubectl
        .run(&["wait", "--for=condition=Established", name, "--timeout=30s"])
        .await;
    assert_eq!(
        kubectl.run(&["apply", "-f", file]).await,
        "customresourcedefinition.apiextensions.k8s.io/troubles.test.holdfast.dev unchanged\n"
    );
    assert_eq!(
        header(&kubectl.run(&["get", "crd"]).await),
        ["NAME", "CREATED", "AT"]
    );

    let mut object = trouble("a");
    object["metadata"]["annotations"] = json!({"test.dev/note": "noted"});
    object["spec"]["steps"] = json!([{"name": "one"}]);
    let manifest = test.write("a.yaml", &object.to_string());
    let manifest = manifest.to_str().unwrap();
    let apply = ["apply", "-f", manifest];
    assert_eq!(
        kubectl.run(&apply).await,
        "trouble.test.holdfast.dev/a created\n"
    );
    assert_eq!(
        kubectl.run(&apply).await,
        "trouble.test.holdfast.dev/a unchanged\n"
    );

    let printed = kubectl.run(&["get", "tr"]).await;
    assert_eq!(
        header(&printed),
        ["NAME", "TARGET", "REPLICAS", "PHASE", "AGE"]
    );
    let row: Vec<_> = printed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..3], ["a", "pay", "1"]);
    let wide = kubectl.run(&["get", "troubles", "-o", "wide"]).await;
    assert_eq!(
        header(&wide),
        ["NAME", "TARGET", "REPLICAS", "PHASE", "NOTE", "AGE"]
    );
    assert!(
        kubectl
            .run(&["get", "all"])
            .await
            .contains("trouble.test.holdfast.dev/a")
    );
    assert!(
        kubectl
            .run(&["describe", "trouble", "a"])
            .await
            .contains("Target:  ")
    );
    assert!(kubectl.run(&["api-resources"]).await.contains("troubles"));

    kubectl
        .run(&[
            "patch",
            "tr",
            "a",
            "--type=merge",
            "-p",
            r#"{"spec":{"replicas":2}}"#,
        ])
        .await;
    kubectl.run(&["scale", "tr/a", "--replicas=4"]).await;
    let status = r#"{"status":{"conditions":[{"type":"Done","status":"True"}]}}"#;
    kubectl
        .run(&[
            "patch",
            "tr",
            "a",
            "--subresource=status",
            "--type=merge",
            "-p",
            status,
        ])
        .await;
    let columns = "jsonpath={.spec.replicas} {.metadata.generation} {.status.conditions[0].status}";
    assert_eq!(
        kubectl.run(&["get", "tr", "a", "-o", columns]).await,
        "4 3 True"
    );
    kubectl
        .run(&["wait", "--for=condition=Done", "tr/a", "--timeout=30s"])
        .await;

    object["spec"]["replicas"] = json!(50);
    let refused = test.write("wrong.json", &object.to_string());
    let refused = kubectl
        .fail(&["apply", "-f", refused.to_str().unwrap()])
        .await;
    let complaint = "spec.replicas in body should be less than or equal to 10";
    assert!(refused.contains(complaint), "{refused}");
    object["spec"]["replica"] = json!(1);
    let unknown = test.write("unknown.json", &object.to_string());
    let unknown = kubectl
        .fail(&["apply", "-f", unknown.to_str().unwrap()])
        .await;
    assert!(
        unknown.contains("strict decoding error: unknown field \"spec.replica\""),
        "{unknown}"
    );

    kubectl
        .run(&[
            "apply",
            "--server-side",
            "--field-manager=b",
            "--force-conflicts",
            "-f",
            manifest,
        ])
        .await;
    kubectl.run(&["delete", "tr", "a"]).await;
    kubectl.run(&["delete", name]).await;
    let gone = kubectl.fail(&["get", "troubles"]).await;
    assert!(
        gone.contains("the server could not find the requested resource"),
        "{gone}"
    );
    test.cluster.shutdown().await;
}
