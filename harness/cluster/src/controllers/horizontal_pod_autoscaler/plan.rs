//! What an autoscaler does at one of its turns. Pure: everything it looks at is given.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{
    HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::AutoscalingOptions;
use super::limits::{History, Limited, Range, Stabilized, seconds};
use super::metric::{Failure, Recommendation, evaluate};
use super::replicas::Measured;
use crate::clock;
use crate::events::Severity;
use crate::metrics::PodSample;

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
    /// Reason and message of the condition.
    pub(super) condition: (&'static str, String),
    /// Reason and message of the event.
    pub(super) event: (&'static str, String),
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
    let Some((desired, reason)) = plan.desired(situation, history, range) else {
        return plan;
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

    /// How many replicas there should be, and why; `None` when that cannot be told.
    fn desired(
        &mut self,
        situation: &Situation<'_>,
        history: &mut History,
        range: Range,
    ) -> Option<(i32, String)> {
        let Range { current, min, max } = range;
        if current == 0 && min != 0 {
            let text = "scaling is disabled since the replica count of the target is zero";
            let disabled = ("ScalingDisabled", text);
            self.set("ScalingActive", false, disabled, situation.now);
            self.status.current_metrics = None;
            return Some((0, String::new()));
        }
        let outside = [
            (current > max, max, "above Spec.MaxReplicas"),
            (current < min, min, "below Spec.MinReplicas"),
        ];
        if let Some((_, bound, words)) = outside.into_iter().find(|(outside, ..)| *outside) {
            self.status.current_metrics = None;
            return Some((bound, format!("Current number of replicas {words}")));
        }
        let recommended = self.recommend(situation, current)?;
        let reason = match recommended.replicas.cmp(&current) {
            Ordering::Greater => format!("{} above target", recommended.metric),
            Ordering::Less => "All metrics below target".to_owned(),
            // It is an earlier recommendation that changes the replicas.
            Ordering::Equal => String::new(),
        };
        let replicas = self.normalize(situation, history, range, recommended.replicas);
        Some((replicas, reason))
    }

    /// What the metrics ask for; `None`, and why, when they do not allow a decision.
    fn recommend(&mut self, situation: &Situation<'_>, current: i32) -> Option<Recommendation> {
        let pods = match &situation.pods {
            Ok(pods) => pods,
            Err(NoPods { condition, event }) => {
                let (reason, message) = event;
                self.warn(reason, message.clone());
                let told = (condition.0, condition.1.as_str());
                self.set("ScalingActive", false, told, situation.now);
                self.warn("FailedComputeMetricsReplicas", message.clone());
                self.status.current_metrics = None;
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
        let metrics = spec.and_then(|spec| spec.metrics.as_deref());
        let verdict = evaluate(metrics.unwrap_or_default(), &measured, current);
        for failure in &verdict.failures {
            self.warn(failure.reason, failure.error.clone());
        }
        let highest = verdict
            .highest
            .filter(|highest| verdict.failures.is_empty() || highest.replicas >= current);
        let failed = verdict.failures.first().filter(|_| highest.is_none());
        if let Some(Failure {
            reason,
            error,
            value,
        }) = failed
        {
            let text = format!("the HPA was unable to compute the replica count: {error}");
            self.set("ScalingActive", false, (reason, &text), situation.now);
            let message = format!(
                "invalid metrics ({} invalid out of {}), first error is: failed to get {value}: {error}",
                verdict.failures.len(),
                verdict.statuses.len()
            );
            self.warn("FailedComputeMetricsReplicas", message);
        }
        self.status.current_metrics = Some(verdict.statuses);
        let recommended = highest?;
        let text = format!(
            "the HPA was able to successfully calculate a replica count from {}",
            recommended.metric
        );
        let found = ("ValidMetricFound", text.as_str());
        self.set("ScalingActive", true, found, situation.now);
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

#[cfg(test)]
mod tests;
