//! The subresource `log` of pods.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header;
use k8s_openapi::jiff::SignedDuration;
use serde_json::Value;

use super::error::ApiError;
use super::request::Parameters;
use crate::clock;
use crate::node::logs::{LogError, LogOptions, LogOwner, Logs};
use crate::node::status::run_of;
use crate::object;

/// Answers with a container's log, to the end of it when following.
pub(super) fn log(logs: &Logs, pod: &Value, parameters: &Parameters) -> Result<Response, ApiError> {
    let container = container(pod, parameters.container.as_deref())?;
    let run = if parameters.previous() {
        Some(previous_run(pod, &container)?)
    } else {
        None
    };
    let since = parameters.since_seconds.map(|seconds| {
        let ago = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        clock::now_precise()
            .saturating_sub(ago)
            .unwrap_or_else(|_| clock::now_precise())
    });
    let options = LogOptions {
        follow: parameters.follow(),
        run,
        tail_lines: parameters.tail_lines,
        since,
        timestamps: parameters.timestamps(),
        limit_bytes: parameters.limit_bytes,
    };
    let owner = LogOwner {
        namespace: object::namespace(pod).to_owned(),
        pod: object::name(pod).to_owned(),
        uid: object::uid(pod).to_owned(),
    };
    let lines = logs
        .read(&owner, &container, options)
        .map_err(|error| refusal(&error, pod, &container))?;
    Ok((
        [(header::CONTENT_TYPE, "text/plain")],
        Body::from_stream(lines),
    )
        .into_response())
}

/// The run before the present one; while a container waits to be started again, its last.
fn previous_run(pod: &Value, container: &str) -> Result<u32, ApiError> {
    let id = object::text(status(pod, container), "/lastState/terminated/containerID");
    run_of(id).ok_or_else(|| {
        let missing = LogError::NoPrevious {
            pod: object::name(pod).to_owned(),
            container: container.to_owned(),
        };
        refusal(&missing, pod, container)
    })
}

/// What the pod's status says of a container; null when it says nothing.
fn status<'a>(pod: &'a Value, container: &str) -> &'a Value {
    ["initContainerStatuses", "containerStatuses"]
        .into_iter()
        .flat_map(|list| pod["status"][list].as_array().into_iter().flatten())
        .find(|status| object::text(status, "/name") == container)
        .unwrap_or(&Value::Null)
}

fn refusal(error: &LogError, pod: &Value, container: &str) -> ApiError {
    let reason = object::text(status(pod, container), "/state/waiting/reason");
    ApiError::BadRequest(match error {
        LogError::NotStarted { .. } if !reason.is_empty() => format!("{error}: {reason}"),
        LogError::NotStarted { .. } | LogError::NoPrevious { .. } | LogError::Unreadable { .. } => {
            error.to_string()
        }
    })
}

/// The container asked for, or the only one there is.
fn container(pod: &Value, asked: Option<&str>) -> Result<String, ApiError> {
    let name = object::name(pod);
    let names: Vec<&str> = ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
        .map(|container| object::text(container, "/name"))
        .collect();
    match (asked, names.as_slice()) {
        (Some(asked), _) if names.contains(&asked) => Ok(asked.to_owned()),
        (Some(asked), _) => Err(ApiError::BadRequest(format!(
            "container {asked} is not valid for pod {name}"
        ))),
        (None, [only]) => Ok((*only).to_owned()),
        (None, several) => Err(ApiError::BadRequest(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            several.join(" ")
        ))),
    }
}
