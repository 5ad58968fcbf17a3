//! How many replicas a metric asks for: the use of the pods over their target, with care for pods
//! that are not ready or were not measured.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodCondition};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::AutoscalingOptions;
use crate::clock;
use crate::metrics::PodSample;
use crate::quantity::Quantity;

const CPU: &str = "cpu";

/// Pods by name, and what they were measured to use.
#[derive(Debug)]
pub(super) struct Measured<'a> {
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) samples: &'a BTreeMap<String, PodSample>,
    pub(super) options: &'a AutoscalingOptions,
    pub(super) now: Timestamp,
}

/// What one metric is about.
#[derive(Copy, Clone, Debug)]
pub(super) struct Metric<'a> {
    pub(super) resource: &'a str,
    /// One container instead of all.
    pub(super) container: Option<&'a str>,
    pub(super) target: Target,
}

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum Target {
    /// Percent of the request, over all pods.
    Utilization(i32),
    /// Thousandths of the resource's unit, on average.
    AverageMilli(i64),
}

/// What follows from a metric.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// Percent of the request, if that is the target.
    pub(super) utilization: Option<i32>,
    pub(super) average_milli: i64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum NoProposal {
    #[error(
        "unable to get metrics for resource {0}: no metrics returned from resource metrics API"
    )]
    NothingMeasured(String),
    #[error("no pods returned by selector while calculating replica count")]
    NoPods,
    #[error("did not receive metrics for targeted pods (pods might be unready)")]
    NoneReady,
    #[error("missing request for {resource} in container {container} of Pod {pod}")]
    MissingRequest {
        resource: String,
        container: String,
        pod: String,
    },
    #[error("no metrics returned matched known pods")]
    NoRequests,
}

/// Thousandths by pod.
type Amounts<'a> = BTreeMap<&'a str, i64>;

/// How the pods of a workload count.
#[derive(Default, Debug)]
struct Groups<'a> {
    ready: i32,
    /// Not there yet: their use says nothing.
    unready: BTreeSet<&'a str>,
    missing: BTreeSet<&'a str>,
    /// On their way out.
    ignored: BTreeSet<&'a str>,
}

/// The use over the target, and how to show it.
#[derive(Copy, Clone, Debug)]
struct Ratio {
    of_target: f64,
    utilization: Option<i32>,
    average_milli: i64,
}

/// How many replicas a workload with `current` ones needs to keep to the target.
pub(super) fn propose(
    metric: Metric<'_>,
    measured: &Measured<'_>,
    current: i32,
) -> Result<Proposal, NoProposal> {
    if measured.samples.is_empty() {
        return Err(NoProposal::NothingMeasured(metric.resource.to_owned()));
    }
    if measured.pods.is_empty() {
        return Err(NoProposal::NoPods);
    }
    let mut used = usage(metric, measured);
    let groups = group(metric.resource, measured, &used);
    used.retain(|pod, _| !groups.ignored.contains(pod) && !groups.unready.contains(pod));
    if used.is_empty() {
        return Err(NoProposal::NoneReady);
    }
    let requests = match metric.target {
        Target::Utilization(_) => requests(metric, measured.pods)?,
        Target::AverageMilli(_) => Amounts::new(),
    };
    let ratio = ratio(metric.target, &used, &requests)?;
    let proposed = |replicas| Proposal {
        replicas,
        utilization: ratio.utilization,
        average_milli: ratio.average_milli,
    };
    // The range of Kubernetes 1.33. By the distance from 1, which 1.32 compares, a ratio of 1.1
    // would lie outside: floating-point numbers are not exact enough.
    let tolerance = measured.options.tolerance;
    let within_tolerance =
        |of_target: f64| (1.0 - tolerance..=1.0 + tolerance).contains(&of_target);
    let unready_matter = !groups.unready.is_empty() && ratio.of_target > 1.0;
    if !unready_matter && groups.missing.is_empty() {
        return Ok(proposed(if within_tolerance(ratio.of_target) {
            current
        } else {
            needed(ratio.of_target, f64::from(groups.ready))
        }));
    }
    assume(
        metric.target,
        ratio.of_target,
        &groups,
        &requests,
        &mut used,
    );
    let assumed = self::ratio(metric.target, &used, &requests)?.of_target;
    let turned = ratio.of_target < 1.0 && assumed > 1.0 || ratio.of_target > 1.0 && assumed < 1.0;
    if within_tolerance(assumed) || turned {
        return Ok(proposed(current));
    }
    let replicas = needed(assumed, used.len() as f64);
    let against_its_reason =
        assumed < 1.0 && replicas > current || assumed > 1.0 && replicas < current;
    Ok(proposed(if against_its_reason {
        current
    } else {
        replicas
    }))
}

/// Adds what pods without a trustworthy measurement may be using, so that it dampens the change.
fn assume<'a>(
    target: Target,
    of_target: f64,
    groups: &Groups<'a>,
    requests: &Amounts<'a>,
    used: &mut Amounts<'a>,
) {
    for pod in &groups.missing {
        if of_target < 1.0 {
            let amount = match target {
                Target::Utilization(percent) => {
                    let request = requests.get(pod).copied().unwrap_or_default();
                    request * i64::from(percent.max(100)) / 100
                }
                Target::AverageMilli(milli) => milli,
            };
            used.insert(pod, amount);
        } else if of_target > 1.0 {
            used.insert(pod, 0);
        }
    }
    if of_target > 1.0 {
        used.extend(groups.unready.iter().map(|pod| (*pod, 0)));
    }
}

