//! How often and how eagerly autoscaling happens.

use std::time::Duration;

/// The flags of a real cluster's autoscaling, with its defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoscalingOptions {
    /// How often the use of processor and memory is measured (metrics-server's
    /// `--metric-resolution`).
    pub metric_resolution: Duration,
    /// How often each autoscaler decides (`--horizontal-pod-autoscaler-sync-period`).
    pub sync_period: Duration,
    /// By which part the use may miss its target without consequence
    /// (`--horizontal-pod-autoscaler-tolerance`).
    pub tolerance: f64,
    /// For how long a higher recommendation keeps the replicas from getting fewer
    /// (`--horizontal-pod-autoscaler-downscale-stabilization`).
    pub downscale_stabilization: Duration,
    /// For how long after a pod's start its readiness decides whether its processor use counts
    /// (`--horizontal-pod-autoscaler-cpu-initialization-period`).
    pub cpu_initialization_period: Duration,
    /// A pod that was last unready within this time of its start has never been ready
    /// (`--horizontal-pod-autoscaler-initial-readiness-delay`).
    pub initial_readiness_delay: Duration,
}

impl Default for AutoscalingOptions {
    fn default() -> Self {
        Self {
            metric_resolution: Duration::from_secs(15),
            sync_period: Duration::from_secs(15),
            tolerance: 0.1,
            downscale_stabilization: Duration::from_secs(300),
            cpu_initialization_period: Duration::from_secs(300),
            initial_readiness_delay: Duration::from_secs(30),
        }
    }
}

impl AutoscalingOptions {
    /// What differs from a real cluster, in words.
    pub(crate) fn deviations(&self) -> Vec<String> {
        let real = Self::default();
        let periods = [
            (
                "metric resolution",
                self.metric_resolution,
                real.metric_resolution,
            ),
            ("sync period", self.sync_period, real.sync_period),
            (
                "downscale stabilization",
                self.downscale_stabilization,
                real.downscale_stabilization,
            ),
            (
                "CPU initialization period",
                self.cpu_initialization_period,
                real.cpu_initialization_period,
            ),
            (
                "initial readiness delay",
                self.initial_readiness_delay,
                real.initial_readiness_delay,
            ),
        ];
        let mut deviations: Vec<String> = periods
            .into_iter()
            .filter(|(_, here, there)| here != there)
            .map(|(name, here, there)| format!("{name} {here:?} instead of {there:?}"))
            .collect();
        if self.tolerance != real.tolerance {
            deviations.push(format!(
                "tolerance {} instead of {}",
                self.tolerance, real.tolerance
            ));
        }
        deviations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        assert!(AutoscalingOptions::default().deviations().is_empty());
        let hurried = AutoscalingOptions {
            sync_period: Duration::from_secs(1),
            tolerance: 0.2,
            ..AutoscalingOptions::default()
        };
        assert_eq!(
            hurried.deviations(),
            [
                "sync period 1s instead of 15s",
                "tolerance 0.2 instead of 0.1"
            ]
        );
    }
}
