use std::cell::RefCell;

use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::controllers::replica_set::ReplicaSets;
use crate::controllers::settle::Settling;

/// A cluster without a node: the test plays the kubelet.
struct Cluster {
    store: Store,
    settling: RefCell<Settling>,
}

impl Cluster {
    fn new(spec: &Value) -> Self {
        let store = Store::new();
        let controllers: Vec<Box<dyn Controller>> = vec![
            Box::new(Deployments::new(&store)),
            Box::new(ReplicaSets::new(&store)),
        ];
        let settling = RefCell::new(Settling::new(&store, controllers));
        let mut deployment = json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                "template": template("web:1"),
                "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 10,
            },
        });
        json_patch::merge(&mut deployment["spec"], spec);
        store.create(Resource::Deployments, deployment).unwrap();
        Self { store, settling }
    }

    /// Lets the controllers work until nothing moves.
    fn settle(&self) {
        self.settling.borrow_mut().settle();
    }

    /// Makes the pods of an image ready.
    fn make_ready(&self, image: &str) {
        for pod in self.pods(image) {
            self.store
                .update(Resource::Pods, "default", &pod, |pod| {
                    pod["status"] = json!({
                        "phase": "Running",
                        "conditions": [
                            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                        ],
                    });
                })
                .unwrap();
        }
    }

    fn pods(&self, image: &str) -> Vec<String> {
        let (pods, _) = self.store.list(Resource::Pods, None);
        let of_image = pods
            .iter()
            .filter(|pod| pod["spec"]["containers"][0]["image"] == image);
        of_image.map(|pod| object::name(pod).to_owned()).collect()
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        self.change_object(|object| change(&mut object["spec"]));
    }

    fn change_object(&self, change: impl FnOnce(&mut Value)) {
        self.store
            .update(Resource::Deployments, "default", "web", change)
            .unwrap();
        self.settle();
    }

    /// Rolls an image out to the end.
    fn complete(&self, image: &str) {
        self.settle();
        for _ in 0..4 {
            self.make_ready(image);
            self.settle();
        }
        assert_eq!(self.condition("Progressing").1, "NewReplicaSetAvailable");
    }

    fn plan_after(&self, pause: SignedDuration) -> Plan {
        let now = clock::now() + pause;
        plan(&self.deployment(), &self.typed_sets(), &[], now).unwrap()
    }

    fn roll(&self, image: &str) {
        self.change(|spec| spec["template"] = template(image));
    }

    fn deployment(&self) -> Deployment {
        let object = self
            .store
            .get(Resource::Deployments, "default", "web")
            .unwrap();
        serde_json::from_value(Value::clone(&object)).unwrap()
    }

    fn condition(&self, kind: &str) -> (String, String) {
        let conditions = self.deployment().status.unwrap().conditions.unwrap();
        let found = conditions
            .into_iter()
            .find(|condition| condition.type_ == kind)
            .unwrap();
        (found.status, found.reason.unwrap())
    }

    fn typed_sets(&self) -> Vec<Arc<ReplicaSet>> {
        let (sets, _) = self.store.list(Resource::ReplicaSets, None);
        sets.iter().filter_map(|set| set.typed()).collect()
    }

    fn sets(&self) -> Vec<(String, i64, i32)> {
        let sets = self.typed_sets();
        let image = |set: &ReplicaSet| {
            let template = set.spec.as_ref().unwrap().template.as_ref().unwrap();
            template.spec.as_ref().unwrap().containers[0]
                .image
                .clone()
                .unwrap()
        };
        let mut sets: Vec<_> = sets
            .iter()
            .map(|set| (image(set), sets::revision(set), sets::size(set)))
            .collect();
        sets.sort();
        sets
    }
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    })
}

fn set(image: &str, revision: i64, size: i32) -> (String, i64, i32) {
    (image.to_owned(), revision, size)
}

#[test]
fn a_new_deployment_gets_available() {
    let cluster = Cluster::new(&json!({"replicas": 3}));
    cluster.settle();
    assert_eq!(cluster.pods("web:1").len(), 3);
    assert_eq!(cluster.condition("Available").0, "False");
    assert_eq!(cluster.condition("Progressing").1, "ReplicaSetUpdated");
    cluster.make_ready("web:1");
    cluster.settle();
    assert_eq!(cluster.condition("Available").0, "True");
    assert_eq!(
        cluster.condition("Progressing"),
        ("True".to_owned(), "NewReplicaSetAvailable".to_owned())
    );
    let status = cluster.deployment().status.unwrap();
    assert_eq!(
        (status.updated_replicas, status.available_replicas),
        (Some(3), Some(3))
    );
    assert_eq!(status.unavailable_replicas, None);
}

