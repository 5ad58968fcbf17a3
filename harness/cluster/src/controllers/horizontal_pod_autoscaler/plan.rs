//! What an autoscaler does at one of its turns. Pure: everything it looks at is given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerCondition,
    HorizontalPodAutoscalerStatus, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
    ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as QuantityText;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::AutoscalingOptions;
use super::limits::{History, Limited, Range, Stabilized, seconds};
use super::replicas::{Measured, Metric, Proposal, Target, propose};
use crate::clock;
use crate::events::Severity;
use crate::metrics::PodSample;
use crate::quantity::Quantity;

/// What an autoscaler sees.
#[derive(Debug)]
pub(super) struct Situation<'a> {
    pub(super) autoscaler: &'a HorizontalPodAutoscaler,
    /// The replicas which the target asks for, or why it cannot be scaled.
    pub(super) replicas: Result<i32, String>,
    /// The target's pods.
    pub(super) pods: Result<Vec<Arc<Pod>>, NoPods>,
    /// What the pods use, by name.
    pub(super) samples: BTreeMap<String, PodSample>,
    pub(super) options: &'a AutoscalingOptions,
    pub(super) now: Timestamp,
}

/// Why the target's pods are not known.
#[derive(Clone, Debug)]
pub(super) struct NoPods {
    /// Of the condition.
    pub(super) reason: &'static str,
    /// Of the event.
    pub(super) event: &'static str,
    pub(super) message: String,
}

