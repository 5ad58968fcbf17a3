//! One run at a time for each workload that its faults affect, and one fault at a time for whatever it
//! holds: a Lease for each, made before the fault is worked out. It is owned by the objects of the
//! faults that have it, and so gone with the last of them at the latest.

use holdfast_core::fault::{Fault, Held};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};

use crate::action::Owner;
use crate::blueprint::Workloads;
use crate::error::FaultError;
use crate::lease::holder_of;
use crate::object::Cluster;

/// Marks locks among other Leases.
const LOCK_LABEL: &str = "holdfast.dev/lock";

/// How often a write is tried when other faults of the run change the lock at the same time.
const ATTEMPTS: u32 = 20;

/// Locks the workloads for the run, and everything that the fault holds for the fault. One that fails
/// half-way leaves what it has got: the fault is refused then, and its locks are released.
pub(crate) async fn take(
    cluster: &Cluster,
    fault: &Fault,
    workloads: &Workloads,
    owner: &Owner,
) -> Result<(), FaultError> {
    let api = cluster.api::<Lease>();
    let of_run = workloads.iter().map(|(uid, what)| Lock {
        // An object made anew under the same name is another workload.
        name: format!("holdfast-workload-{uid}"),
        what: what.clone(),
        holder: Holder::Run(owner.run.clone()),
    });
    let of_fault = fault.holds().into_iter().map(|held| Lock {
        // To a fault that puts back what it remembers, it is the same thing.
        name: name(&held),
        what: held.to_string(),
        holder: Holder::Fault(owner.reference.name.clone()),
    });
    for lock in of_run.chain(of_fault) {
        lock.take(&api, owner).await?;
    }
    Ok(())
}

/// Gives up the locks of one fault, but for what other faults of its run have, too.
pub(crate) async fn release(cluster: &Cluster, owner: &Owner) -> Result<(), FaultError> {
    let api = cluster.api::<Lease>();
    let locks = ListParams::default().labels(LOCK_LABEL);
    let found = api.list(&locks).await;
    for lease in found.map_err(FaultError::during("list locks"))? {
        if is_owned_by(&lease, owner) {
            give_up(&api, &lease.name_any(), owner).await?;
        }
    }
    Ok(())
}

/// What one has at a time.
struct Lock {
    /// The Lease's.
    name: String,
    /// What is locked, in words.
    what: String,
    holder: Holder,
}

/// Who has a lock.
enum Holder {
    /// Its faults share it.
    Run(String),
    Fault(String),
}

impl Holder {
    fn name(&self) -> &str {
        match self {
            Self::Run(name) | Self::Fault(name) => name,
        }
    }

    /// Another one of its kind, in words.
    fn other(&self, name: &str) -> String {
        match self {
            Self::Run(_) => format!("the run {name}"),
            Self::Fault(_) => format!("the fault {name}"),
        }
    }
}

impl Lock {
    async fn take(&self, api: &Api<Lease>, owner: &Owner) -> Result<(), FaultError> {
        for _ in 0..ATTEMPTS {
            let written = match find(api, &self.name).await? {
                None => api.create(&PostParams::default(), &self.lease(owner)).await,
                Some(found) if holder_of(&found) != Some(self.holder.name()) => {
                    let holder = holder_of(&found).unwrap_or_default();
                    return Err(FaultError::Locked {
                        what: self.what.clone(),
                        holder: self.holder.other(holder),
                    });
                }
                Some(found) if is_owned_by(&found, owner) => return Ok(()),
                Some(mut found) => {
                    found.owner_references_mut().push(reference(owner));
                    api.replace(&self.name, &PostParams::default(), &found)
                        .await
                }
            };
            match written {
                Ok(_) => return Ok(()),
                Err(error) if is_changed(&error) => {}
                Err(error) => {
                    return Err(FaultError::during(format!("lock {}", self.what))(error));
                }
            }
        }
        Err(FaultError::Busy(format!("lease {}", self.name)))
    }

    fn lease(&self, owner: &Owner) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.name = Some(self.name.clone());
        lease.metadata.owner_references = Some(vec![reference(owner)]);
        lease.metadata.labels = Some([(LOCK_LABEL.to_owned(), "true".to_owned())].into());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.holder.name().to_owned()),
            ..LeaseSpec::default()
        });
        lease
    }
}

/// Takes a fault out of a lock; the last one removes it.
async fn give_up(api: &Api<Lease>, name: &str, owner: &Owner) -> Result<(), FaultError> {
    for _ in 0..ATTEMPTS {
        let found = find(api, name).await?;
        let Some(mut lease) = found.filter(|found| is_owned_by(found, owner)) else {
            return Ok(());
        };
        let owners = lease.owner_references_mut();
        owners.retain(|one| one.uid != owner.reference.uid);
        let done = if owners.is_empty() {
            // Another fault may have it by now.
            let parameters = DeleteParams::default().preconditions(Preconditions {
                uid: lease.uid(),
                resource_version: lease.resource_version(),
            });
            api.delete(name, &parameters).await.map(drop)
        } else {
            let replaced = api.replace(name, &PostParams::default(), &lease).await;
            replaced.map(drop)
        };
        match done {
            Ok(()) => return Ok(()),
            Err(error) if is_changed(&error) => {}
            Err(error) => return Err(FaultError::during("give up a lock")(error)),
        }
    }
    Err(FaultError::Busy(format!("lease {name}")))
}

async fn find(api: &Api<Lease>, name: &str) -> Result<Option<Lease>, FaultError> {
    let found = api.get_opt(name).await;
    found.map_err(FaultError::during(format!("read the lease {name}")))
}

/// Whether somebody else has made, changed or removed it since it was looked at.
fn is_changed(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    status.is_already_exists() || status.is_conflict() || status.is_not_found()
}

/// An object has one controller at most, and a lock may have several owners.
fn reference(owner: &Owner) -> OwnerReference {
    OwnerReference {
        controller: None,
        ..owner.reference.clone()
    }
}

fn is_owned_by(lease: &Lease, owner: &Owner) -> bool {
    let mut owners = lease.owner_references().iter();
    owners.any(|one| one.uid == owner.reference.uid)
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