#[test]
fn a_bad_release_leaves_the_service_up() {
    let cluster = Cluster::new(&json!({"replicas": 4}));
    cluster.settle();
    cluster.make_ready("web:1");
    cluster.settle();
    cluster.roll("web:2");
    assert_eq!(cluster.sets(), [set("web:1", 1, 3), set("web:2", 2, 2)]);
    assert_eq!(cluster.condition("Available").0, "True");
}

#[test]
fn a_rollout_replaces_all_pods_and_a_return_reuses_the_old_set() {
    let cluster = Cluster::new(&json!({"replicas": 2}));
    cluster.settle();
    cluster.make_ready("web:1");
    cluster.settle();
    for (image, revisions) in [("web:2", [1, 2]), ("web:1", [3, 2])] {
        cluster.roll(image);
        for _ in 0..4 {
            cluster.make_ready(image);
            cluster.settle();
        }
        let sets = cluster.sets();
        let expected: Vec<_> = ["web:1", "web:2"]
            .into_iter()
            .zip(revisions)
            .map(|(name, revision)| set(name, revision, if name == image { 2 } else { 0 }))
            .collect();
        assert_eq!(sets, expected);
    }
    let deployment = cluster.deployment();
    assert_eq!(deployment.metadata.annotations.unwrap()[REVISION], "3");
    assert_eq!(
        deployment.metadata.generation,
        Some(3),
        "revisions are no change of the desired state"
    );
}

#[test]
fn recreate_starts_the_new_pods_after_the_old_ones_ended() {
    let cluster = Cluster::new(
        &json!({"replicas": 2, "strategy": {"type": "Recreate", "rollingUpdate": null}}),
    );
    cluster.settle();
    for pod in cluster.pods("web:1") {
        let bind = |pod: &mut Value| pod["spec"]["nodeName"] = "node".into();
        cluster
            .store
            .update(Resource::Pods, "default", &pod, bind)
            .unwrap();
    }
    cluster.make_ready("web:1");
    cluster.roll("web:2");
    let old = cluster.pods("web:1");
    assert_eq!(
        (old.len(), cluster.pods("web:2").len()),
        (2, 0),
        "the old pods are terminating"
    );
    for pod in old {
        let uid = cluster.store.get(Resource::Pods, "default", &pod).unwrap();
        let options = DeleteOptions::immediately(object::uid(&uid));
        cluster
            .store
            .delete(Resource::Pods, "default", &pod, &options)
            .unwrap();
    }
    cluster.settle();
    assert_eq!(cluster.pods("web:2").len(), 2);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let cluster = Cluster::new(&json!({"replicas": 1}));
    cluster.settle();
    cluster.change(|spec| {
        spec["paused"] = true.into();
        spec["template"] = template("web:2");
        spec["replicas"] = 3.into();
    });
    assert_eq!(cluster.sets(), [set("web:1", 1, 3)]);
    assert_eq!(
        cluster.condition("Progressing"),
        ("Unknown".to_owned(), "DeploymentPaused".to_owned())
    );
    cluster.change(|spec| spec["paused"] = Value::Null);
    assert_eq!(cluster.sets().len(), 2);
}

#[test]
fn history_is_limited() {
    let cluster = Cluster::new(&json!({"replicas": 1, "revisionHistoryLimit": 1}));
    cluster.settle();
    for image in ["web:1", "web:2", "web:3", "web:4"] {
        cluster.roll(image);
        for _ in 0..3 {
            cluster.make_ready(image);
            cluster.settle();
        }
    }
    assert_eq!(cluster.sets(), [set("web:3", 3, 0), set("web:4", 4, 1)]);
}

#[test]
fn missing_progress_is_reported_and_nothing_else() {
    let cluster = Cluster::new(&json!({"replicas": 1, "progressDeadlineSeconds": 10}));
    cluster.settle();
    let look = |seconds| cluster.plan_after(SignedDuration::from_secs(seconds));
    assert!(look(0).again.unwrap() <= Duration::from_secs(11));
    let late = look(12);
    assert_eq!(late.actions, []);
    let conditions = late.status.conditions.unwrap();
    let progressing = conditions
        .iter()
        .find(|condition| condition.type_ == "Progressing")
        .unwrap();
    assert_eq!(
        progressing.reason.as_deref(),
        Some("ProgressDeadlineExceeded")
    );
}

#[test]
fn a_return_long_after_the_last_rollout_is_not_overdue() {
    let cluster = Cluster::new(&json!({"replicas": 3}));
    cluster.complete("web:1");
    cluster.roll("web:2");
    cluster.complete("web:2");
    cluster
        .store
        .update(Resource::Deployments, "default", "web", |object| {
            object["spec"]["template"] = template("web:1");
        })
        .unwrap();
    let plan = cluster.plan_after(SignedDuration::from_hours(1));
    let conditions = plan.status.conditions.unwrap();
    let progressing = conditions
        .iter()
        .find(|condition| condition.type_ == "Progressing")
        .unwrap();
    assert_eq!(progressing.status, "True");
}

