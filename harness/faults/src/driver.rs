//! The fault driver: safety nets first, then the ledger, then the deed of the fault's kind.

use std::sync::Mutex;

use async_trait::async_trait;
use holdfast_core::experiment::SafetyNet;
use holdfast_core::fault::Fault;
use holdfast_core::plan::PlannedFault;
use holdfast_engine::{FaultDriver, FaultDriverError};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use crate::error::{FaultError, one_line};
use crate::kinds::scale;
use crate::ledger::{Entry, Ledger, Undo};

/// The label that a namespace must carry, with the value `allowed`, before anything in it is
/// broken.
pub const CHAOS_LABEL: &str = "holdfast.dev/chaos";

/// Injects faults into one namespace, on behalf of one run.
pub struct KubeFaults {
    client: Client,
    namespace: String,
    ledger: Ledger,
    /// What this run has written to the ledger, for the residue check after the entries are gone.
    written: Mutex<Vec<Entry>>,
}

impl std::fmt::Debug for KubeFaults {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KubeFaults")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl KubeFaults {
    /// A driver for the faults of the run `run_id` in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, run_id: &str) -> Self {
        Self {
            ledger: Ledger::new(client.clone(), namespace, run_id),
            client,
            namespace: namespace.to_owned(),
            written: Mutex::default(),
        }
    }

    async fn check_namespace(&self) -> Result<(), FaultError> {
        let namespace = Api::<Namespace>::all(self.client.clone())
            .get(&self.namespace)
            .await
            .map_err(FaultError::during(format!(
                "read namespace {}",
                self.namespace
            )))?;
        let labels = namespace.metadata.labels.unwrap_or_default();
        if labels
            .get(CHAOS_LABEL)
            .is_some_and(|value| value == "allowed")
        {
            Ok(())
        } else {
            Err(FaultError::NamespaceNotAllowed(self.namespace.clone()))
        }
    }

    fn written(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.written
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn written_for(&self, fault: &PlannedFault) -> Option<Entry> {
        let written = self.written();
        written
            .iter()
            .find(|entry| entry.fault == fault.name)
            .cloned()
    }
}

#[async_trait]
impl FaultDriver for KubeFaults {
    async fn check(
        &self,
        fault: &PlannedFault,
        allow: &[SafetyNet],
    ) -> Result<(), FaultDriverError> {
        self.check_namespace().await?;
        match &fault.fault {
            Fault::Scale(scale) => {
                scale::check(&self.client, &self.namespace, scale, allow).await?
            }
            other => return Err(FaultError::NotCarriedOut(other.describe()).into()),
        }
        Ok(())
    }

    async fn prepare(&self, fault: &PlannedFault) -> Result<String, FaultDriverError> {
        let undo = match &fault.fault {
            Fault::Scale(scale) => scale::undo(&self.client, &self.namespace, scale).await?,
            other => return Err(FaultError::NotCarriedOut(other.describe()).into()),
        };
        let entry = Entry {
            fault: fault.name.clone(),
            undo,
        };
        let (entry, place) = self.ledger.write(entry).await.map_err(FaultError::from)?;
        let line = format!("{} (recorded in {place})", entry.undo.describe());
        self.written().push(entry);
        Ok(line)
    }

    async fn inject(&self, fault: &PlannedFault) -> Result<String, FaultDriverError> {
        let Some(entry) = self.written_for(fault) else {
            return Err(FaultError::NotPrepared(fault.name.clone()).into());
        };
        Ok(match (&fault.fault, &entry.undo) {
            (Fault::Scale(scale), Undo::Scale(original)) => {
                scale::inject(&self.client, &self.namespace, scale, original).await?
            }
            (other, Undo::Scale(_)) => {
                return Err(FaultError::NotCarriedOut(other.describe()).into());
            }
        })
    }

    async fn recover(&self, fault: &PlannedFault) -> Result<String, FaultDriverError> {
        // Whoever deletes or spoils the record does not undo the fault with it: this run still
        // knows. Only the record knows of a write whose answer was lost.
        let known = match self.written_for(fault) {
            Some(entry) => Some(entry),
            None => self
                .ledger
                .read(&fault.name)
                .await
                .map_err(FaultError::from)?,
        };
        let Some(entry) = known else {
            return Ok("nothing was recorded, so nothing was changed".to_owned());
        };
        let evidence = match &entry.undo {
            Undo::Scale(original) => {
                scale::recover(&self.client, &self.namespace, original).await?
            }
        };
        // The entry goes only after the inverse has succeeded: until then it can be replayed.
        self.ledger
            .erase(&fault.name)
            .await
            .map_err(FaultError::from)?;
        Ok(evidence)
    }

    async fn residue(&self) -> Vec<String> {
        let written = self.written().clone();
        // A run that changed nothing leaves nothing, whether or not the cluster still answers.
        if written.is_empty() {
            return Vec::new();
        }
        let mut residue = match self.ledger.left_over().await {
            Ok(entries) => entries
                .iter()
                .map(|entry| format!("{}: not undone: {}", entry.fault, entry.undo.describe()))
                .collect(),
            Err(error) => vec![one_line(&error)],
        };
        for entry in written {
            let difference = match &entry.undo {
                Undo::Scale(original) => {
                    scale::difference(&self.client, &self.namespace, original).await
                }
            };
            match difference {
                Ok(None) => {}
                Ok(Some(text)) => residue.push(format!("{}: {text}", entry.fault)),
                Err(error) => residue.push(format!("{}: {}", entry.fault, one_line(&error))),
            }
        }
        residue.sort();
        residue.dedup();
        residue
    }
}