fn needed(of_target: f64, pods: f64) -> i32 {
    // As a cast, which saturates.
    (of_target * pods).ceil() as i32
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// What each pod was measured to use of the resource.
fn usage<'a>(metric: Metric<'_>, measured: &Measured<'a>) -> Amounts<'a> {
    let amount = |sample: &PodSample| -> Option<i64> {
        let mut wanted = sample
            .containers
            .iter()
            .filter(|(name, _)| {
                metric
                    .container
                    .is_none_or(|wanted| wanted == name.as_str())
            })
            .peekable();
        wanted.peek()?;
        let milli = wanted.map(|(_, usage)| match metric.resource {
            CPU => usage.cpu_nanocores.div_ceil(1_000_000),
            _ => usage.memory_bytes.saturating_mul(1000),
        });
        i64::try_from(milli.sum::<u64>()).ok()
    };
    let of_pod = |pod: &'a Arc<Pod>| Some((name(pod), amount(measured.samples.get(name(pod))?)?));
    measured.pods.iter().filter_map(of_pod).collect()
}

fn group<'a>(resource: &str, measured: &Measured<'a>, used: &Amounts<'a>) -> Groups<'a> {
    let mut groups = Groups::default();
    for pod in measured.pods {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        if pod.metadata.deletion_timestamp.is_some() || phase == Some("Failed") {
            groups.ignored.insert(name(pod));
        } else if phase == Some("Pending") {
            groups.unready.insert(name(pod));
        } else if !used.contains_key(name(pod)) {
            groups.missing.insert(name(pod));
        } else if resource == CPU && !is_settled(pod, measured) {
            groups.unready.insert(name(pod));
        } else {
            groups.ready += 1;
        }
    }
    groups
}

/// Whether what a pod's processor use tells is more than the work of starting.
fn is_settled(pod: &Pod, measured: &Measured<'_>) -> bool {
    let Measured {
        options,
        now,
        samples,
        ..
    } = measured;
    let status = pod.status.as_ref();
    let started = status.and_then(|status| status.start_time.as_ref());
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let is_ready = |condition: &&PodCondition| condition.type_ == "Ready";
    let ready = conditions.and_then(|conditions| conditions.iter().find(is_ready));
    let (Some(started), Some(ready)) = (started, ready) else {
        return false;
    };
    let never = Timestamp::UNIX_EPOCH;
    let transition = ready
        .last_transition_time
        .as_ref()
        .map_or(never, |time| time.0);
    let is_unready = ready.status == "False";
    if later(started.0, options.cpu_initialization_period) > *now {
        let sample = samples.get(name(pod));
        // The metrics API tells times in whole seconds.
        let measured_since = |sample: &PodSample| {
            clock::truncated(sample.timestamp) >= later(transition, sample.window)
        };
        !is_unready && sample.is_some_and(measured_since)
    } else {
        !(is_unready && later(started.0, options.initial_readiness_delay) > transition)
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// What each pod asks for, those too that are on their way out.
fn requests<'a>(metric: Metric<'_>, pods: &'a [Arc<Pod>]) -> Result<Amounts<'a>, NoProposal> {
    let of_pod = |pod: &'a Arc<Pod>| {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let wanted = containers.filter(|container| {
            metric
                .container
                .is_none_or(|wanted| wanted == container.name)
        });
        let requests = wanted.map(|container| {
            request(container, metric.resource).ok_or_else(|| NoProposal::MissingRequest {
                resource: metric.resource.to_owned(),
                container: container.name.clone(),
                pod: name(pod).to_owned(),
            })
        });
        Ok((name(pod), requests.sum::<Result<i64, NoProposal>>()?))
    };
    pods.iter().map(of_pod).collect()
}

fn request(container: &Container, resource: &str) -> Option<i64> {
    let requests = container.resources.as_ref()?.requests.as_ref()?;
    Some(Quantity::parse(&requests.get(resource)?.0)?.milli())
}

fn ratio(target: Target, used: &Amounts<'_>, requests: &Amounts<'_>) -> Result<Ratio, NoProposal> {
    match target {
        Target::Utilization(percent) => {
            let known = || {
                used.iter()
                    .filter_map(|(pod, used)| Some((*used, *requests.get(pod)?)))
            };
            let (used, requested) = known().fold((0_i64, 0_i64), |sum, (used, request)| {
                (sum.0.saturating_add(used), sum.1.saturating_add(request))
            });
            let count = i64::try_from(known().count()).unwrap_or(i64::MAX);
            if requested == 0 {
                return Err(NoProposal::NoRequests);
            }
            // Whole percents: what is below the next one does not count.
            let utilization = i128::from(used) * 100 / i128::from(requested);
            let utilization = i32::try_from(utilization).unwrap_or(i32::MAX);
            Ok(Ratio {
                of_target: f64::from(utilization) / f64::from(percent),
                utilization: Some(utilization),
                average_milli: used / count,
            })
        }
        Target::AverageMilli(milli) => {
            let sum = used
                .values()
                .fold(0_i64, |sum, used| sum.saturating_add(*used));
            let average_milli = sum / i64::try_from(used.len()).unwrap_or(i64::MAX);
            Ok(Ratio {
                of_target: average_milli as f64 / milli as f64,
                utilization: None,
                average_milli,
            })
        }
    }
}

#[cfg(test)]
mod tests;
