//! Kinds of our own: defined by a type, installed, used like built-in ones.

mod api;
mod controller;
mod definitions;
mod kubectl;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::PostParams;
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Api, CustomResource, CustomResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cluster::{DEADLINE, TestCluster};

/// A trouble made on purpose.
#[expect(clippy::duplicated_attributes, reason = "several columns are texts")]
#[derive(CustomResource, Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "test.holdfast.dev",
    version = "v1alpha1",
    kind = "Trouble",
    plural = "troubles",
    shortname = "tr",
    category = "all",
    namespaced,
    status = "TroubleStatus",
    derive = "PartialEq",
    selectable = ".spec.target",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Done\")].status"
    ),
    printcolumn(
        name = "Note",
        type_ = "string",
        json_path = ".metadata.annotations.test\\.dev/note",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TroubleSpec {
    #[schemars(length(min = 1, max = 20), regex(pattern = "^[a-z]+$"))]
    pub(crate) target: String,
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 10))]
    pub(crate) replicas: i32,
    #[serde(default)]
    pub(crate) severity: Severity,
    /// How it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int_or_string")]
    pub(crate) port: Option<IntOrString>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub(crate) steps: Vec<Step>,
}

fn int_or_string(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"x-kubernetes-int-or-string": true})
}

fn one() -> i32 {
    1
}

#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Severity {
    #[default]
    Low,
    High,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// Ends pods.
    Kill { signal: String },
    /// Slows pods down.
    Delay { milliseconds: u32 },
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Step {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<u32>,
}

#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct TroubleStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replicas: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) selector: Option<String>,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
}

/// An object of the test's kind, as JSON.
pub(crate) fn trouble(name: &str) -> Value {
    json!({
        "apiVersion": "test.holdfast.dev/v1alpha1",
        "kind": "Trouble",
        "metadata": {"name": name},
        "spec": {"target": "pay"},
    })
}

/// A cluster which serves the test's kind.
pub(crate) async fn installed() -> TestCluster {
    let test = TestCluster::start().await;
    install(&test).await;
    test
}

/// Lets a cluster serve the test's kind.
pub(crate) async fn install(test: &TestCluster) {
    let definitions: Api<CustomResourceDefinition> = Api::all(test.client.clone());
    let created = definitions
        .create(&PostParams::default(), &Trouble::crd())
        .await
        .unwrap();
    let name = created.metadata.name.unwrap();
    let established = await_condition(definitions, &name, is_crd_established());
    let waited = tokio::time::timeout(DEADLINE, established).await;
    waited
        .expect("the definition was not established in time")
        .unwrap();
}
