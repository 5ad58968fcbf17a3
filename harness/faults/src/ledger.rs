//! The undo ledger: how to put back what a run breaks, stored in the cluster before it breaks it.
//!
//! One ConfigMap per fault in force, labelled with the run, so that it outlives this process and
//! can be replayed by another.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};

use crate::error::said;
use crate::kinds::scale;

const FAULT_LABEL: &str = "holdfast.dev/fault-injection";
const RUN_LABEL: &str = "holdfast.dev/run";
const KEY: &str = "undo.json";

/// The inverse of a fault, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Undo {
    /// Scale a Deployment back.
    Scale(scale::Original),
}

impl Undo {
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Scale(original) => original.describe(),
        }
    }
}

/// One fault's line in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// The step's name.
    pub(crate) fault: String,
    pub(crate) undo: Undo,
}

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error("cannot {action} the undo record {name}")]
    Kubernetes {
        action: &'static str,
        name: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the undo record {name} has no key {KEY}; undo by hand and delete it")]
    Empty { name: String },
    #[error("the undo record {name} is not readable; undo by hand and delete it")]
    Unreadable {
        name: String,
        source: serde_json::Error,
    },
}

/// The ledger of one run.
#[derive(Clone)]
pub(crate) struct Ledger {
    api: Api<ConfigMap>,
    run_id: String,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Ledger")
            .field("run_id", &self.run_id)
            .finish_non_exhaustive()
    }
}

impl Ledger {
    pub(crate) fn new(client: Client, namespace: &str, run_id: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            run_id: run_id.to_owned(),
        }
    }

    fn name(&self, fault: &str) -> String {
        format!("holdfast-{}-{fault}", self.run_id).to_lowercase()
    }

    /// Stores an entry; returns what is stored, and where. An entry of the same fault is kept: it
    /// holds the values from before the first attempt.
    pub(crate) async fn write(&self, entry: Entry) -> Result<(Entry, String), LedgerError> {
        let name = self.name(&entry.fault);
        let text = serde_json::to_string(&entry).expect("an entry is plain data");
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.clone());
        map.metadata.labels = Some(
            [
                (FAULT_LABEL, "undo"),
                (RUN_LABEL, &self.run_id.to_lowercase()),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        );
        map.data = Some([(KEY.to_owned(), text)].into());
        let stored = match self.api.create(&PostParams::default(), &map).await {
            Ok(_) => entry,
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let kept = self.api.get(&name).await;
                parse(&kept.map_err(|error| failed("read", &name, error))?)?
            }
            Err(error) => return Err(failed("write", &name, error)),
        };
        Ok((stored, format!("configmap/{name}")))
    }

    /// The entry of a fault, if it was stored.
    pub(crate) async fn read(&self, fault: &str) -> Result<Option<Entry>, LedgerError> {
        let name = self.name(fault);
        let found = self.api.get_opt(&name).await;
        match found.map_err(|error| failed("read", &name, error))? {
            Some(map) => parse(&map).map(Some),
            None => Ok(None),
        }
    }

    /// Removes the entry of a fault; one that is gone already is success.
    pub(crate) async fn erase(&self, fault: &str) -> Result<(), LedgerError> {
        let name = self.name(fault);
        match self.api.delete(&name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(failed("delete", &name, error)),
        }
    }

    /// The entries of this run that are still there.
    pub(crate) async fn left_over(&self) -> Result<Vec<Entry>, LedgerError> {
        let run = self.run_id.to_lowercase();
        let selector = format!("{FAULT_LABEL}=undo,{RUN_LABEL}={run}");
        let maps = self
            .api
            .list(&ListParams::default().labels(&selector))
            .await;
        let run = format!("of run {run}");
        let maps = maps.map_err(|error| failed("list", &run, error))?;
        maps.items.iter().map(parse).collect()
    }
}

fn failed(action: &'static str, name: &str, error: kube::Error) -> LedgerError {
    LedgerError::Kubernetes {
        action,
        name: name.to_owned(),
        source: said(error),
    }
}

fn parse(map: &ConfigMap) -> Result<Entry, LedgerError> {
    let name = || map.metadata.name.clone().unwrap_or_default();
    let text = map.data.as_ref().and_then(|data| data.get(KEY));
    let text = text.ok_or_else(|| LedgerError::Empty { name: name() })?;
    serde_json::from_str(text).map_err(|source| LedgerError::Unreadable {
        name: name(),
        source,
    })
}
