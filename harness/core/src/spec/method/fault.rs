//! Which fault a step brings about. The parameters are read in the files beside this one, by what
//! they break; what they mean is in `crate::fault`.

use super::super::problems::{Fields, Problems};
use super::super::tree::{Node, Value};
use super::{network, nodes, pods, workloads};
use crate::fault::{Count, Fault};

/// Far above any Deployment, far below what would hurt an API server by a typo.
pub(super) const MOST_PODS: u32 = 1000;

/// A fault that is asked for and that there will not be.
const CLOCK_SKEW: &str = "clockSkew";

pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Fault> {
    let known = [
        "podKill",
        "podFreeze",
        "scale",
        "rollout",
        "hpa",
        "serviceDown",
        "throttle",
        "dependencyOutage",
        "probeFlap",
        "cpuPressure",
        "memoryPressure",
        "diskFull",
        "configChange",
        "nodeDrain",
    ];
    if asks_for_clock_skew(node, problems) {
        return None;
    }
    let fields = problems.fields(node, "fault", &known, &[])?;
    let (name, parameters) = fields.exactly_one(&known, problems)?;
    Some(match name {
        "podKill" => Fault::PodKill(pods::kill(parameters, problems)?),
        "podFreeze" => Fault::PodFreeze(pods::freeze(parameters, problems)?),
        "scale" => Fault::Scale(workloads::scale(parameters, problems)?),
        "rollout" => Fault::Rollout(workloads::rollout(parameters, problems)?),
        "hpa" => Fault::Hpa(workloads::hpa(parameters, problems)?),
        "serviceDown" => Fault::ServiceDown(network::service_down(parameters, problems)?),
        "throttle" => Fault::Throttle(network::throttle(parameters, problems)?),
        "dependencyOutage" => Fault::DependencyOutage(workloads::outage(parameters, problems)?),
        "probeFlap" => Fault::ProbeFlap(pods::flap(parameters, problems)?),
        "cpuPressure" => Fault::CpuPressure(nodes::cpu(parameters, problems)?),
        "memoryPressure" => Fault::MemoryPressure(nodes::memory(parameters, problems)?),
        "diskFull" => Fault::DiskFull(pods::disk(parameters, problems)?),
        "configChange" => Fault::ConfigChange(workloads::config(parameters, problems)?),
        "nodeDrain" => Fault::NodeDrain(nodes::drain(parameters, problems)?),
        other => unreachable!("`{other}` is among the known faults and is read above"),
    })
}

/// A container has no clock of its own: it reads its node's.
fn asks_for_clock_skew(node: &Node, problems: &mut Problems) -> bool {
    let Value::Map(entries) = &node.value else {
        return false;
    };
    let Some((key, _)) = entries.iter().find(|(key, _)| key.text == CLOCK_SKEW) else {
        return false;
    };
    problems.report(
        &key.at,
        "there is no fault `clockSkew`: a container's clock is its node's, and no change of it \
         stays within the system under test",
        "allowed: any other fault; a service that takes its clock from outside can be given a \
         wrong one by `configChange` or `rollout`",
    );
    true
}

/// A required name of a Deployment, Service or StatefulSet.
pub(super) fn name(fields: &Fields<'_>, field: &str, problems: &mut Problems) -> Option<String> {
    let node = fields.required(field, problems)?;
    problems.label(node, field)
}

/// The required number or share of pods.
pub(super) fn count(fields: &Fields<'_>, problems: &mut Problems) -> Option<Count> {
    let node = fields.required("count", problems)?;
    if let Value::Scalar(scalar) = &node.value {
        if let Some(share) = Count::percent(&scalar.text) {
            return Some(share);
        }
        let pods = scalar.text.parse().ok();
        let pods = pods.filter(|pods| (1..=MOST_PODS).contains(pods));
        if let Some(pods) = pods.filter(|_| scalar.plain || scalar.substituted) {
            return Some(Count::Pods(pods));
        }
    }
    if !matches!(node.value, Value::Broken) {
        problems.report(
            &node.at,
            "`count` is neither a number of pods nor a share of them",
            format!(
                "allowed: a whole number without quotes, 1 to {MOST_PODS}, or \"1%\" to \"100%\""
            ),
        );
    }
    None
}

/// A field that may be left out: absent is fine, present and wrong is not.
pub(super) fn optional<T>(
    fields: &Fields<'_>,
    name: &str,
    read: impl FnOnce(&Node) -> Option<T>,
) -> Option<Option<T>> {
    match fields.get(name) {
        Some(node) => read(node).map(Some),
        None => Some(None),
    }
}
