//! What each kind of fault does, worked out against the cluster as it is: one file per fault.

use holdfast_core::fault::Fault;

use crate::blueprint::{Blueprint, Context};
use crate::error::FaultError;

mod agent;
mod caller;
mod config_change;
mod dependency_outage;
mod hpa;
mod node_drain;
mod owners;
mod pod_kill;
mod pressure;
mod rollout;
mod scale;
mod service;
mod service_down;
mod stop;
mod strategy;
mod throttle;
mod workload;

pub(crate) async fn blueprint(
    fault: &Fault,
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    match fault {
        Fault::PodKill(kill) => pod_kill::blueprint(kill, context).await,
        Fault::PodFreeze(freeze) => stop::freeze(freeze, context).await,
        Fault::Scale(scale) => scale::blueprint(scale, context).await,
        Fault::Rollout(rollout) => rollout::blueprint(rollout, context).await,
        Fault::Hpa(hpa) => hpa::blueprint(hpa, context).await,
        Fault::ServiceDown(down) => service_down::blueprint(down, context).await,
        Fault::Throttle(throttle) => throttle::blueprint(throttle, context).await,
        Fault::DependencyOutage(outage) => dependency_outage::blueprint(outage, context).await,
        Fault::ProbeFlap(flap) => stop::flap(flap, context).await,
        Fault::CpuPressure(cpu) => pressure::cpu(cpu, context).await,
        Fault::MemoryPressure(memory) => pressure::memory(memory, context).await,
        Fault::DiskFull(disk) => pressure::disk(disk, context).await,
        Fault::ConfigChange(change) => config_change::blueprint(change, context).await,
        Fault::NodeDrain(drain) => node_drain::blueprint(drain, context).await,
    }
}