#[test]
fn the_present_set_inherits_annotations_and_min_ready_seconds() {
    let cluster = Cluster::new(&json!({"replicas": 1}));
    cluster.complete("web:1");
    cluster.roll("web:2");
    cluster.complete("web:2");
    cluster.change_object(|object| {
        object["metadata"]["annotations"]["kubernetes.io/change-cause"] = "a new image".into();
        object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
            "{}".into();
        object["spec"]["minReadySeconds"] = 7.into();
    });
    let inherited = |set: &ReplicaSet| {
        let cause = sets::annotation(set, "kubernetes.io/change-cause").map(str::to_owned);
        let own = "kubectl.kubernetes.io/last-applied-configuration";
        assert_eq!(sets::annotation(set, own), None);
        (cause, set.spec.as_ref().unwrap().min_ready_seconds)
    };
    let mut sets = cluster.typed_sets();
    sets.sort_by_key(|set| sets::revision(set));
    assert_eq!(inherited(&sets[0]), (None, Some(0)));
    let cause = Some("a new image".to_owned());
    assert_eq!(inherited(&sets[1]), (cause, Some(7)));
}

#[test]
fn a_paused_deployment_still_numbers_its_template() {
    let cluster = Cluster::new(&json!({"replicas": 1}));
    cluster.complete("web:1");
    cluster.roll("web:2");
    cluster.complete("web:2");
    cluster.change(|spec| {
        spec["paused"] = true.into();
        spec["template"] = template("web:1");
    });
    assert_eq!(cluster.sets(), [set("web:1", 3, 0), set("web:2", 2, 1)]);
}

#[test]
fn the_same_quantity_written_otherwise_is_no_new_release() {
    let requesting = |cpu: &str| {
        let mut template = template("web:1");
        template["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
        template
    };
    let cluster = Cluster::new(&json!({"replicas": 1}));
    cluster.change(|spec| spec["template"] = requesting("100m"));
    let before = cluster.sets().len();
    cluster.change(|spec| spec["template"] = requesting("0.1"));
    assert_eq!(cluster.sets().len(), before);
    cluster.change(|spec| spec["template"] = requesting("0.2"));
    assert_eq!(cluster.sets().len(), before + 1);
}

#[test]
fn a_set_whose_name_is_taken_gets_another() {
    let cluster = Cluster::new(&json!({"replicas": 1}));
    let taken = sets::name_for(&cluster.deployment());
    let foreign = json!({
        "metadata": {"name": taken, "namespace": "default"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "other"}}},
    });
    cluster
        .store
        .create(Resource::ReplicaSets, foreign)
        .unwrap();
    cluster.settle();
    assert_eq!(cluster.pods("web:1").len(), 1);
    assert_eq!(
        cluster.deployment().status.unwrap().collision_count,
        Some(1)
    );
}

#[test]
fn without_a_deadline_progress_is_not_reported() {
    let cluster = Cluster::new(&json!({"replicas": 1}));
    cluster.complete("web:1");
    cluster.change(|spec| spec["progressDeadlineSeconds"] = i32::MAX.into());
    let conditions = cluster.deployment().status.unwrap().conditions.unwrap();
    assert!(conditions.iter().all(|one| one.type_ != "Progressing"));
}

#[test]
fn the_failure_of_a_set_is_passed_on() {
    let cluster = Cluster::new(&json!({"replicas": 1}));
    cluster.complete("web:1");
    let mut sets = cluster.typed_sets();
    let failure = json!({"conditions": [
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no"},
    ], "replicas": 0});
    Arc::make_mut(&mut sets[0]).status = serde_json::from_value(failure).unwrap();
    let plan = plan(&cluster.deployment(), &sets, &[], clock::now()).unwrap();
    let conditions = plan.status.conditions.unwrap();
    let passed = conditions
        .iter()
        .find(|condition| condition.type_ == "ReplicaFailure")
        .unwrap();
    assert_eq!(passed.reason.as_deref(), Some("FailedCreate"));
}

#[test]
fn an_old_set_in_use_counts_as_history_but_stays() {
    let cluster = Cluster::new(&json!({"replicas": 1, "revisionHistoryLimit": 1}));
    cluster.complete("web:1");
    cluster.roll("web:2");
    cluster.roll("web:3");
    cluster.change(|spec| spec["paused"] = true.into());
    let left: Vec<_> = cluster
        .sets()
        .into_iter()
        .map(|(image, ..)| image)
        .collect();
    assert_eq!(
        left,
        ["web:1", "web:2", "web:3"],
        "the oldest has the only ready pod"
    );
}
