//! The undo ledger: how to put back what a run breaks, stored in the cluster before it breaks it.
//!
//! One ConfigMap per fault in force, labelled with the run, so that it outlives this process and
//! can be replayed by another.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};

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
    #[error("{action} the undo record {name}: {source}")]
    Kubernetes {
        action: &'static str,
        name: String,
        source: Box<kube::Error>,
    },
    #[error("the undo record {name} is not readable ({reason}); undo by hand and delete it")]
    Unreadable { name: String, reason: String },
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

    /// Stores an entry; returns where. An entry of the same fault is kept: it holds the values
    /// from before the first attempt.
    pub(crate) async fn write(&self, entry: &Entry) -> Result<String, LedgerError> {
        let name = self.name(&entry.fault);
        let text = serde_json::to_string(entry).map_err(|error| LedgerError::Unreadable {
            name: name.clone(),
            reason: error.to_string(),
        })?;
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
        match self.api.create(&PostParams::default(), &map).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(source) => return Err(failed("write", &name, source)),
        }
        Ok(format!("configmap/{name}"))
    }

    /// The entry of a fault, if it was stored.
    pub(crate) async fn read(&self, fault: &str) -> Result<Option<Entry>, LedgerError> {
        let name = self.name(fault);
        let found = self.api.get_opt(&name).await;
        match found.map_err(|source| failed("read", &name, source))? {
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
            Err(source) => Err(failed("delete", &name, source)),
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
        let maps = maps.map_err(|source| failed("list", &run, source))?;
        maps.items.iter().map(parse).collect()
    }
}

fn failed(action: &'static str, name: &str, source: kube::Error) -> LedgerError {
    LedgerError::Kubernetes {
        action,
        name: name.to_owned(),
        source: Box::new(source),
    }
}

fn parse(map: &ConfigMap) -> Result<Entry, LedgerError> {
    let unreadable = |reason: String| LedgerError::Unreadable {
        name: map.metadata.name.clone().unwrap_or_default(),
        reason,
    };
    let text = map.data.as_ref().and_then(|data| data.get(KEY));
    let text = text.ok_or_else(|| unreadable(format!("it has no key {KEY}")))?;
    serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))
}
