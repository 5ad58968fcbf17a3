//! The permissions that faults and stop conditions take: what is asked of the API on behalf of each,
//! and nothing else.
//! A test holds every row to the requests.

use std::collections::BTreeMap;

use holdfast_core::condition::ObjectKind;
use holdfast_core::experiment::SafetyNet;
use holdfast_core::fault::{DependencyOutage, Fault, Hpa};

use crate::object::Resource;

const WATCH: [&str; 2] = ["list", "watch"];

/// What is to be permitted: verbs on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Empty for the core group.
    pub group: String,
    /// The plural, with its subresource if it is one.
    pub resource: String,
    /// In the API's words, sorted.
    pub verbs: Vec<&'static str>,
}

/// What it takes to plan a fault, to bring it about and to undo it, besides FaultInjections, Leases,
/// a look at the namespace and one at the kill switch; one rule for each resource. `allow` are the
/// safety nets that are switched off, and ask nothing.
#[must_use]
pub fn rules(fault: &Fault, allow: &[SafetyNet]) -> Vec<Rule> {
    let mut needs = Needs::default();
    match fault {
        Fault::PodKill(_) => {
            needs.workload(Resource::Deployment);
            needs.on(Resource::Deployment, &WATCH);
            needs.on(Resource::Pod, &["watch"]);
            if allow.contains(&SafetyNet::Pdb) {
                needs.on(Resource::Pod, &["delete"]);
            } else {
                needs.evictions();
                needs.add("policy", "poddisruptionbudgets", &["list"]);
            }
        }
        Fault::PodFreeze(_)
        | Fault::ProbeFlap(_)
        | Fault::CpuPressure(_)
        | Fault::MemoryPressure(_)
        | Fault::DiskFull(_) => {
            needs.workload(Resource::Deployment);
            needs.agent();
        }
        Fault::Scale(_) => {
            needs.workload(Resource::Deployment);
            needs.on(Resource::Deployment, &["update"]);
            needs.on(Resource::Pod, &["watch"]);
        }
        Fault::Rollout(_) => needs.restart(),
        Fault::Hpa(Hpa::Create(_)) => {
            needs.workload(Resource::Deployment);
            needs.on(Resource::Deployment, &["update"]);
            needs.made(Resource::HorizontalPodAutoscaler);
        }
        Fault::Hpa(Hpa::Remove(_)) => {
            let verbs = ["create", "delete", "get"];
            needs.on(Resource::HorizontalPodAutoscaler, &verbs);
        }
        Fault::ServiceDown(_) => needs.redirect(),
        Fault::Throttle(throttle) => {
            match &throttle.from {
                None => needs.redirect(),
                Some(_) => {
                    needs.endpoints();
                    needs.restart();
                }
            }
            needs.made(Resource::Service);
            needs.agent();
        }
        Fault::DependencyOutage(outage) => {
            let resource = match outage {
                DependencyOutage::Deployment(_) => Resource::Deployment,
                DependencyOutage::StatefulSet(_) => Resource::StatefulSet,
            };
            needs.workload(resource);
            needs.on(resource, &["update"]);
            needs.on(Resource::Pod, &["watch"]);
        }
        Fault::ConfigChange(change) => {
            needs.on(Resource::ConfigMap, &["get", "update"]);
            if !change.restart.is_empty() {
                needs.restart();
            }
        }
        Fault::NodeDrain(_) => {
            needs.on(Resource::Node, &["get", "list", "update"]);
            needs.on(Resource::Pod, &WATCH);
            needs.evictions();
            // Whether they can be evicted at all.
            needs.add("policy", "poddisruptionbudgets", &["list"]);
            // Which Deployments its pods are of.
            needs.add("apps", "replicasets", &["list"]);
            needs.on(Resource::Deployment, &["get"]);
        }
    }
    needs.0.into_values().collect()
}

/// What it takes to read the conditions of an object of this kind.
#[must_use]
pub fn reading(kind: ObjectKind) -> Rule {
    let kind = Resource::from(kind).api_resource();
    Rule {
        group: kind.group,
        resource: kind.plural,
        verbs: vec!["get"],
    }
}

/// What it takes to read the health of the cluster, besides a look at [`READYZ`](crate::READYZ).
#[must_use]
pub fn reading_health() -> Rule {
    let kind = Resource::Node.api_resource();
    Rule {
        group: kind.group,
        resource: kind.plural,
        verbs: vec!["list"],
    }
}

/// Rules by group and resource.
#[derive(Default)]
struct Needs(BTreeMap<(String, String), Rule>);

impl Needs {
    fn add(&mut self, group: &str, resource: &str, verbs: &[&'static str]) {
        let key = (group.to_owned(), resource.to_owned());
        let known = self.0.entry(key).or_insert_with(|| Rule {
            group: group.to_owned(),
            resource: resource.to_owned(),
            verbs: Vec::new(),
        });
        known.verbs.extend(verbs);
        known.verbs.sort_unstable();
        known.verbs.dedup();
    }

    fn on(&mut self, resource: Resource, verbs: &[&'static str]) {
        let kind = resource.api_resource();
        self.add(&kind.group, &kind.plural, verbs);
    }

    /// A workload and its pods are looked at.
    fn workload(&mut self, resource: Resource) {
        self.on(resource, &["get"]);
        self.on(Resource::Pod, &["list"]);
    }

    /// An object is made and deleted.
    fn made(&mut self, resource: Resource) {
        let verbs = ["create", "delete", "get", "list", "watch"];
        self.on(resource, &verbs);
    }

    /// A pod with the agent is made and deleted, and says what it did.
    fn agent(&mut self) {
        self.made(Resource::Pod);
        self.add("", "pods/log", &["get"]);
    }

    /// Pods are asked to leave.
    fn evictions(&mut self) {
        self.add("", "pods/eviction", &["create"]);
    }

    /// A Deployment gets another template, and is watched until it has followed.
    fn restart(&mut self) {
        self.workload(Resource::Deployment);
        self.on(Resource::Deployment, &["update"]);
        self.on(Resource::Deployment, &WATCH);
    }

    /// A Service gets another selector, and is watched until its endpoints have followed.
    fn redirect(&mut self) {
        self.on(Resource::Service, &["update"]);
        self.endpoints();
    }

    /// A Service and what is behind it are looked at, and its endpoints are watched.
    fn endpoints(&mut self) {
        self.on(Resource::Service, &["get"]);
        self.on(Resource::Pod, &["list"]);
        // Which workloads those are of.
        self.add("apps", "replicasets", &["list"]);
        self.add("discovery.k8s.io", "endpointslices", &WATCH);
    }
}
