use super::*;
use crate::api::admission::prepare_new;
use crate::store::Resource;

fn job(change: impl FnOnce(&mut Value)) -> Value {
    let mut job = json!({
        "metadata": {"name": "sums", "namespace": "default"},
        "spec": {"template": {
            "metadata": {"labels": {"app": "sums"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "sums:1"}]},
        }},
    });
    change(&mut job);
    prepare_new(&Resource::Jobs, &mut job);
    set_defaults(&mut job);
    job
}

fn problems(job: &Value, old: Option<&Value>) -> Vec<String> {
    let mut causes = Vec::new();
    check(job, old, &mut causes);
    causes.into_iter().map(|cause| cause.field).collect()
}

#[test]
fn a_job_gets_its_defaults_and_a_selector_of_its_own() {
    let job = job(|_| {});
    let spec = &job["spec"];
    assert_eq!(problems(&job, None), Vec::<String>::new());
    assert_eq!(
        (&spec["completions"], &spec["parallelism"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(spec["backoffLimit"], 6);
    assert_eq!(spec["completionMode"], "NonIndexed");
    let uid = object::uid(&job);
    assert_eq!(
        spec["selector"]["matchLabels"],
        json!({CONTROLLER_UID_LABEL: uid})
    );
    let labels = json!({
        "app": "sums",
        CONTROLLER_UID_LABEL: uid, LEGACY_CONTROLLER_UID_LABEL: uid,
        JOB_NAME_LABEL: "sums", LEGACY_JOB_NAME_LABEL: "sums",
    });
    assert_eq!(spec["template"]["metadata"]["labels"], labels);
    assert_eq!(job["metadata"]["labels"], labels);
}

#[test]
fn a_work_queue_has_no_completions() {
    let job = job(|job| job["spec"]["parallelism"] = 3.into());
    assert!(job["spec"]["completions"].is_null());
    assert_eq!(problems(&job, None), Vec::<String>::new());
}

#[test]
fn a_selector_of_ones_own_has_to_be_asked_for() {
    let selector = json!({"matchLabels": {"app": "sums"}});
    let foreign = job(|job| job["spec"]["selector"] = selector.clone());
    assert_eq!(problems(&foreign, None), ["spec.selector"]);
    let manual = job(|job| {
        job["spec"]["selector"] = selector;
        job["spec"]["manualSelector"] = true.into();
    });
    assert_eq!(problems(&manual, None), Vec::<String>::new());
    assert_eq!(
        manual["spec"]["template"]["metadata"]["labels"],
        json!({"app": "sums"})
    );
}

#[test]
fn what_a_job_cannot_be_is_told_at_once() {
    let job = job(|job| {
        let spec = &mut job["spec"];
        spec["completions"] = (-1).into();
        spec["podFailurePolicy"] = json!({"rules": []});
        spec["completionMode"] = "Sometimes".into();
        spec["template"]["spec"]["restartPolicy"] = "Always".into();
    });
    let expected = [
        "spec.podFailurePolicy",
        "spec.completions",
        "spec.completionMode",
        "spec.template.spec.restartPolicy",
    ];
    assert_eq!(problems(&job, None), expected);
}

#[test]
fn an_indexed_job_needs_completions_and_host_names() {
    let indexed = |name: &str, completions: Value| {
        job(|job| {
            job["metadata"]["name"] = name.into();
            job["spec"]["completionMode"] = "Indexed".into();
            job["spec"]["parallelism"] = 2.into();
            job["spec"]["completions"] = completions;
        })
    };
    assert_eq!(
        problems(&indexed("sums", Value::Null), None),
        ["spec.completions"]
    );
    assert_eq!(
        problems(&indexed(&"s".repeat(61), 10.into()), None),
        Vec::<String>::new()
    );
    assert_eq!(
        problems(&indexed(&"s".repeat(61), 101.into()), None),
        ["metadata.name"]
    );
}

#[test]
fn little_of_a_job_may_change() {
    let old = job(|job| {
        job["spec"]["completionMode"] = "Indexed".into();
        job["spec"]["completions"] = 4.into();
    });
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new["spec"]);
        problems(&new, Some(&old))
    };
    assert_eq!(
        changed(&|spec| spec["suspend"] = true.into()),
        Vec::<String>::new()
    );
    assert_eq!(
        changed(&|spec| spec["parallelism"] = 9.into()),
        Vec::<String>::new()
    );
    assert_eq!(
        changed(&|spec| spec["completions"] = 9.into()),
        ["spec.completions"]
    );
    let elastic = changed(&|spec| {
        spec["completions"] = 9.into();
        spec["parallelism"] = 9.into();
    });
    assert_eq!(elastic, Vec::<String>::new());
    let other_image = changed(&|spec| {
        spec["template"]["spec"]["containers"][0]["image"] = "sums:2".into();
    });
    assert_eq!(other_image, ["spec.template"]);
}
