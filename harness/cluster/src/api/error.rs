//! What a client is told when a request fails: Kubernetes `Status` objects.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

pub(crate) use crate::cause::{Cause, CauseReason};
use crate::store::{Expired, Resource, StoreError};

/// A request that was refused, and why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    BadRequest(String),
    #[error("Unauthorized")]
    Unauthorized,
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    #[error("{0}")]
    MethodNotAllowed(String),
    #[error("{} \"{name}\" is invalid: {}", resource.kind_and_group(), join(causes))]
    Invalid {
        resource: Resource,
        name: String,
        causes: Vec<Cause>,
    },
    #[error("{} \"{name}\" is forbidden: {reason}", resource.qualified_name())]
    Forbidden {
        resource: Resource,
        name: String,
        reason: &'static str,
    },
    #[error("the body of the request was in an unknown format - accepted media types include: {0}")]
    UnsupportedMediaType(&'static str),
    /// Parameters that do not go together or are unknown.
    #[error("{kind}.meta.k8s.io \"\" is invalid: {}", join(causes))]
    InvalidOptions {
        kind: &'static str,
        causes: Vec<Cause>,
    },
    #[error("the JSON patch cannot be applied: {0}")]
    JsonPatch(String),
    #[error("{message}")]
    ApplyConflict { message: String, causes: Vec<Cause> },
    #[error("Cannot evict pod as it would violate the pod's disruption budget.")]
    DisruptionBudget {
        cause: String,
        /// 0 when nobody knows.
        retry_after_seconds: u64,
    },
    #[error(
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    )]
    SeveralBudgets,
    #[error("Request entity too large: {0}")]
    TooLarge(String),
    #[error("the body of the request did not come within {} s", .0.as_secs())]
    SlowBody(Duration),
    #[error(transparent)]
    Expired(Expired),
    #[error("Too large resource version: {asked}, current: {current}")]
    FutureRevision { asked: u64, current: u64 },
    #[error("the provided continue parameter is too old to display a consistent list result: {0}")]
    ContinueExpired(#[source] Expired),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn join(causes: &[Cause]) -> String {
    match causes {
        [only] => only.to_string(),
        several => {
            let texts: Vec<_> = several.iter().map(Cause::to_string).collect();
            format!("[{}]", texts.join(", "))
        }
    }
}

impl Resource {
    fn kind_and_group(&self) -> String {
        match self.group() {
            "" => self.kind().to_owned(),
            group => format!("{}.{group}", self.kind()),
        }
    }
}

