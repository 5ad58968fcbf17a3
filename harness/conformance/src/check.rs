//! What a check is: one claim about a cluster, and how it is put to the test.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::context::Context;

/// The part of Kubernetes that a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Deployments and ReplicaSets.
    Rollout,
    /// What the kubelet does with a pod.
    Pod,
    /// EndpointSlices and the service proxy.
    Service,
    /// HorizontalPodAutoscalers and metrics.
    Hpa,
    /// The API server, and kubectl in front of it.
    Api,
    /// Jobs.
    Job,
}

impl Group {
    /// Every group, in the order of the checks.
    pub const ALL: [Self; 6] = [
        Self::Rollout,
        Self::Pod,
        Self::Service,
        Self::Hpa,
        Self::Api,
        Self::Job,
    ];

    /// Its name, as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rollout => "Rollout",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::Hpa => "HPA",
            Self::Api => "API",
            Self::Job => "Job",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// How much a check suffers from others that run beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// It mostly waits.
    Light,
    /// It burns processor time, sends traffic, or is judged by fractions of a second.
    Heavy,
}

/// One claim about a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its number, by which users choose it.
    pub number: u16,
    /// What it is about.
    pub group: Group,
    /// Its name.
    pub title: &'static str,
    /// What a faithful cluster does.
    pub expected: &'static str,
    /// About how long it takes. The longest checks start first.
    pub about: Duration,
    /// What it needs of the machine.
    pub load: Load,
    pub(crate) run: fn(Context) -> BoxFuture<'static, Finding>,
}

/// What was observed, when it is what was expected; otherwise why not.
pub(crate) type Finding = Result<String, Shortfall>;

/// A check that did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shortfall {
    /// What was observed instead.
    Failed(String),
    /// Why it cannot be put to the test here.
    Skipped(String),
}

impl From<kube::Error> for Shortfall {
    fn from(error: kube::Error) -> Self {
        Self::Failed(match error {
            kube::Error::Api(status) => format!("{} {}", status.code, status.message),
            other => in_one_line(&other),
        })
    }
}

/// An error and its causes.
pub(crate) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Some errors repeat their source's words.
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// A shortfall with what was observed.
pub(crate) fn failed(observed: impl Into<String>) -> Shortfall {
    Shortfall::Failed(observed.into())
}

/// `observed` is the finding if `as_expected`, and the failure otherwise.
pub(crate) fn verdict(as_expected: bool, observed: impl Into<String>) -> Finding {
    if as_expected {
        Ok(observed.into())
    } else {
        Err(failed(observed))
    }
}
