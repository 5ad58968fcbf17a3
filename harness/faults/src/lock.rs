//! One fault at a time for each target: a Lease named after the target's UID, made before the fault
//! is worked out, owned by the fault's object and so gone with it at the latest.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams};

use crate::action::Owner;
use crate::blueprint::Blueprint;
use crate::error::FaultError;
use crate::lease::holder_of;
use crate::object::Cluster;

/// Marks the locks of one fault, with its object's UID.
const LOCK_LABEL: &str = "holdfast.dev/lock";

/// Locks every target, or none.
pub(crate) async fn take(
    cluster: &Cluster,
    blueprint: &Blueprint,
    owner: &Owner,
) -> Result<(), FaultError> {
    let api = cluster.api::<Lease>();
    for target in &blueprint.targets {
        let name = format!("holdfast-{}", target.object.uid);
        let mut lease = Lease::default();
        lease.metadata.name = Some(name.clone());
        lease.metadata.owner_references = Some(vec![owner.reference.clone()]);
        lease
            .labels_mut()
            .insert(LOCK_LABEL.to_owned(), owner.reference.uid.clone());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(owner.reference.name.clone()),
            ..LeaseSpec::default()
        });
        match api.create(&PostParams::default(), &lease).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let found = api.get_opt(&name).await;
                let found = found.map_err(FaultError::during(format!("read the lease {name}")))?;
                let holder = found.as_ref().and_then(holder_of).unwrap_or_default();
                if holder != owner.reference.name {
                    let holder = holder.to_owned();
                    release(cluster, owner).await?;
                    return Err(FaultError::Locked {
                        what: target.object.to_string(),
                        holder,
                    });
                }
            }
            Err(error) => {
                return Err(FaultError::during(format!("lock {}", target.object))(error));
            }
        }
    }
    Ok(())
}

/// Gives up the locks of one fault.
pub(crate) async fn release(cluster: &Cluster, owner: &Owner) -> Result<(), FaultError> {
    let ours = ListParams::default().labels(&format!("{LOCK_LABEL}={}", owner.reference.uid));
    let api = cluster.api::<Lease>();
    let found = api.list(&ours).await.map_err(FaultError::during("list locks"))?;
    for lease in found {
        match api.delete(&lease.name_any(), &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(FaultError::during("give up a lock")(error)),
        }
    }
    Ok(())
}