/// What an autoscaler wants to change and to say.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) status: HorizontalPodAutoscalerStatus,
    pub(super) rescale: Option<Rescale>,
    pub(super) events: Vec<Note>,
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub(super) struct Rescale {
    pub(super) from: i32,
    pub(super) to: i32,
    reason: String,
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub(super) struct Note {
    pub(super) severity: Severity,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What all metrics together ask for.
struct Recommendation {
    replicas: i32,
    /// The metric that asks for it.
    metric: String,
}

/// Decides. The history is what this autoscaler recommended and did so far.
pub(super) fn plan(situation: &Situation<'_>, history: &mut History) -> Plan {
    let mut plan = Plan {
        status: situation.autoscaler.status.clone().unwrap_or_default(),
        rescale: None,
        events: Vec::new(),
    };
    let current = match &situation.replicas {
        Ok(current) => *current,
        Err(error) => {
            let text =
                format!("the HPA controller was unable to get the target's current scale: {error}");
            plan.set(
                "AbleToScale",
                false,
                ("FailedGetScale", &text),
                situation.now,
            );
            plan.warn("FailedGetScale", error.clone());
            return plan;
        }
    };
    let text = "the HPA controller was able to get the target's current scale";
    plan.set(
        "AbleToScale",
        true,
        ("SucceededGetScale", text),
        situation.now,
    );
    history.begin(current, situation.now);
    let spec = &situation.autoscaler.spec;
    let range = Range {
        current,
        min: spec
            .as_ref()
            .and_then(|spec| spec.min_replicas)
            .unwrap_or(1),
        max: spec.as_ref().map_or(current, |spec| spec.max_replicas),
    };
    plan.status.current_replicas = Some(current);
    let (desired, reason) = if current == 0 && range.min != 0 {
        let text = "scaling is disabled since the replica count of the target is zero";
        plan.set(
            "ScalingActive",
            false,
            ("ScalingDisabled", text),
            situation.now,
        );
        plan.status.current_metrics = None;
        (0, String::new())
    } else if current > range.max {
        plan.status.current_metrics = None;
        (
            range.max,
            "Current number of replicas above Spec.MaxReplicas".to_owned(),
        )
    } else if current < range.min {
        plan.status.current_metrics = None;
        (
            range.min,
            "Current number of replicas below Spec.MinReplicas".to_owned(),
        )
    } else {
        let Some(recommended) = plan.recommend(situation, current) else {
            return plan;
        };
        let reason = if recommended.replicas > current {
            format!("{} above target", recommended.metric)
        } else {
            "All metrics below target".to_owned()
        };
        (
            plan.normalize(situation, history, range, recommended.replicas),
            reason,
        )
    };
    plan.status.desired_replicas = desired;
    plan.rescale = (desired != current).then_some(Rescale {
        from: current,
        to: desired,
        reason,
    });
    plan
}

impl Plan {
    /// After the attempt to rescale: what became of it.
    pub(super) fn conclude(
        &mut self,
        rescale: &Rescale,
        outcome: Result<(), String>,
        before: i32,
        now: Timestamp,
    ) {
        let Rescale { to, reason, .. } = rescale;
        match outcome {
            Ok(()) => {
                let text =
                    format!("the HPA controller was able to update the target scale to {to}");
                self.set("AbleToScale", true, ("SucceededRescale", &text), now);
                self.status.last_scale_time = Some(time(now));
                self.events.push(Note {
                    severity: Severity::Normal,
                    reason: "SuccessfulRescale",
                    message: format!("New size: {to}; reason: {reason}"),
                });
            }
            Err(error) => {
                let text =
                    format!("the HPA controller was unable to update the target scale: {error}");
                self.set("AbleToScale", false, ("FailedUpdateScale", &text), now);
                self.status.desired_replicas = before;
                let message = format!("New size: {to}; reason: {reason}; error: {error}");
                self.warn("FailedRescale", message);
            }
        }
    }

    /// What the metrics ask for; `None`, and why, when they do not allow a decision.
    fn recommend(&mut self, situation: &Situation<'_>, current: i32) -> Option<Recommendation> {
        let pods = match &situation.pods {
            Ok(pods) => pods,
            Err(problem) => {
                self.warn(problem.event, problem.message.clone());
                let text = problem.message.as_str();
                self.set(
                    "ScalingActive",
                    false,
                    (problem.reason, text),
                    situation.now,
                );
                self.warn("FailedComputeMetricsReplicas", problem.message.clone());
                return None;
            }
        };
        let measured = Measured {
            pods,
            samples: &situation.samples,
            options: situation.options,
            now: situation.now,
        };
        let spec = situation.autoscaler.spec.as_ref();
        let metrics = spec
            .and_then(|spec| spec.metrics.as_deref())
            .unwrap_or_default();
        let mut highest: Option<Recommendation> = None;
        let mut statuses = Vec::new();
        let mut failures = Vec::new();
        for spec in metrics {
            match evaluate(spec, &measured, current) {
                Ok((status, recommended)) => {
                    statuses.push(status);
                    let is_higher =
                        |highest: &Recommendation| recommended.replicas > highest.replicas;
                    if highest.as_ref().is_none_or(is_higher) {
                        highest = Some(recommended);
                    }
                }
                Err((reason, error)) => {
                    // Keeps its place among the others.
                    statuses.push(MetricStatus::default());
                    self.warn(reason, error.clone());
                    failures.push((reason, error));
                }
            }
        }
        self.status.current_metrics = Some(statuses);
        let down = highest
            .as_ref()
            .is_none_or(|highest| highest.replicas < current);
        if let Some((reason, error)) = failures.first().filter(|_| down) {
            let text = format!("the HPA was unable to compute the replica count: {error}");
            self.set("ScalingActive", false, (reason, &text), situation.now);
            let message = format!(
                "invalid metrics ({} invalid out of {}), first error is: {error}",
                failures.len(),
                metrics.len()
            );
            self.warn("FailedComputeMetricsReplicas", message);
            return None;
        }
        let recommended = highest?;
        let text = format!(
            "the HPA was able to successfully calculate a replica count from {}",
            recommended.metric
        );
        self.set(
            "ScalingActive",
            true,
            ("ValidMetricFound", &text),
            situation.now,
        );
        Some(recommended)
    }

    /// The recommendation after stabilization, range and rate.
    fn normalize(
        &mut self,
        situation: &Situation<'_>,
        history: &mut History,
        range: Range,
        desired: i32,
    ) -> i32 {
        let now = situation.now;
        let default_window = situation.options.downscale_stabilization;
        let (stabilized, limited) = match rules(situation.autoscaler) {
            None => {
                let stabilized = history.stabilize(desired, now, default_window);
                (stabilized, range.limit(stabilized.replicas))
            }
            Some((up, down)) => {
                let windows = (window(up, Duration::ZERO), window(down, default_window));
                let change = (range.current, desired);
                let stabilized = history.stabilize_both_ways(change, now, windows);
                let limited = range.limit_rate(stabilized.replicas, (up, down), history, now);
                (stabilized, limited)
            }
        };
        self.tell(stabilized, limited, now);
        limited.replicas
    }

    fn tell(&mut self, stabilized: Stabilized, limited: Limited, now: Timestamp) {
        let ready = ("ReadyForNewScale", "recommended size matches current size");
        let within = (
            "DesiredWithinRange",
            "the desired count is within the acceptable range",
        );
        self.set(
            "AbleToScale",
            true,
            stabilized.held_back.unwrap_or(ready),
            now,
        );
        let is_limited = limited.limit.is_some();
        self.set(
            "ScalingLimited",
            is_limited,
            limited.limit.unwrap_or(within),
            now,
        );
    }

    fn warn(&mut self, reason: &'static str, message: String) {
        self.events.push(Note {
            severity: Severity::Warning,
            reason,
            message,
        });
    }

    /// Sets a condition; its transition time changes with its status only.
    fn set(&mut self, type_: &str, holds: bool, (reason, message): (&str, &str), now: Timestamp) {
        let conditions = self.status.conditions.get_or_insert_default();
        let position = conditions.iter().position(|known| known.type_ == type_);
        let position = position.unwrap_or_else(|| {
            conditions.push(HorizontalPodAutoscalerCondition {
                type_: type_.to_owned(),
                ..HorizontalPodAutoscalerCondition::default()
            });
            conditions.len() - 1
        });
        let condition = &mut conditions[position];
        let status = if holds { "True" } else { "False" };
        if condition.status != status {
            condition.status = status.to_owned();
            condition.last_transition_time = Some(time(now));
        }
        condition.reason = Some(reason.to_owned());
        condition.message = Some(message.to_owned());
    }
}

fn time(now: Timestamp) -> Time {
    Time(clock::truncated(now))
}

/// The rules for scaling up and down, if there are any.
fn rules(autoscaler: &HorizontalPodAutoscaler) -> Option<(&HPAScalingRules, &HPAScalingRules)> {
    let HorizontalPodAutoscalerBehavior {
        scale_up,
        scale_down,
    } = autoscaler.spec.as_ref()?.behavior.as_ref()?;
    Some((scale_up.as_ref()?, scale_down.as_ref()?))
}

fn window(rules: &HPAScalingRules, default: Duration) -> Duration {
    rules.stabilization_window_seconds.map_or(default, seconds)
}

/// For how long a change of the replicas matters to the rules, if there are any.
pub(super) fn longest_period(autoscaler: &HorizontalPodAutoscaler) -> Option<Duration> {
    let (up, down) = rules(autoscaler)?;
    let policies = [up, down]
        .into_iter()
        .flat_map(|rules| rules.policies.iter().flatten());
    policies.map(|policy| seconds(policy.period_seconds)).max()
}

/// What one metric says and asks for, or the reason and the text of its failure.
fn evaluate(
    spec: &MetricSpec,
    measured: &Measured<'_>,
    current: i32,
) -> Result<(MetricStatus, Recommendation), (&'static str, String)> {
    let failed = match spec.container_resource {
        Some(_) => "FailedGetContainerResourceMetric",
        None => "FailedGetResourceMetric",
    };
    let (resource, container, target) = match (&spec.resource, &spec.container_resource) {
        (Some(source), _) => (&source.name, None, &source.target),
        (None, Some(source)) => (&source.name, Some(&source.container), &source.target),
        (None, None) => {
            return Err((
                failed,
                format!("unknown metric source type {:?}", spec.type_),
            ));
        }
    };
    let Some(target) = wanted(target) else {
        let text = "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set";
        return Err((failed, text.to_owned()));
    };
    let (figure, name) = match target {
        Target::Utilization(_) => (
            "utilization",
            format!("{resource} resource utilization (percentage of request)"),
        ),
        Target::AverageMilli(_) => ("usage", format!("{resource} resource")),
    };
    let metric = Metric {
        resource,
        container: container.map(String::as_str),
        target,
    };
    let proposal = propose(metric, measured, current).map_err(|error| {
        (
            failed,
            format!("failed to get {resource} {figure}: {error}"),
        )
    })?;
    let recommendation = Recommendation {
        replicas: proposal.replicas,
        metric: name,
    };
    Ok((metric_status(spec, proposal), recommendation))
}

fn wanted(target: &MetricTarget) -> Option<Target> {
    match &target.average_value {
        Some(QuantityText(text)) => {
            Quantity::parse(text).map(|value| Target::AverageMilli(value.milli()))
        }
        None => target.average_utilization.map(Target::Utilization),
    }
}

fn metric_status(spec: &MetricSpec, proposal: Proposal) -> MetricStatus {
    let current = MetricValueStatus {
        average_utilization: proposal.utilization,
        average_value: Some(QuantityText(
            Quantity::of_milli(proposal.average_milli).to_string(),
        )),
        value: None,
    };
    let resource = spec.resource.as_ref().map(|source| ResourceMetricStatus {
        name: source.name.clone(),
        current: current.clone(),
    });
    let container = spec.container_resource.as_ref();
    let container_resource = container.map(|source| ContainerResourceMetricStatus {
        name: source.name.clone(),
        container: source.container.clone(),
        current: current.clone(),
    });
    MetricStatus {
        type_: spec.type_.clone(),
        resource,
        container_resource,
        ..MetricStatus::default()
    }
}

#[cfg(test)]
mod tests;
