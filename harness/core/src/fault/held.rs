//! What a fault holds while it is in force: what it remembers the state of, or takes away.

use super::{DependencyOutage, Fault, Hpa, NodeDrain};

/// Two faults never hold the same thing at once: each would take the other's state for the
/// original, or together take more than either was allowed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// How many pods a Deployment has.
    Replicas(String),
    /// What a Deployment's pods look like.
    Template(String),
    /// The pods of a Deployment as they are.
    Pods(String),
    /// A StatefulSet.
    StatefulSet(String),
    /// An autoscaler.
    Autoscaler(String),
    /// A Service.
    Service(String),
    /// A ConfigMap.
    ConfigMap(String),
    /// The processors of the nodes of a Deployment's pods.
    Processors(String),
    /// The memory of the nodes of a Deployment's pods.
    Memory(String),
    /// The cluster's nodes: which one is drained may be open until then.
    Nodes,
}

impl Fault {
    /// What it holds; never empty.
    #[must_use]
    pub fn holds(&self) -> Vec<Held> {
        match self {
            Self::PodKill(kill) => vec![Held::Pods(kill.deployment.clone())],
            Self::PodFreeze(freeze) => vec![Held::Pods(freeze.deployment.clone())],
            Self::Scale(scale) => vec![Held::Replicas(scale.deployment.clone())],
            Self::Rollout(rollout) => vec![Held::Template(rollout.deployment.clone())],
            Self::Hpa(Hpa::Create(create)) => vec![
                Held::Replicas(create.deployment.clone()),
                Held::Autoscaler(create.deployment.clone()),
            ],
            Self::Hpa(Hpa::Remove(name)) => vec![Held::Autoscaler(name.clone())],
            Self::ServiceDown(down) => vec![Held::Service(down.service.clone())],
            Self::Throttle(throttle) => {
                let caller = throttle.from.as_ref();
                let caller = caller.map(|caller| Held::Template(caller.deployment.clone()));
                let service = Held::Service(throttle.service.clone());
                [service].into_iter().chain(caller).collect()
            }
            Self::DependencyOutage(DependencyOutage::Deployment(name)) => {
                vec![Held::Replicas(name.clone())]
            }
            Self::DependencyOutage(DependencyOutage::StatefulSet(name)) => {
                vec![Held::StatefulSet(name.clone())]
            }
            Self::ProbeFlap(flap) => vec![Held::Pods(flap.deployment.clone())],
            Self::CpuPressure(cpu) => vec![Held::Processors(cpu.deployment.clone())],
            Self::MemoryPressure(memory) => vec![Held::Memory(memory.deployment.clone())],
            Self::DiskFull(disk) => vec![Held::Pods(disk.deployment.clone())],
            Self::ConfigChange(change) => {
                let restarted = change.restart.iter().cloned().map(Held::Template);
                let map = Held::ConfigMap(change.config_map.clone());
                [map].into_iter().chain(restarted).collect()
            }
            Self::NodeDrain(NodeDrain::Node(_) | NodeDrain::NodeOf(_)) => vec![Held::Nodes],
        }
    }
}

/// `the replicas of deployment pay`.
impl std::fmt::Display for Held {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Replicas(name) => write!(formatter, "the replicas of deployment {name}"),
            Self::Template(name) => write!(formatter, "the pod template of deployment {name}"),
            Self::Pods(name) => write!(formatter, "the pods of deployment {name}"),
            Self::StatefulSet(name) => write!(formatter, "statefulset {name}"),
            Self::Autoscaler(name) => write!(formatter, "autoscaler {name}"),
            Self::Service(name) => write!(formatter, "service {name}"),
            Self::ConfigMap(name) => write!(formatter, "configmap {name}"),
            Self::Processors(name) => write!(formatter, "the processors of deployment {name}"),
            Self::Memory(name) => write!(formatter, "the memory of deployment {name}"),
            Self::Nodes => formatter.write_str("a node"),
        }
    }
}
