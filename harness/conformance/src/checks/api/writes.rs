//! Who may write what over what.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::check::{Finding, Shortfall, failed, verdict};
use crate::context::Context;
use crate::kubectl;

pub(super) async fn updates(context: Context) -> Finding {
    let refusal = stale_put(&context).await?;
    if !refusal.starts_with("409 ") {
        return Err(failed(format!("stale PUT: {refusal}")));
    }
    let mut container = context.victim(&[]);
    container["env"] = json!([{"name": "KEPT", "value": "1"}, {"name": "DROPPED", "value": "1"}]);
    let mut manifest = context.deployment("app", container, json!({"replicas": 1}));
    apply(&context, &manifest).await?;
    let again = apply(&context, &manifest).await?;
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "KEPT", "value": "1"}]);
    apply(&context, &manifest).await?;
    let left = variables(&context).await?;
    verdict(
        again.trim_end().ends_with("unchanged") && left == ["KEPT"],
        format!("stale PUT: 409; applied again: {again}; variables left: {left:?}"),
    )
}

/// What becomes of a PUT with a version that is no longer the current one.
async fn stale_put(context: &Context) -> Result<String, Shortfall> {
    let object = config_map(context, "stale", json!({"x": "1"}));
    let first = context.create::<ConfigMap>(object).await?;
    let name = first.name_any();
    context
        .patch::<ConfigMap>(&name, json!({"data": {"x": "2"}}))
        .await?;
    let maps = context.api::<ConfigMap>();
    match maps.replace(&name, &PostParams::default(), &first).await {
        Ok(_) => Ok("accepted".to_owned()),
        Err(kube::Error::Api(status)) => Ok(format!("{} {}", status.code, status.message)),
        Err(other) => Err(other.into()),
    }
}

/// What `kubectl apply` says.
async fn apply(context: &Context, manifest: &Value) -> Result<String, Shortfall> {
    let text = manifest.to_string();
    let ended = kubectl::run_with(context, &["apply", "-f", "-"], &text).await?;
    if ended.code != 0 {
        return Err(failed(format!("kubectl apply: {}", ended.err.trim())));
    }
    Ok(ended.out.trim().to_owned())
}

async fn variables(context: &Context) -> Result<Vec<String>, Shortfall> {
    let name = context.name("app");
    let deployment = context.api::<Deployment>().get(&name).await?;
    let pod = deployment.spec.and_then(|spec| spec.template.spec);
    let containers = pod.map(|pod| pod.containers).unwrap_or_default();
    let variables = containers.into_iter().flat_map(|container| container.env);
    Ok(variables.flatten().map(|variable| variable.name).collect())
}

pub(super) async fn server_side_apply(context: Context) -> Finding {
    let by = |manager: &str| PatchParams::apply(manager);
    apply_data(&context, &by("manager-a"), json!({"x": "1", "y": "1"})).await?;
    let dropped = apply_data(&context, &by("manager-a"), json!({"x": "1"})).await?;
    let y_is_gone = !dropped.data.iter().flatten().any(|(key, _)| key == "y");
    let claimed = apply_data(&context, &by("manager-b"), json!({"x": "2"})).await;
    let conflict = match &claimed {
        Ok(_) => "accepted",
        Err(Shortfall::Failed(text)) if text.starts_with("409 ") => "409",
        Err(Shortfall::Failed(text) | Shortfall::Skipped(text)) => text,
    };
    let forced = by("manager-b").force();
    let taken = apply_data(&context, &forced, json!({"x": "2"})).await?;
    let owners = owners_of_x(&taken);
    let value = taken.data.iter().flatten().find(|(key, _)| *key == "x");
    let value = value.map(|(_, value)| value.as_str()).unwrap_or_default();
    verdict(
        y_is_gone && conflict == "409" && owners == ["manager-b"] && value == "2",
        format!(
            "dropped field {}; claim: {conflict}; by force {value:?}, owned by {owners:?}",
            if y_is_gone { "gone" } else { "kept" }
        ),
    )
}

async fn apply_data(
    context: &Context,
    parameters: &PatchParams,
    data: Value,
) -> Result<ConfigMap, Shortfall> {
    let object = config_map(context, "applied", data);
    let name = context.name("applied");
    let maps = context.api::<ConfigMap>();
    Ok(maps.patch(&name, parameters, &Patch::Apply(object)).await?)
}

fn owners_of_x(map: &ConfigMap) -> Vec<String> {
    let owns = |fields: &Value| !fields["f:data"]["f:x"].is_null();
    let entries = map.metadata.managed_fields.iter().flatten();
    let owners = entries.filter(|entry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| owns(&fields.0))
    });
    owners.filter_map(|entry| entry.manager.clone()).collect()
}

fn config_map(context: &Context, part: &str, data: Value) -> Value {
    let mut map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": context.name(part), "labels": context.labels(part)},
    });
    map["data"] = data;
    map
}
