//! What a fault will do to which objects: what is shown by `holdfast plan`, checked by the safety
//! nets, and recorded before anything is changed.

use std::collections::BTreeMap;

use holdfast_core::experiment::SafetyNet;
use holdfast_core::fault::Fault;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::{Action, is_ready};
use crate::error::FaultError;
use crate::kinds;
use crate::object::Cluster;
use crate::pods::size;

/// A fault, worked out against the cluster as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Blueprint {
    /// In the order in which they happen.
    pub(crate) actions: Vec<Action>,
    /// What loses pods, endpoints or time by it.
    pub(crate) targets: Vec<Target>,
}

/// What makes pods, and others in their place: in words, by UID.
pub(crate) type Workloads = BTreeMap<String, String>;

/// A workload or a Service, and how much of it the fault leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) impact: Impact,
    /// Whose its pods are: itself, or what is behind a Service.
    pub(crate) workloads: Workloads,
    /// Its pods that are ready, by name.
    pub(crate) pods: Vec<String>,
    /// Why it is not available as a whole, in its own words, if it says so.
    pub(crate) unavailable: Option<String>,
}

/// How many ready pods of a workload or a Service a fault leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Impact {
    /// The object, in words.
    pub(crate) what: String,
    /// Its pods that were ready when the fault was worked out.
    pub(crate) ready: u32,
    /// Of those that were `ready`, as many as stay so at the least.
    pub(crate) left: u32,
}

impl Impact {
    pub(crate) fn taken(&self) -> u32 {
        self.ready.saturating_sub(self.left)
    }
}

/// What another fault does at the same time.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    /// Its name.
    pub(crate) fault: String,
    pub(crate) impact: Impact,
}

impl Target {
    /// What has these pods of these workloads, of which the fault leaves so many ready ones.
    pub(crate) fn of<'a>(
        what: String,
        workloads: Workloads,
        pods: impl IntoIterator<Item = &'a Pod>,
        left: u32,
    ) -> Self {
        let ready = pods.into_iter().filter(|pod| is_ready(pod));
        let pods: Vec<_> = ready.map(ResourceExt::name_any).collect();
        let ready = size(pods.len());
        Self {
            impact: Impact {
                what,
                ready,
                left: left.min(ready),
            },
            workloads,
            pods,
            unavailable: None,
        }
    }
}

/// What a kind of fault is worked out from, besides its parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) cluster: &'a Cluster,
    /// Unique for the fault, fit for the names of objects made for it.
    pub(crate) name: &'a str,
    /// Seconds since the epoch: what runs inside the cluster ends by itself then.
    pub(crate) not_after: i64,
    /// The image of the program that does harm inside the cluster.
    pub(crate) agent_image: &'a str,
    /// Safety nets switched off by name.
    pub(crate) allow: &'a [SafetyNet],
}

impl Context<'_> {
    /// The end of the name, short enough for a label and for the name of a Service.
    pub(crate) fn short_name(&self) -> &str {
        const LONGEST: usize = 40;
        let start = self.name.len().saturating_sub(LONGEST);
        self.name[start..].trim_start_matches('-')
    }
}

impl Blueprint {
    pub(crate) async fn of(fault: &Fault, context: Context<'_>) -> Result<Self, FaultError> {
        kinds::blueprint(fault, context).await
    }

    /// What it leaves of its targets.
    pub(crate) fn impacts(&self) -> impl Iterator<Item = &Impact> {
        self.targets.iter().map(|target| &target.impact)
    }

    /// The workloads that it affects.
    pub(crate) fn workloads(&self) -> Workloads {
        let all = self.targets.iter().flat_map(|target| &target.workloads);
        all.map(|(uid, what)| (uid.clone(), what.clone())).collect()
    }

    /// What will be done, and what undoes it, one line each.
    pub(crate) fn undo(&self) -> Vec<String> {
        let undo = self.actions.iter().rev();
        undo.filter_map(Action::describe_undo).collect()
    }
}
