//! The subresource `log` of pods.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
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
    let since = since(parameters)?;
    if parameters.limit_bytes == Some(0) {
        return Err(ApiError::BadRequest(
            "limitBytes must be greater than 0".to_owned(),
        ));
    }
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

/// The moment before which lines do not matter.
fn since(parameters: &Parameters) -> Result<Option<Timestamp>, ApiError> {
    match (parameters.since_seconds, parameters.since_time.as_deref()) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(ApiError::BadRequest(
            "at most one of sinceTime or sinceSeconds may be given".to_owned(),
        )),
        (Some(seconds), None) => {
            let ago = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            let now = clock::now_precise();
            Ok(Some(now.saturating_sub(ago).unwrap_or(now)))
        }
        (None, Some(text)) => text.parse().map(Some).map_err(|error| {
            ApiError::BadRequest(format!("sinceTime {text:?} is not a time: {error}"))
        }),
    }
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

/// The container asked for, or the only one there is besides init containers.
fn container(pod: &Value, asked: Option<&str>) -> Result<String, ApiError> {
    let name = object::name(pod);
    let names = |list: &str| -> Vec<&str> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers
            .map(|container| object::text(container, "/name"))
            .collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    match (asked, main.as_slice()) {
        (Some(asked), _) if main.contains(&asked) || init.contains(&asked) => Ok(asked.to_owned()),
        (Some(asked), _) => Err(ApiError::BadRequest(format!(
            "container {asked} is not valid for pod {name}"
        ))),
        (None, [only]) => Ok((*only).to_owned()),
        (None, several) => {
            let mut message = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                several.join(" ")
            );
            if !init.is_empty() {
                message += &format!(" or one of the init containers: [{}]", init.join(" "));
            }
            Err(ApiError::BadRequest(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_need_not_be_named_when_there_is_one() {
        let pod = |containers: &[&str]| {
            let named = |name: &&str| json!({"name": name});
            json!({
                "metadata": {"name": "p"},
                "spec": {
                    "initContainers": [{"name": "i"}],
                    "containers": containers.iter().map(named).collect::<Vec<_>>(),
                },
            })
        };
        assert_eq!(container(&pod(&["a"]), None).unwrap(), "a");
        assert_eq!(container(&pod(&["a"]), Some("i")).unwrap(), "i");
        let error = container(&pod(&["a", "b"]), None).unwrap_err().to_string();
        assert!(
            error.contains("[a b] or one of the init containers: [i]"),
            "{error}"
        );
        assert!(container(&pod(&["a"]), Some("c")).is_err());
    }

    #[test]
    fn a_log_can_be_asked_for_since_a_time() {
        let parse = |query: &str| since(&Parameters::parse(Some(query)).unwrap());
        let time = parse("sinceTime=2026-11-22T23%3A00%3A00Z").unwrap();
        assert_eq!(time.unwrap().to_string(), "2026-11-22T23:00:00Z");
        assert!(parse("sinceTime=yesterday").is_err());
        assert!(parse("sinceTime=2026-11-22T23%3A00%3A00Z&sinceSeconds=1").is_err());
        assert!(parse("sinceSeconds=1").unwrap().is_some());
        assert_eq!(parse("").unwrap(), None);
    }
}
