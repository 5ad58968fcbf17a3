//! The subresource `eviction` of pods: a deletion which disruption budgets may refuse.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::delete::{self, Request};
use super::error::ApiError;
use super::request::{Parameters, Target};
use crate::clock;
use crate::object::{self, text};
use crate::selector::Selector;
use crate::store::{Resource, Store, StoreError, Stored};

/// When a client should ask again while a budget is not yet computed.
const RETRY_AFTER_SECONDS: u64 = 10;

/// An `Eviction`, read.
pub(super) fn parse(
    target: &Target,
    parameters: &Parameters,
    eviction: &Value,
) -> Result<Request, ApiError> {
    let given = (text(eviction, "/apiVersion"), text(eviction, "/kind"));
    let absent_or = |given: &str, expected: &str| given.is_empty() || given == expected;
    if !absent_or(given.0, "policy/v1") || !absent_or(given.1, "Eviction") {
        let message = format!("expected policy/v1 Eviction, got {} {}", given.0, given.1);
        return Err(ApiError::BadRequest(message));
    }
    let (name, url_name) = (object::name(eviction), target.name.as_deref());
    if !name.is_empty() && Some(name) != url_name {
        let message = "name in URL does not match name in Eviction object";
        return Err(ApiError::BadRequest(message.to_owned()));
    }
    let options = match &eviction["deleteOptions"] {
        Value::Null => json!({}),
        options => options.clone(),
    };
    delete::of_options(parameters, options)
}

/// Evicts a pod, if the budget that covers it has something left.
pub(super) fn evict(store: &Store, target: &Target, request: &Request) -> Result<Value, ApiError> {
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let name = target.name.as_deref().unwrap_or_default();
    let not_found = || StoreError::NotFound {
        resource: Resource::Pods,
        name: name.to_owned(),
    };
    let pod = store
        .get(Resource::Pods, namespace, name)
        .ok_or_else(not_found)?;
    if !is_beyond_disruption(&pod) {
        let covering = budgets_of(store, namespace, &pod);
        match covering.as_slice() {
            [] => {}
            [budget] => take_one(store, namespace, budget, &pod)?,
            _ => return Err(ApiError::SeveralBudgets),
        }
    }
    delete::one(store, target, request)?;
    Ok(json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "code": 201,
    }))
}

/// Pods which do not run, or are going, are missed by nobody.
fn is_beyond_disruption(pod: &Value) -> bool {
    object::is_deleting(pod)
        || matches!(
            text(pod, "/status/phase"),
            "Succeeded" | "Failed" | "Pending"
        )
}

/// The names of the budgets which select a pod.
fn budgets_of(store: &Store, namespace: &str, pod: &Stored) -> Vec<String> {
    let labels: BTreeMap<String, String> = object::labels(pod);
    let candidates = store.selecting(Resource::PodDisruptionBudgets, namespace, &labels);
    let selects = |budget: &Stored| {
        let selector = serde_json::from_value(budget["spec"]["selector"].clone()).ok();
        let selector = selector.and_then(|selector| Selector::of_label_selector(&selector));
        selector.is_some_and(|selector| selector.matches(&labels))
    };
    candidates
        .iter()
        .filter(|budget| selects(budget))
        .map(|budget| object::name(budget).to_owned())
        .collect()
}

/// Takes one disruption off a budget, or refuses.
fn take_one(store: &Store, namespace: &str, budget: &str, pod: &Value) -> Result<(), ApiError> {
    let now = clock::rfc3339(clock::now());
    store.try_update(
        Resource::PodDisruptionBudgets,
        namespace,
        budget,
        |budget| {
            if needs_no_budget(budget, pod) {
                return Ok(());
            }
            check(budget)?;
            let status = object::map_at(budget, "status");
            let left = whole(status, "/disruptionsAllowed") - 1;
            status["disruptionsAllowed"] = left.into();
            object::map_at(status, "disruptedPods")[object::name(pod)] = now.as_str().into();
            let conditions = status["conditions"].as_array_mut().into_iter().flatten();
            for condition in conditions.filter(|_| left == 0) {
                if condition["type"] == "DisruptionAllowed" {
                    condition["status"] = "False".into();
                    condition["reason"] = "InsufficientPods".into();
                    condition["lastTransitionTime"] = now.as_str().into();
                }
            }
            Ok::<_, ApiError>(())
        },
    )?;
    Ok(())
}

/// An unready pod may go when the service can do without it, or always, as the
/// budget's policy says.
fn needs_no_budget(budget: &Value, pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let is_ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    if is_ready {
        return false;
    }
    let desired = whole(budget, "/status/desiredHealthy");
    text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow"
        || (desired > 0 && whole(budget, "/status/currentHealthy") >= desired)
}

fn check(budget: &Value) -> Result<(), ApiError> {
    let name = object::name(budget);
    let refused = |cause: String, retry_after_seconds| {
        Err(ApiError::DisruptionBudget {
            cause,
            retry_after_seconds,
        })
    };
    if whole(budget, "/status/observedGeneration") < whole(budget, "/metadata/generation") {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return refused(cause, RETRY_AFTER_SECONDS);
    }
    if whole(budget, "/status/disruptionsAllowed") > 0 {
        return Ok(());
    }
    let conditions = budget["status"]["conditions"].as_array();
    let failure = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["reason"] == "SyncFailed");
    let cause = match failure {
        Some(failure) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            text(failure, "/message")
        ),
        None => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            whole(budget, "/status/desiredHealthy"),
            whole(budget, "/status/currentHealthy")
        ),
    };
    refused(cause, 0)
}

fn whole(object: &Value, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}
