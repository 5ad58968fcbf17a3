//! The environment lock: an experiment may say on which cluster alone it may run.

use holdfast_core::experiment::ClusterLock;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};

use crate::error::said;

/// The namespace whose UID tells a cluster from all others.
const SYSTEM_NAMESPACE: &str = "kube-system";

/// Why a run may not take place here.
#[derive(Debug, thiserror::Error)]
pub enum ClusterLockError {
    /// Another cluster by name.
    #[error(
        "the experiment may run on {wanted} alone (safety.cluster), and this cluster is {found}"
    )]
    Context {
        /// The name in the experiment.
        wanted: String,
        /// This cluster's.
        found: String,
    },
    /// Another cluster by its UID.
    #[error(
        "the experiment may run on the cluster {wanted} alone (safety.cluster), and this one is {found}"
    )]
    Uid {
        /// The UID in the experiment.
        wanted: String,
        /// This cluster's.
        found: String,
    },
    /// Nobody knows which cluster this is.
    #[error("cannot read the UID of namespace {SYSTEM_NAMESPACE}, which safety.cluster asks for")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Whether the cluster that answers `client`, reached under the name `context`, is the one the
/// experiment may run on.
///
/// # Errors
/// It is another one, or nobody knows.
pub async fn check_cluster(
    client: &Client,
    context: &str,
    lock: &ClusterLock,
) -> Result<(), ClusterLockError> {
    match lock {
        ClusterLock::Context(wanted) if wanted == context => Ok(()),
        ClusterLock::Context(wanted) => Err(ClusterLockError::Context {
            wanted: wanted.clone(),
            found: context.to_owned(),
        }),
        ClusterLock::Uid(wanted) => {
            let namespace = Api::<Namespace>::all(client.clone())
                .get(SYSTEM_NAMESPACE)
                .await;
            let namespace = namespace.map_err(|error| ClusterLockError::Unknown(said(error)))?;
            let found = namespace.uid().unwrap_or_default();
            if found == *wanted {
                return Ok(());
            }
            Err(ClusterLockError::Uid {
                wanted: wanted.clone(),
                found,
            })
        }
    }
}
