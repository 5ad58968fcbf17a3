//! One fault at a time for whatever a fault holds: a Lease for each, made before the fault is worked
//! out, owned by the fault's object and so gone with it at the latest.

use holdfast_core::fault::{Fault, Held};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};

use crate::action::Owner;
use crate::error::FaultError;
use crate::lease::holder_of;
use crate::object::Cluster;

/// Marks the locks of one fault, with its object's UID.
const LOCK_LABEL: &str = "holdfast.dev/lock";

/// Locks everything that the fault holds. One that fails half-way leaves what it has got: the fault is
/// refused then, and its locks are released.
pub(crate) async fn take(
    cluster: &Cluster,
    fault: &Fault,
    owner: &Owner,
) -> Result<(), FaultError> {
    let api = cluster.api::<Lease>();
    for held in fault.holds() {
        let name = name(&held);
        let mut lease = Lease::default();
        lease.metadata.name = Some(name.clone());
        lease.metadata.owner_references = Some(vec![owner.reference.clone()]);
        let label = (LOCK_LABEL.to_owned(), owner.reference.uid.clone());
        lease.metadata.labels = Some([label].into());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(owner.reference.name.clone()),
            ..LeaseSpec::default()
        });
        match api.create(&PostParams::default(), &lease).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let found = api.get_opt(&name).await;
                let found = found.map_err(FaultError::during(format!("read the lease {name}")))?;
                // A fault of the same name may be another one.
                let label = found
                    .as_ref()
                    .and_then(|lease| lease.labels().get(LOCK_LABEL));
                if label != Some(&owner.reference.uid) {
                    let holder = found.as_ref().and_then(holder_of).unwrap_or_default();
                    return Err(FaultError::Locked {
                        what: held.to_string(),
                        holder: holder.to_owned(),
                    });
                }
            }
            Err(error) => return Err(FaultError::during(format!("lock {held}"))(error)),
        }
    }
    Ok(())
}

/// Gives up the locks of one fault.
pub(crate) async fn release(cluster: &Cluster, owner: &Owner) -> Result<(), FaultError> {
    let ours = ListParams::default().labels(&format!("{LOCK_LABEL}={}", owner.reference.uid));
    let api = cluster.api::<Lease>();
    let found = api
        .list(&ours)
        .await
        .map_err(FaultError::during("list locks"))?;
    for lease in found {
        // Another fault may have it by now.
        let parameters = DeleteParams::default().preconditions(Preconditions {
            uid: lease.uid(),
            resource_version: None,
        });
        match api.delete(&lease.name_any(), &parameters).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return Err(FaultError::during("give up a lock")(error)),
        }
    }
    Ok(())
}

fn name(held: &Held) -> String {
    match held {
        Held::Replicas(name) => format!("holdfast-replicas-{name}"),
        Held::Template(name) => format!("holdfast-template-{name}"),
        Held::Pods(name) => format!("holdfast-pods-{name}"),
        Held::StatefulSet(name) => format!("holdfast-statefulset-{name}"),
        Held::Autoscaler(name) => format!("holdfast-autoscaler-{name}"),
        Held::Service(name) => format!("holdfast-service-{name}"),
        Held::ConfigMap(name) => format!("holdfast-configmap-{name}"),
        Held::Processors(name) => format!("holdfast-processors-{name}"),
        Held::Memory(name) => format!("holdfast-memory-{name}"),
        Held::Nodes => "holdfast-nodes".to_owned(),
    }
}
