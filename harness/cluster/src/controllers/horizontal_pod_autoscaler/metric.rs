//! What the metrics of an autoscaler say, one by one and together.

use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
    ResourceMetricStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as QuantityText;

use super::replicas::{Measured, Metric, Proposal, Target, propose};
use crate::quantity::Quantity;

/// What metrics ask for.
#[derive(Debug)]
pub(super) struct Recommendation {
    pub(super) replicas: i32,
    /// The metric that asks for it, in words.
    pub(super) metric: String,
}

/// A metric that says nothing.
#[derive(Debug)]
pub(super) struct Failure {
    /// Of the event and the condition.
    pub(super) reason: &'static str,
    pub(super) error: String,
    /// What could not be had, in words.
    pub(super) value: String,
}

/// What all metrics say.
#[derive(Default, Debug)]
pub(super) struct Verdict {
    /// One for each metric; empty for those that failed, to keep the others in their places.
    pub(super) statuses: Vec<MetricStatus>,
    pub(super) highest: Option<Recommendation>,
    pub(super) failures: Vec<Failure>,
}

pub(super) fn evaluate(metrics: &[MetricSpec], measured: &Measured<'_>, current: i32) -> Verdict {
    let mut verdict = Verdict::default();
    for spec in metrics {
        match evaluate_one(spec, measured, current) {
            Ok((status, recommended)) => {
                verdict.statuses.push(status);
                let is_higher = |highest: &Recommendation| recommended.replicas > highest.replicas;
                if verdict.highest.as_ref().is_none_or(is_higher) {
                    verdict.highest = Some(recommended);
                }
            }
            Err(failure) => {
                verdict.statuses.push(MetricStatus::default());
                verdict.failures.push(failure);
            }
        }
    }
    verdict
}

fn evaluate_one(
    spec: &MetricSpec,
    measured: &Measured<'_>,
    current: i32,
) -> Result<(MetricStatus, Recommendation), Failure> {
    let (resource, container, target) = match (&spec.resource, &spec.container_resource) {
        (Some(source), _) => (source.name.as_str(), None, &source.target),
        (None, Some(source)) => {
            let container = Some(source.container.as_str());
            (source.name.as_str(), container, &source.target)
        }
        (None, None) => {
            return Err(Failure {
                reason: "InvalidMetricSourceType",
                error: format!("unknown metric source type {:?}", spec.type_),
                value: "metric".to_owned(),
            });
        }
    };
    let (reason, words, value) = match container {
        Some(container) => (
            "FailedGetContainerResourceMetric",
            "container resource utilization",
            format!("{container} container metric value"),
        ),
        None => (
            "FailedGetResourceMetric",
            "resource utilization",
            format!("{resource} resource metric value"),
        ),
    };
    let failed = |error| Failure {
        reason,
        error,
        value,
    };
    let Some(target) = wanted(target) else {
        let text = "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set";
        return Err(failed(text.to_owned()));
    };
    let (figure, name) = match target {
        Target::Utilization(_) => (
            "utilization",
            format!("{resource} {words} (percentage of request)"),
        ),
        Target::AverageMilli(_) => ("usage", format!("{resource} resource")),
    };
    let metric = Metric {
        resource,
        container,
        target,
    };
    let proposal = propose(metric, measured, current)
        .map_err(|error| failed(format!("failed to get {resource} {figure}: {error}")))?;
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
