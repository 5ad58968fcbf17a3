//! The catalogue of faults: one file per fault with its parameters and manual text, and one line
//! in each list here.
//!
//! Parameters have the same form in the experiment file, in a record and in a cluster: what is
//! written as `every: 10s` is `"every": "10s"` in JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod config_change;
mod count;
pub mod cpu_pressure;
pub mod dependency_outage;
pub mod disk_full;
mod held;
pub mod hpa;
pub mod memory_pressure;
pub mod node_drain;
pub mod pod_freeze;
pub mod pod_kill;
pub mod probe_flap;
pub mod rollout;
pub mod scale;
pub mod service_down;
pub mod throttle;

pub use config_change::ConfigChange;
pub use count::Count;
pub use cpu_pressure::CpuPressure;
pub use dependency_outage::DependencyOutage;
pub use disk_full::DiskFull;
pub use held::Held;
pub use hpa::{Hpa, HpaCreate};
pub use memory_pressure::MemoryPressure;
pub use node_drain::NodeDrain;
pub use pod_freeze::PodFreeze;
pub use pod_kill::PodKill;
pub use probe_flap::ProbeFlap;
pub use rollout::Rollout;
pub use scale::Scale;
pub use service_down::ServiceDown;
pub use throttle::{Bandwidth, Caller, Throttle};

/// Something that is broken on purpose and put back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// Evict or delete pods of a Deployment.
    PodKill(PodKill),
    /// Stop the processes of pods, and let them go on.
    PodFreeze(PodFreeze),
    /// Change the number of replicas of a Deployment.
    Scale(Scale),
    /// Change a Deployment's pod template.
    Rollout(Rollout),
    /// Create or remove a horizontal pod autoscaler.
    Hpa(Hpa),
    /// Take the endpoints of a Service away.
    ServiceDown(ServiceDown),
    /// Make a Service slow, narrow or unreliable.
    Throttle(Throttle),
    /// Take all pods of a workload away.
    DependencyOutage(DependencyOutage),
    /// Make pods unready and ready in turn.
    ProbeFlap(ProbeFlap),
    /// Keep processors busy on a Deployment's nodes.
    CpuPressure(CpuPressure),
    /// Hold memory on a Deployment's nodes.
    MemoryPressure(MemoryPressure),
    /// Fill a file system in pods.
    DiskFull(DiskFull),
    /// Change keys of a ConfigMap.
    ConfigChange(ConfigChange),
    /// Cordon a node and evict its pods.
    NodeDrain(NodeDrain),
}

impl Fault {
    /// One line for people: what is done to which object.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::PodKill(kill) => kill.describe(),
            Self::PodFreeze(freeze) => freeze.describe(),
            Self::Scale(scale) => scale.describe(),
            Self::Rollout(rollout) => rollout.describe(),
            Self::Hpa(hpa) => hpa.describe(),
            Self::ServiceDown(down) => down.describe(),
            Self::Throttle(throttle) => throttle.describe(),
            Self::DependencyOutage(outage) => outage.describe(),
            Self::ProbeFlap(flap) => flap.describe(),
            Self::CpuPressure(pressure) => pressure.describe(),
            Self::MemoryPressure(pressure) => pressure.describe(),
            Self::DiskFull(disk) => disk.describe(),
            Self::ConfigChange(change) => change.describe(),
            Self::NodeDrain(drain) => drain.describe(),
        }
    }

    /// Whether it ends by itself: there is nothing to put back, and it is over when its effect is.
    /// Only then may a step do without a duration.
    #[must_use]
    pub fn ends_by_itself(&self) -> bool {
        match self {
            Self::PodKill(kill) => kill.every.is_none(),
            Self::Rollout(rollout) => rollout.restart,
            Self::PodFreeze(_)
            | Self::Scale(_)
            | Self::Hpa(_)
            | Self::ServiceDown(_)
            | Self::Throttle(_)
            | Self::DependencyOutage(_)
            | Self::ProbeFlap(_)
            | Self::CpuPressure(_)
            | Self::MemoryPressure(_)
            | Self::DiskFull(_)
            | Self::ConfigChange(_)
            | Self::NodeDrain(_) => false,
        }
    }
}