impl ApiError {
    fn code_and_reason(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::NoSuchPath | Self::Store(StoreError::NotFound { .. }) => {
                (StatusCode::NOT_FOUND, "NotFound")
            }
            Self::MethodNotAllowed(_) | Self::Store(StoreError::DefinitionTerminating { .. }) => {
                (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")
            }
            Self::Invalid { .. }
            | Self::InvalidOptions { .. }
            | Self::JsonPatch(_)
            | Self::Store(StoreError::NameRequired { .. }) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "Invalid")
            }
            Self::UnsupportedMediaType(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType")
            }
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            Self::SlowBody(_) => (StatusCode::REQUEST_TIMEOUT, "Timeout"),
            Self::ApplyConflict { .. } | Self::Store(StoreError::Conflict { .. }) => {
                (StatusCode::CONFLICT, "Conflict")
            }
            Self::Store(StoreError::AlreadyExists { .. }) => {
                (StatusCode::CONFLICT, "AlreadyExists")
            }
            Self::Forbidden { .. } | Self::Store(StoreError::NamespaceTerminating { .. }) => {
                (StatusCode::FORBIDDEN, "Forbidden")
            }
            Self::DisruptionBudget { .. } => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Self::SeveralBudgets => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            Self::FutureRevision { .. } => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
            Self::Expired(_) | Self::ContinueExpired(_) => (StatusCode::GONE, "Expired"),
        }
    }

    fn details(&self) -> Value {
        match self {
            Self::Invalid {
                resource,
                name,
                causes,
            } => json!({
                "name": name, "group": resource.group(), "kind": resource.kind(), "causes": causes_json(causes),
            }),
            Self::DisruptionBudget {
                cause,
                retry_after_seconds,
            } => json!({
                "causes": [{"reason": "DisruptionBudget", "message": cause}],
                "retryAfterSeconds": retry_after_seconds,
            }),
            Self::InvalidOptions { kind, causes } => json!({
                "name": "", "group": "meta.k8s.io", "kind": kind, "causes": causes_json(causes),
            }),
            Self::FutureRevision { .. } => json!({
                "retryAfterSeconds": 1,
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            }),
            Self::ApplyConflict { causes, .. } => json!({"causes": causes_json(causes)}),
            Self::Forbidden { resource, name, .. }
            | Self::Store(
                StoreError::NotFound { resource, name }
                | StoreError::AlreadyExists { resource, name }
                | StoreError::Conflict { resource, name, .. },
            ) => json!({"name": name, "group": resource.group(), "kind": resource.plural()}),
            Self::Store(StoreError::NamespaceTerminating {
                resource,
                name,
                namespace,
            }) => json!({
                "name": name, "group": resource.group(), "kind": resource.plural(),
                "causes": [{
                    "reason": "NamespaceTerminating",
                    "message": format!("namespace {namespace} is being terminated"),
                    "field": "metadata.namespace",
                }],
            }),
            Self::Store(StoreError::DefinitionTerminating { resource }) => {
                json!({"group": resource.group(), "kind": resource.plural()})
            }
            Self::Store(StoreError::NameRequired { resource }) => json!({
                "group": resource.group(), "kind": resource.kind(),
                "causes": causes_json(&[Cause::new(CauseReason::Required, "metadata.name", self.to_string())]),
            }),
            Self::BadRequest(_)
            | Self::Unauthorized
            | Self::NoSuchPath
            | Self::MethodNotAllowed(_)
            | Self::UnsupportedMediaType(_)
            | Self::SeveralBudgets
            | Self::JsonPatch(_)
            | Self::TooLarge(_)
            | Self::SlowBody(_)
            | Self::Expired(_)
            | Self::ContinueExpired(_) => json!({}),
        }
    }

    fn status(&self) -> (StatusCode, Value) {
        let (code, reason) = self.code_and_reason();
        (
            code,
            failure(code, reason, &self.to_string(), &self.details()),
        )
    }
}

fn causes_json(causes: &[Cause]) -> Value {
    let json = |cause: &Cause| json!({"reason": cause.reason.code(), "message": cause.explanation(), "field": cause.field});
    causes.iter().map(json).collect()
}

fn failure(code: StatusCode, reason: &str, message: &str, details: &Value) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details,
        "code": code.as_u16(),
    })
}

/// The object of the ERROR event which ends a watch that cannot go on. As an
/// event, not as a response: only this makes clients list again.
pub(crate) fn expired_status(expired: &Expired) -> Value {
    failure(
        StatusCode::GONE,
        "Expired",
        &expired.to_string(),
        &json!({}),
    )
}

/// The answer to a successful deletion of one object.
pub(crate) fn deletion_status(resource: &Resource, name: &str, uid: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": name, "group": resource.group(), "kind": resource.plural(), "uid": uid},
    })
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (code, status) = self.status();
        (
            code,
            [(header::CONTENT_TYPE, "application/json")],
            status.to_string(),
        )
            .into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_object_is_told_by_cause() {
        let error = ApiError::Invalid {
            resource: Resource::Deployments,
            name: "web".to_owned(),
            causes: vec![
                Cause::new(CauseReason::Required, "spec.selector", ""),
                Cause::new(CauseReason::Forbidden, "spec.paused", "no"),
            ],
        };
        let (code, status) = error.status();
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            status["message"],
            "Deployment.apps \"web\" is invalid: [spec.selector: Required value, spec.paused: Forbidden: no]"
        );
        assert_eq!(
            status["details"]["causes"][1]["reason"],
            "FieldValueForbidden"
        );
    }
}
