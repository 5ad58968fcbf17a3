//! What a change costs must not depend on how many unrelated objects there are.

use std::sync::Arc;

use serde_json::{Value, json};

use super::all;
use super::settle::Settling;
use crate::object;
use crate::store::work::{self, Work};
use crate::store::{DeleteOptions, Resource, Store, Stored};

const SIZES: [usize; 3] = [10, 100, 1000];

/// What all controllers did together.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
struct Cost {
    reconciliations: usize,
    work: Work,
}

/// All controllers, over many services with a deployment of one pod each.
struct Cluster {
    store: Store,
    settling: Settling,
}

impl Cluster {
    fn with(services: usize) -> (Self, Cost) {
        let store = Store::new();
        let settling = Settling::new(&store, all(&store));
        let mut cluster = Self { store, settling };
        cluster.settle();
        for number in 0..services {
            cluster.deploy(&format!("web-{number}"));
        }
        let cost = cluster.settle();
        (cluster, cost)
    }

    fn deploy(&self, name: &str) {
        let metadata = json!({"name": name, "namespace": "default"});
        let service = json!({
            "metadata": metadata,
            "spec": {"selector": {"app": name}, "ports": [{"port": 80}]},
        });
        self.store.create(Resource::Services, service).unwrap();
        let deployment = json!({
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": name}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
                "template": template(name, "web:1"),
            },
        });
        self.store
            .create(Resource::Deployments, deployment)
            .unwrap();
    }

    fn pod_of(&self, service: &str) -> Arc<Stored> {
        let (pods, _) = self.store.list(Resource::Pods, None);
        let mut pods = pods.into_iter();
        pods.find(|pod| object::labels(pod)["app"] == service)
            .unwrap()
    }

    /// What it costs to follow a change.
    fn cost_of(&mut self, change: impl FnOnce(&Store)) -> Cost {
        self.settle();
        change(&self.store);
        self.settle()
    }

    fn settle(&mut self) -> Cost {
        work::take();
        Cost {
            reconciliations: self.settling.settle(),
            work: work::take(),
        }
    }
}

fn template(name: &str, image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    })
}

#[test]
fn objects_cost_in_proportion_to_their_number_and_changes_cost_the_same() {
    let costs = SIZES.map(|size| {
        let (mut cluster, creation) = Cluster::with(size);
        let Work { read, parsed, .. } = creation.work;
        let creation = [creation.reconciliations, read, parsed].map(|count| count / size);
        let pod = cluster.pod_of("web-1");
        let name = object::name(&pod);
        let readiness = cluster.cost_of(|store| {
            let update = store.update(Resource::Pods, "default", name, |pod| {
                pod["status"] = json!({
                    "phase": "Running",
                    "podIP": "127.9.128.1",
                    "conditions": [{"type": "Ready", "status": "True"}],
                });
            });
            update.unwrap();
        });
        let rollout = cluster.cost_of(|store| {
            let update = store.update(Resource::Deployments, "default", "web-1", |web| {
                web["spec"]["template"] = template("web-1", "web:2");
            });
            update.unwrap();
        });
        let deletion = cluster.cost_of(|store| {
            let options = DeleteOptions::default();
            store
                .delete(Resource::Deployments, "default", "web-1", &options)
                .unwrap();
        });
        (creation, [readiness, rollout, deletion])
    });
    let (creation, changes) = costs[0];
    assert!(creation.iter().all(|count| *count > 0), "{costs:?}");
    assert!(
        changes.iter().all(|cost| cost.reconciliations > 0),
        "{costs:?}"
    );
    assert_eq!(costs[0], costs[1]);
    assert_eq!(costs[0], costs[2]);
}

#[test]
fn the_cost_of_emptying_a_namespace_is_in_proportion_to_its_content() {
    let costs = SIZES.map(|size| {
        let (mut cluster, _) = Cluster::with(size);
        let cost = cluster.cost_of(|store| {
            let options = DeleteOptions::default();
            store
                .delete(Resource::Namespaces, "", "default", &options)
                .unwrap();
        });
        let gone = cluster.store.get(Resource::Namespaces, "", "default");
        assert!(gone.is_none());
        [cost.reconciliations, cost.work.read].map(|count| count / size)
    });
    assert_eq!(costs[0], costs[1]);
    assert_eq!(costs[0], costs[2]);
}
