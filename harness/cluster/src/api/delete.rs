//! Deleting objects, one or many.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body;
use super::error::{ApiError, deletion_status};
use super::request::{Parameters, Target};
use super::versions;
use crate::object;
use crate::store::{DeleteOptions, Deletion, Propagation, Resource, Store, StoreError, Stored};

/// The namespaces which every cluster keeps.
const PROTECTED_NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];

/// The body of a DELETE, as far as it matters here.
#[derive(Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    grace_period_seconds: Option<u64>,
    propagation_policy: Option<String>,
    preconditions: Preconditions,
    dry_run: Vec<String>,
}

#[derive(Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// What a DELETE asks for, from its body and parameters.
#[derive(Debug)]
pub(super) struct Request {
    options: DeleteOptions,
    /// Whether the client said what becomes of dependents.
    propagation_given: bool,
    pub(super) dry_run: bool,
}

pub(super) fn parse(
    parameters: &Parameters,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Request, ApiError> {
    let options = match body {
        [] => json!({}),
        body => body::object(headers, body)?.value,
    };
    of_options(parameters, options)
}

/// A request with these `DeleteOptions`.
pub(super) fn of_options(parameters: &Parameters, options: Value) -> Result<Request, ApiError> {
    let body: Body = serde_json::from_value(options)
        .map_err(|error| ApiError::BadRequest(format!("the body is no DeleteOptions: {error}")))?;
    let asked = body
        .grace_period_seconds
        .or(parameters.grace_period_seconds);
    if asked.is_some_and(|seconds| i64::try_from(seconds).is_err()) {
        return Err(ApiError::BadRequest(
            "gracePeriodSeconds is larger than any time".to_owned(),
        ));
    }
    let policy = body
        .propagation_policy
        .or_else(|| parameters.propagation_policy.clone());
    let propagation = match policy.as_deref() {
        None | Some("" | "Background") => Propagation::Background,
        Some("Foreground") => Propagation::Foreground,
        Some("Orphan") => Propagation::Orphan,
        Some(other) => {
            let known = "Background, Foreground, Orphan";
            return Err(ApiError::BadRequest(format!(
                "propagationPolicy {other:?} is none of {known}"
            )));
        }
    };
    let resource_version = body.preconditions.resource_version.map(|version| {
        version
            .parse()
            .map_err(|_| ApiError::BadRequest(format!("invalid resource version {version:?}")))
    });
    let options = DeleteOptions {
        grace_seconds: body
            .grace_period_seconds
            .or(parameters.grace_period_seconds),
        propagation,
        uid: body.preconditions.uid,
        resource_version: resource_version.transpose()?,
    };
    Ok(Request {
        options,
        propagation_given: policy.is_some_and(|policy| !policy.is_empty()),
        dry_run: parameters.dry_run() || !body.dry_run.is_empty(),
    })
}

impl Request {
    fn options_for(&self, resource: &Resource) -> DeleteOptions {
        let mut options = self.options.clone();
        if self.orphans_pods(resource) {
            options.propagation = Propagation::Orphan;
        }
        options
    }

    /// What a client should know about the deletion of an object of this kind.
    pub(super) fn warnings(&self, resource: &Resource) -> BTreeSet<String> {
        let warning = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";
        let warning = self.orphans_pods(resource).then(|| warning.to_owned());
        warning.into_iter().collect()
    }

    /// Of all kinds Jobs alone leave their dependents behind unless told otherwise.
    fn orphans_pods(&self, resource: &Resource) -> bool {
        *resource == Resource::Jobs && !self.propagation_given
    }
}

/// Deletes the object and answers with its last state while it goes on to
/// exist, else with a success.
pub(super) fn one(store: &Store, target: &Target, request: &Request) -> Result<Value, ApiError> {
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let name = target.name.as_deref().unwrap_or_default();
    if target.resource == Resource::Namespaces && PROTECTED_NAMESPACES.contains(&name) {
        return Err(ApiError::Forbidden {
            resource: target.resource.clone(),
            name: name.to_owned(),
            reason: "this namespace may not be deleted",
        });
    }
    let options = request.options_for(&target.resource);
    let answer = match store.delete(target.resource.clone(), namespace, name, &options)? {
        Deletion::Pending(object) => versions::to_served(target, &object).into_owned(),
        Deletion::Removed(object) => deletion_status(&target.resource, name, object::uid(&object)),
    };
    Ok(answer)
}

/// Deletes all objects that match and answers with their list.
pub(super) fn many(
    store: &Store,
    target: &Target,
    parameters: &Parameters,
    request: &Request,
) -> Result<Value, ApiError> {
    let filter = parameters.filter(target)?;
    let (objects, revision) = store.list(target.resource.clone(), target.namespace.as_deref());
    let options = request.options_for(&target.resource);
    let mut deleted: Vec<Arc<Stored>> = Vec::new();
    for object in objects.into_iter().filter(|object| filter.matches(object)) {
        let (namespace, name) = (object::namespace(&object), object::name(&object));
        match store.delete(target.resource.clone(), namespace, name, &options) {
            Ok(Deletion::Pending(object) | Deletion::Removed(object)) => deleted.push(object),
            // Someone else was faster.
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(json!({
        "kind": format!("{}List", target.resource.kind()),
        "apiVersion": target.api_version(),
        "metadata": {"resourceVersion": revision.to_string()},
        "items": deleted.iter().map(|object| versions::to_served(target, object)).collect::<Vec<_>>(),
    }))
}
