//! What a run will do, on one absolute timeline that starts with the load.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::seconds;
use crate::experiment::{
    Address, ClusterLock, Experiment, Invariant, Journey, Model, Objective, Reference, SafetyNet,
    StopCondition, Target, Transport, Windows,
};
use crate::fault::Fault;
use crate::outcome::Source;

/// The longest anybody waits, after Ctrl-C or at a regular end, for requests in flight. A service
/// may take longer, up to the timeout: what it has not answered by then is counted as cut off.
const LONGEST_DRAIN: Duration = Duration::from_secs(15);

/// Lays an experiment out on one timeline. Faults are ordered by start; those that start
/// together keep the order of the experiment. `seed`: whatever the load leaves to chance is drawn
/// from it.
#[must_use]
pub fn plan(experiment: &Experiment, seed: u64) -> Plan {
    let load = &experiment.load;
    let baseline = experiment.windows.baseline;
    let mut faults: Vec<PlannedFault> = experiment
        .method
        .iter()
        .map(|step| PlannedFault {
            name: step.name.clone(),
            start: baseline + step.at,
            end: baseline + step.at + step.duration,
            fault: step.fault.clone(),
        })
        .collect();
    faults.sort_by_key(|fault| fault.start);
    Plan {
        experiment: experiment.name.clone(),
        title: experiment.title.clone(),
        load: LoadPlan {
            target: load.target.clone(),
            model: load.model.clone(),
            duration: load.model.duration(),
            requests_per_user: None,
            journeys: load.journeys.clone(),
            timeout: load.timeout,
            // A request has ended by its own deadline: to wait longer would be in vain.
            drain_limit: longest_timeout(&load.journeys, load.timeout).min(LONGEST_DRAIN),
            prober: load.prober,
            transport: load.transport.clone(),
            workers: load.workers,
            seed,
        },
        windows: experiment.windows.clone(),
        faults,
        objectives: experiment.objectives.clone(),
        invariants: experiment.invariants.clone(),
        cluster: experiment.safety.cluster.clone(),
        stop_conditions: experiment.safety.stop_conditions.clone(),
        allow: experiment.safety.allow.clone(),
        reference: experiment.reference.clone(),
    }
}

/// A whole run, decided beforehand. All times since the start of the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The experiment's name.
    pub experiment: String,
    /// The experiment's title.
    pub title: String,
    /// The load.
    pub load: LoadPlan,
    /// The windows as asked for; reports use the observed ones.
    pub windows: Windows,
    /// The faults, ordered by start.
    pub faults: Vec<PlannedFault>,
    /// What must hold.
    pub objectives: Vec<Objective>,
    /// What must be true of the system's data in the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invariants: Vec<Invariant>,
    /// The only cluster it may run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterLock>,
    /// When to stop early.
    pub stop_conditions: Vec<StopCondition>,
    /// Safety nets switched off by name.
    pub allow: Vec<SafetyNet>,
    /// A published figure to print beside ours.
    pub reference: Option<Reference>,
}

impl Plan {
    /// Whoever is asked over HTTP apart from the load.
    pub fn asks(&self) -> impl Iterator<Item = &Address> {
        let invariants = self.invariants.iter().map(|invariant| &invariant.get);
        let conditions = self.stop_conditions.iter();
        invariants.chain(conditions.filter_map(StopCondition::asks))
    }
}

/// The load's part of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadPlan {
    /// Where requests go.
    pub target: Target,
    /// How many requests are on their way, and when.
    pub model: Model,
    /// Sum of the stages: when the last request may be sent.
    #[serde(with = "seconds")]
    pub duration: Duration,
    /// A user of a closed model ends after so many requests, and the load when all users have;
    /// `None`: users go on as long as their stages.
    #[serde(default)]
    pub requests_per_user: Option<u64>,
    /// What is sent; never empty.
    pub journeys: Vec<Journey>,
    /// Deadline of a request that has none of its own.
    #[serde(with = "seconds")]
    pub timeout: Duration,
    /// How long requests in flight at the end of the load may still take to be classified;
    /// afterwards they are counted as cut off.
    #[serde(with = "seconds")]
    pub drain_limit: Duration,
    /// Requests per second of the open-model prober.
    pub prober: Option<f64>,
    /// How requests travel.
    pub transport: Transport,
    /// Processes that send, each its share; at least 1.
    pub workers: u32,
    /// What is left to chance is drawn from it, so that all workers draw the same.
    pub seed: u64,
}

impl LoadPlan {
    /// Who sends.
    #[must_use]
    pub fn sources(&self) -> Vec<Source> {
        let prober = self.prober.map(|_| Source::Prober);
        [Source::Users].into_iter().chain(prober).collect()
    }

    /// The longest deadline of any request.
    #[must_use]
    pub fn longest_timeout(&self) -> Duration {
        longest_timeout(&self.journeys, self.timeout)
    }
}

fn longest_timeout(journeys: &[Journey], usual: Duration) -> Duration {
    let requests = journeys.iter().flat_map(|journey| &journey.requests);
    let timeouts = requests.map(|request| request.timeout.unwrap_or(usual));
    timeouts.max().unwrap_or(usual)
}

/// One fault on the timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedFault {
    /// The step's name, unique within the run.
    pub name: String,
    /// Injected at.
    #[serde(with = "seconds")]
    pub start: Duration,
    /// Reverted at; where it is also the start, the fault ends by itself.
    #[serde(with = "seconds")]
    pub end: Duration,
    /// What is done.
    pub fault: Fault,
}

impl PlannedFault {
    /// Whether it is not over when a later one begins: where they touch, it is being undone then.
    #[must_use]
    pub fn lasts_until(&self, later: &Self) -> bool {
        self.end >= later.start
    }

    /// Whether it is not held but lasts until its effect is over.
    #[must_use]
    pub fn ends_by_itself(&self) -> bool {
        self.start == self.end
    }
}
