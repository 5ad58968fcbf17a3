use super::*;

fn set(replicas: i32, min_ready_seconds: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "set", "generation": 4},
        "spec": {
            "replicas": replicas,
            "minReadySeconds": min_ready_seconds,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}},
        },
    }))
    .unwrap()
}

fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "labels": {"app": "web"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "set", "controller": true}],
        },
        "spec": {"nodeName": "node", "containers": []},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    });
    change(&mut pod);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_terminating_pod_is_replaced_at_once() {
    let pods = [
        pod("a", |_| {}),
        pod("b", |pod| {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into()
        }),
        pod("c", |pod| pod["status"]["phase"] = "Failed".into()),
    ];
    let plan = plan(&set(2, 0), &pods, at("2026-01-01T00:01:00Z")).unwrap();
    assert_eq!((plan.create, plan.delete.len()), (1, 0));
    assert_eq!(plan.status.replicas, 1);
}

#[test]
fn pods_are_adopted_and_released_by_their_labels() {
    let pods = [
        pod("orphan", |pod| {
            pod["metadata"]["ownerReferences"] = json!([])
        }),
        pod("stray", |pod| {
            pod["metadata"]["labels"]["app"] = "other".into()
        }),
        pod("foreign", |pod| {
            pod["metadata"]["ownerReferences"][0]["uid"] = "other".into()
        }),
    ];
    let plan = plan(&set(2, 0), &pods, at("2026-01-01T00:01:00Z")).unwrap();
    assert_eq!(plan.adopt, ["orphan"]);
    assert_eq!(plan.release, ["stray"]);
    assert_eq!(plan.create, 1);
}

#[test]
fn the_least_valuable_pods_go_first() {
    let pods = [
        pod("old", |_| {}),
        pod("dear", |pod| {
            pod["metadata"]["annotations"] =
                json!({"controller.kubernetes.io/pod-deletion-cost": "5"});
        }),
        pod("new", |pod| {
            pod["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:58Z".into()
        }),
        pod("cheap", |pod| {
            pod["metadata"]["annotations"] =
                json!({"controller.kubernetes.io/pod-deletion-cost": "-5"});
        }),
        pod("unready", |pod| {
            pod["status"]["conditions"][0]["status"] = "False".into()
        }),
        pod("pending", |pod| pod["status"]["phase"] = "Pending".into()),
        pod("unassigned", |pod| pod["spec"]["nodeName"] = "".into()),
    ];
    let plan = plan(&set(0, 0), &pods, at("2026-01-01T00:01:00Z")).unwrap();
    assert_eq!(
        plan.delete,
        [
            "unassigned",
            "pending",
            "unready",
            "cheap",
            "new",
            "old",
            "dear"
        ]
    );
}

#[test]
fn a_pod_is_available_when_it_has_been_ready_for_long_enough() {
    let pods = [pod("a", |_| {})];
    let after = |time| {
        let plan = plan(&set(1, 5), &pods, at(time)).unwrap();
        (plan.status.available_replicas, plan.again)
    };
    assert_eq!(
        after("2026-01-01T00:00:02Z"),
        (Some(0), Some(Duration::from_secs(4)))
    );
    assert_eq!(after("2026-01-01T00:00:06Z"), (Some(1), None));
}

#[test]
fn pods_which_have_ended_are_not_released() {
    let pods = [pod("ended", |pod| {
        pod["metadata"]["labels"]["app"] = "other".into();
        pod["status"]["phase"] = "Failed".into();
    })];
    let plan = plan(&set(1, 0), &pods, at("2026-01-01T00:01:00Z")).unwrap();
    assert_eq!(plan.release, Vec::<String>::new());
}

#[test]
fn not_all_pods_come_at_once() {
    let plan = plan(&set(2000, 0), &[], at("2026-01-01T00:01:00Z")).unwrap();
    assert_eq!(plan.create, MOST_AT_ONCE);
}

#[test]
fn a_failure_is_told_until_it_is_over() {
    let failed = |reason, before: &ReplicaSet| {
        let error = StoreError::NameRequired {
            resource: Resource::Pods,
        };
        let failure = (reason, error);
        let mut set = before.clone();
        let now = at("2026-01-01T00:01:00Z");
        set.status.get_or_insert_default().conditions = conditions(before, Some(&failure), now);
        set
    };
    let first = failed("FailedCreate", &set(1, 0));
    let reasons = |set: &ReplicaSet| -> Vec<String> {
        let conditions = set.status.as_ref().unwrap().conditions.iter().flatten();
        conditions
            .filter_map(|condition| condition.reason.clone())
            .collect()
    };
    assert_eq!(reasons(&first), ["FailedCreate"]);
    assert_eq!(reasons(&failed("FailedDelete", &first)), ["FailedCreate"]);
    let now = at("2026-01-01T00:02:00Z");
    assert_eq!(conditions(&first, None, now), None);
}
