//! The object that stands for one fault in a cluster: what is wanted, how it is undone, how far it is.

use std::time::Duration;

use holdfast_core::experiment::SafetyNet;
use holdfast_core::fault::Fault;
use kube::{CustomResource, Resource as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::action::{Action, Owner};
use crate::blueprint::Impact;
use crate::error::FaultError;

/// Stays on the object until the fault is undone.
pub(crate) const FINALIZER: &str = "holdfast.dev/revert";

/// How long after its planned end a fault is undone by itself.
pub(crate) const MARGIN: Duration = Duration::from_secs(30);
/// A fault is held for 30 minutes at most, whoever wants it.
pub(crate) const LONGEST: jiff::SignedDuration = jiff::SignedDuration::from_secs(30 * 60 + 30);

/// What is wanted.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "FaultInjection",
    namespaced,
    doc = "One fault: what is done to the cluster and until when, how it is undone, how far it is.",
    status = "FaultInjectionStatus",
    shortname = "fi",
    printcolumn = r#"{"name": "Run", "type": "string", "jsonPath": ".spec.run"}"#,
    printcolumn = r#"{"name": "Phase", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Not after", "type": "string", "jsonPath": ".spec.notAfter"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct FaultInjectionSpec {
    /// The run it belongs to.
    pub run: String,
    /// The step of the experiment; unique within the run.
    pub step: String,
    /// What is done, as an experiment's `fault`.
    #[schemars(schema_with = "anything")]
    pub fault: Fault,
    /// RFC 3339, UTC: undone by then, whatever happens; half an hour after the object was made at most.
    #[schemars(extend("format" = "date-time"))]
    pub not_after: String,
    /// The Lease in this namespace without whose renewals it is undone; none: `notAfter` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// Safety nets switched off by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "names")]
    pub allow: Vec<SafetyNet>,
    /// How far it is to go.
    #[serde(default)]
    pub desired: Desired,
}

/// How far a fault is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Desired {
    /// How to undo it is recorded; nothing is changed.
    Prepared,
    /// In effect.
    #[default]
    Injected,
    /// Undone.
    Reverted,
}

/// How far it is, and how it is undone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FaultInjectionStatus {
    /// How far it is.
    #[serde(default)]
    pub phase: Phase,
    /// What is done, with the values from before: written before anything is changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "anything_many")]
    pub(crate) actions: Vec<Action>,
    /// What it leaves of its targets: what other faults take of the same counts with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) targets: Vec<Impact>,
    /// When it was last brought about, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub injected_at: Option<String>,
    /// What was seen that proves that it is in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// What was seen that proves that it is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverted: Option<String>,
    /// Why it was undone before that was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverted_because: Option<String>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far a fault is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nobody has looked at it.
    #[default]
    Pending,
    /// How to undo it is recorded; nothing is changed.
    Prepared,
    /// Perhaps in effect.
    Injecting,
    /// In effect, with evidence.
    Injected,
    /// Perhaps still in effect.
    Reverting,
    /// Undone, with evidence.
    Reverted,
    /// Refused before anything was changed.
    Refused,
}

impl FaultInjection {
    /// How far it is; of one that nobody has looked at, the beginning.
    pub(crate) fn progress(&self) -> FaultInjectionStatus {
        self.status.clone().unwrap_or_default()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.status
            .as_ref()
            .map(|status| status.phase)
            .unwrap_or_default()
    }

    /// Whether it is in effect, or may be.
    pub(crate) fn is_active(&self) -> bool {
        match self.phase() {
            Phase::Prepared | Phase::Injecting | Phase::Injected | Phase::Reverting => true,
            Phase::Pending | Phase::Reverted | Phase::Refused => false,
        }
    }

    /// Whether somebody has said that it is to end.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some() || self.spec.desired == Desired::Reverted
    }

    /// When it is undone by itself.
    pub(crate) fn not_after(&self) -> Result<jiff::Timestamp, FaultError> {
        let text = &self.spec.not_after;
        let wanted: jiff::Timestamp = text.parse().map_err(|source| FaultError::NotATime {
            text: text.clone(),
            source,
        })?;
        let made = self.metadata.creation_timestamp.as_ref();
        let latest = made.and_then(|made| made.0.checked_add(LONGEST).ok());
        Ok(latest.map_or(wanted, |latest| wanted.min(latest)))
    }

    /// On whose behalf its actions happen.
    pub(crate) fn owner(&self) -> Owner {
        let reference = self.controller_owner_ref(&());
        Owner {
            reference: reference.expect("an object that was read has a name and a UID"),
            run: self.spec.run.clone(),
        }
    }
}

/// The schema of what only its own parser knows.
pub fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// The schema of a list of it.
pub fn anything_many(generator: &mut SchemaGenerator) -> Schema {
    let items = anything(generator);
    json_schema!({"type": "array", "items": items})
}

fn names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string"}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_by_hand_lasts_no_longer_than_one_of_an_experiment() {
        let object = |not_after: &str| -> FaultInjection {
            let object = serde_json::json!({
                "apiVersion": "holdfast.dev/v1alpha1",
                "kind": "FaultInjection",
                "metadata": {"name": "outage", "creationTimestamp": "2026-01-01T10:00:00Z"},
                "spec": {
                    "run": "by-hand",
                    "step": "outage",
                    "fault": {"scale": {"deployment": "pay", "replicas": 1}},
                    "notAfter": not_after,
                },
            });
            serde_json::from_value(object).unwrap()
        };
        let ends = |not_after: &str| object(not_after).not_after().unwrap().to_string();
        assert_eq!(ends("2026-01-01T10:20:00Z"), "2026-01-01T10:20:00Z");
        assert_eq!(ends("2026-01-01T16:00:00Z"), "2026-01-01T10:30:30Z");
        assert!(object("tomorrow").not_after().is_err());
    }
}
