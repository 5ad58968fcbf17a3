//! The cells of Jobs.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{human_duration, list, text, whole, workload_details};
use crate::{clock, object};

pub(super) fn cells(job: &Value, name: String, age: String, now: Timestamp) -> Vec<String> {
    let main = [
        name,
        status(job).to_owned(),
        completions(job),
        duration(job, now),
        age,
    ];
    main.into_iter().chain(workload_details(job)).collect()
}

fn condition<'a>(job: &'a Value, type_: &str) -> Option<&'a Value> {
    list(job, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == type_ && condition["status"] == "True")
}

fn status(job: &Value) -> &'static str {
    let has = |type_: &str| condition(job, type_).is_some();
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if object::is_deleting(job) {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Value) -> String {
    let succeeded = whole(job, "/status/succeeded");
    let parallelism = whole(job, "/spec/parallelism");
    match job["spec"]["completions"].as_i64() {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

/// How long it has been running, or ran until it was complete or failed.
fn duration(job: &Value, now: Timestamp) -> String {
    let Ok(start) = text(job, "/status/startTime").parse::<Timestamp>() else {
        return String::new();
    };
    let failed = condition(job, "Failed").map(|failed| text(failed, "/lastTransitionTime"));
    let ends = [Some(text(job, "/status/completionTime")), failed];
    let end = ends
        .into_iter()
        .flatten()
        .find_map(|time| time.parse::<Timestamp>().ok());
    human_duration(clock::seconds_since(start, end.unwrap_or(now)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(job: &Value) -> Vec<String> {
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        cells(job, "j".to_owned(), "1m".to_owned(), now)[..4].to_vec()
    }

    #[test]
    fn a_job_is_shown_as_far_as_it_has_come() {
        let mut job = json!({
            "spec": {"completions": 3, "parallelism": 2},
            "status": {"startTime": "2026-01-01T00:00:00Z", "succeeded": 1},
        });
        assert_eq!(row(&job), ["j", "Running", "1/3", "60s"]);
        job["status"]["conditions"] = json!([{"type": "Suspended", "status": "True"}]);
        assert_eq!(row(&job)[1], "Suspended");
        job["status"] = json!({
            "startTime": "2026-01-01T00:00:00Z",
            "completionTime": "2026-01-01T00:00:09Z",
            "succeeded": 3,
            "conditions": [{"type": "Complete", "status": "True"}],
        });
        assert_eq!(row(&job), ["j", "Complete", "3/3", "9s"]);
        job["status"]["conditions"] = json!([
            {"type": "Failed", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}
        ]);
        job["status"]["completionTime"] = Value::Null;
        assert_eq!(row(&job), ["j", "Failed", "3/3", "5s"]);
    }

    #[test]
    fn a_work_queue_needs_one_success() {
        let mut job = json!({"spec": {"parallelism": 4}, "status": {"succeeded": 2}});
        assert_eq!(row(&job), ["j", "Running", "2/1 of 4", ""]);
        job["spec"]["parallelism"] = 1.into();
        assert_eq!(row(&job)[2], "2/1");
    }
}
