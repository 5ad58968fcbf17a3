//! Who makes pods anew when they go: what a drain may take and of whom, and whose the pods behind a
//! Service are.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::ListParams;

use crate::action::{has_ended, is_ready};
use crate::blueprint::{Target, Workloads};
use crate::error::FaultError;
use crate::object::Cluster;
use crate::pods::size;

/// What a drain means for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes, and its controller makes another one elsewhere.
    Goes,
    /// It is left where it is.
    Stays,
    /// It would go for good.
    IsLost,
}

/// What `kubectl drain --ignore-daemonsets` makes of a pod, but for what is no part of the system.
pub(super) fn fate(pod: &Pod) -> Fate {
    // It needs nothing of its node any more.
    if has_ended(pod) {
        return Fate::Stays;
    }
    match controller(&pod.metadata).map(|owner| owner.kind.as_str()) {
        // It would be back on the same node at once.
        Some("DaemonSet" | "Node") => Fate::Stays,
        // Holdfast's own: without it another fault would be a different one.
        Some("FaultInjection") => Fate::Stays,
        Some(_) => Fate::Goes,
        None => Fate::IsLost,
    }
}

fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = meta.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true))
}

/// Whose the pods of a namespace are.
pub(super) struct Owners {
    /// What a ReplicaSet is of, by the set's UID.
    above: BTreeMap<String, OwnerReference>,
}

impl Owners {
    pub(super) async fn find(cluster: &Cluster) -> Result<Self, FaultError> {
        let sets = cluster.api::<ReplicaSet>();
        let sets = sets.list(&ListParams::default()).await;
        let sets = sets.map_err(FaultError::during("list replicasets"))?;
        let above = sets.items.into_iter().filter_map(|set| {
            let owner = controller(&set.metadata)?.clone();
            Some((set.metadata.uid?, owner))
        });
        Ok(Self {
            above: above.collect(),
        })
    }

    /// The Deployment of a pod, or whatever else makes another one in its place.
    fn of<'a>(&'a self, pod: &'a Pod) -> Option<&'a OwnerReference> {
        let set = controller(&pod.metadata)?;
        Some(self.above.get(&set.uid).unwrap_or(set))
    }

    /// The workloads of these pods; one that nobody made is of none.
    pub(super) fn workloads<'a>(&self, pods: impl IntoIterator<Item = &'a Pod>) -> Workloads {
        let owners = pods.into_iter().filter_map(|pod| self.of(pod));
        owners
            .map(|owner| (owner.uid.clone(), words(owner)))
            .collect()
    }

    /// Each workload that loses pods when these go, of all that are `here` now.
    pub(super) fn targets(&self, here: &[Pod], going: &[&Pod]) -> Vec<Target> {
        let name = |pod: &Pod| self.of(pod).map(words);
        let names: BTreeSet<_> = going.iter().filter_map(|pod| name(pod)).collect();
        let target = |what: String| {
            let its = here
                .iter()
                .filter(|pod| name(pod).as_deref() == Some(&*what));
            let its: Vec<_> = its.collect();
            let stays = |pod: &&&Pod| is_ready(pod) && !going.contains(*pod);
            let left = size(its.iter().filter(stays).count());
            Target::of(what, self.workloads(its.iter().copied()), its, left)
        };
        names.into_iter().map(target).collect()
    }

    /// The Deployments that lose pods when these go, by name.
    pub(super) fn deployments<'a>(&'a self, going: &[&'a Pod]) -> BTreeSet<&'a str> {
        let owners = going.iter().filter_map(|pod| self.of(pod));
        let deployments = owners.filter(|owner| owner.kind == "Deployment");
        deployments.map(|owner| owner.name.as_str()).collect()
    }
}

/// `deployment pay`.
fn words(owner: &OwnerReference) -> String {
    format!("{} {}", owner.kind.to_lowercase(), owner.name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::blueprint::Impact;

    fn pod(owners: &Value, phase: &str) -> Pod {
        let pod = json!({"metadata": {"ownerReferences": owners}, "status": {"phase": phase}});
        serde_json::from_value(pod).unwrap()
    }

    fn made_by(kind: &str) -> Value {
        let owner = json!({"apiVersion": "v1", "kind": kind, "name": "a", "uid": "b"});
        let mut controller = owner.clone();
        controller["controller"] = json!(true);
        json!([owner, controller])
    }

    #[test]
    fn a_pod_goes_where_a_controller_makes_another_one() {
        for (kind, fate) in [
            ("ReplicaSet", Fate::Goes),
            ("StatefulSet", Fate::Goes),
            ("Job", Fate::Goes),
            ("StrimziPodSet", Fate::Goes),
            ("DaemonSet", Fate::Stays),
            ("Node", Fate::Stays),
            ("FaultInjection", Fate::Stays),
        ] {
            assert_eq!(super::fate(&pod(&made_by(kind), "Running")), fate, "{kind}");
        }
        assert_eq!(fate(&pod(&json!([]), "Running")), Fate::IsLost);
        let owned = json!([{"apiVersion": "v1", "kind": "ReplicaSet", "name": "a", "uid": "b"}]);
        assert_eq!(fate(&pod(&owned, "Running")), Fate::IsLost);
        assert_eq!(fate(&pod(&json!([]), "Succeeded")), Fate::Stays);
    }

    #[test]
    fn pods_of_all_sets_of_a_deployment_are_counted_together() {
        let owner = |kind: &str, name: &str, uid: &str| {
            json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid,
                "controller": true}])
        };
        let pod = |name: &str, owners: &Value| {
            let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
            let metadata = json!({"name": name, "ownerReferences": owners});
            serde_json::from_value(json!({"metadata": metadata, "status": ready})).unwrap()
        };
        let here: Vec<Pod> = vec![
            pod("pay-1", &owner("ReplicaSet", "pay-old", "1")),
            pod("pay-2", &owner("ReplicaSet", "pay-new", "2")),
            pod("db-0", &owner("StatefulSet", "db", "3")),
            pod("db-1", &owner("StatefulSet", "db", "3")),
            pod("else", &owner("Job", "else", "4")),
        ];
        let deployment = || {
            let owners: Vec<OwnerReference> =
                serde_json::from_value(owner("Deployment", "pay", "0")).unwrap();
            owners[0].clone()
        };
        let owners = Owners {
            above: ["1", "2"].map(|set| (set.to_owned(), deployment())).into(),
        };
        let going: Vec<&Pod> = here[1..4].iter().collect();
        let targets = owners.targets(&here, &going);
        let words = |target: &Target| {
            let Impact { what, left, .. } = &target.impact;
            format!("{what}: {:?}, {left}", target.pods)
        };
        assert_eq!(
            targets.iter().map(words).collect::<Vec<_>>(),
            [
                r#"deployment pay: ["pay-1", "pay-2"], 1"#,
                r#"statefulset db: ["db-0", "db-1"], 0"#,
            ]
        );
        assert_eq!(owners.deployments(&going), ["pay"].into());
    }
}
