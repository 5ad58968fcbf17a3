//! By how much the use may miss its target without consequence.
//!
//! The pods come near to the share of a processor that they are told to use, but how near depends
//! on the machine. So each decision is judged by the utilization that it was made for.

use std::fmt;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use super::measured::{self, Told};
use super::stage::{PATIENCE, TWO_DECISIONS, autoscale, burning, deploy, replicas};
use crate::check::{Finding, Shortfall, failed};
use crate::context::Context;
use crate::journal::Entry;

const PODS: u8 = 3;
/// In millicores. A pod counts in whole ones, rounded up, so that it may not be much less; and all
/// of the pods together should get it on a machine that has other work.
const REQUEST: u32 = 40;
/// In percent.
const TARGET: i32 = 100;
/// The target and a tenth. Kubernetes counts it as within the tolerance since 1.33.
const EDGE: i32 = 110;

/// An autoscaler's decision, as its status tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decision {
    /// In percent.
    utilization: i32,
    current: i32,
    desired: i32,
}

impl Decision {
    fn of(autoscaler: &HorizontalPodAutoscaler) -> Option<Self> {
        let status = autoscaler.status.as_ref()?;
        let metric = status.current_metrics.as_ref()?.first()?;
        Some(Self {
            utilization: metric.resource.as_ref()?.current.average_utilization?,
            current: status.current_replicas?,
            desired: status.desired_replicas,
        })
    }

    /// Fewer replicas are no question here: they come after five minutes.
    fn is_by_the_rule(self) -> bool {
        let unchanged = self.desired == self.current;
        let needed = (self.utilization * self.current + TARGET - 1) / TARGET;
        match self.utilization {
            ..EDGE => unchanged,
            EDGE => unchanged || self.desired == needed,
            _ => self.desired == needed,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            utilization,
            desired,
            ..
        } = self;
        write!(formatter, "{desired} at {utilization} %")
    }
}

pub(super) async fn tolerance(context: Context) -> Finding {
    measured::needed(&context).await?;
    let is_below: Wanted = |decision| (TARGET + 1..EDGE).contains(&decision.utilization);
    let is_above: Wanted = |decision| decision.utilization > EDGE;
    let (below, above) = tokio::try_join!(
        decisions(&context, "below", 42, is_below),
        decisions(&context, "above", 46, is_above),
    )?;
    let observed = format!("{}; {}", words(&below), words(&above));
    if below.iter().any(is_below) && above.iter().any(is_above) {
        Ok(observed)
    } else {
        let reason = format!("the pods did not get the processor time they need: {observed}");
        Err(Shortfall::Skipped(reason))
    }
}

/// Whether a decision puts to the test what it should.
type Wanted = fn(&Decision) -> bool;

/// What an autoscaler decides for pods that should use `burn` millicores, until it changes their
/// number; an error if any of that is not by the rule. It waits for a wanted decision, but not for
/// ever.
async fn decisions(
    context: &Context,
    part: &'static str,
    burn: u32,
    is_wanted: Wanted,
) -> Result<Vec<Decision>, Shortfall> {
    let container = burning(context, burn, REQUEST, &[]);
    let deployments = deploy(context, part, container, PODS.into()).await?;
    measured::until_settled(context, part, PODS.into()).await?;
    let told = Told::of(context, part, REQUEST);
    autoscale(context, part, 20, TARGET).await?;
    let autoscalers = context.journal::<HorizontalPodAutoscaler>(part).await?;
    let found = autoscalers
        .until("a utilization is told", PATIENCE, |entries| {
            decided(entries).into_iter().find(is_wanted)
        })
        .await;
    tokio::time::sleep(TWO_DECISIONS).await;
    let decisions = decided(&autoscalers.entries());
    if decisions.is_empty() {
        found?;
    }
    let told = told.percents();
    for decision in &decisions {
        if !decision.is_by_the_rule() {
            return Err(failed(format!("{decision}, from {}", decision.current)));
        }
        let by = u64::try_from(decision.utilization).unwrap_or_default();
        if !told.contains(&by) {
            return Err(failed(format!(
                "{decision}, but the metrics API told {told:?} %"
            )));
        }
    }
    let is_change = |count: &i32| *count != i32::from(PODS);
    let mut desired = decisions.iter().map(|decision| decision.desired);
    let entries = deployments.entries();
    let mut had = entries.iter().map(|entry| replicas(&entry.object));
    let (decided, done) = (desired.find(is_change), had.find(is_change));
    if decided == done {
        Ok(decisions)
    } else {
        Err(failed(format!("decided {decided:?}, done {done:?}")))
    }
}

/// Those that were made before anything changed: pods that start are another matter.
fn decided(entries: &[Entry<HorizontalPodAutoscaler>]) -> Vec<Decision> {
    let decisions = entries
        .iter()
        .filter_map(|entry| Decision::of(&entry.object));
    let mut decisions: Vec<Decision> = decisions
        .take_while(|decision| decision.current == i32::from(PODS))
        .collect();
    decisions.dedup();
    decisions
}

fn words(decisions: &[Decision]) -> String {
    let words: Vec<String> = decisions.iter().map(Decision::to_string).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_too_much_is_tolerated_and_then_counts_in_full() {
        let is_right = |utilization, desired| {
            let decision = Decision {
                utilization,
                current: 3,
                desired,
            };
            decision.is_by_the_rule()
        };
        assert!(is_right(107, 3) && !is_right(107, 4));
        assert!(is_right(110, 3) && is_right(110, 4), "versions differ");
        assert!(is_right(111, 4) && !is_right(111, 3));
        assert!(is_right(134, 5) && !is_right(134, 4));
        assert!(is_right(50, 3) && !is_right(50, 2), "not before 300 s");
    }
}
