//! Leases: who is alive, as Kubernetes' own leader election tells it. One is alive as long as its
//! renewals are seen; clocks of other machines are not believed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::FaultError;

/// How often a lease is renewed.
const RENEWAL: Duration = Duration::from_secs(2);
/// Three renewals missed.
const EXPIRY: Duration = Duration::from_secs(6);

/// Whoever looks at a lease looks each second: between looks that are further apart than this it was
/// kept from looking, and its holder perhaps from renewing.
const LOOKS_APART: Duration = Duration::from_secs(3);

/// How soon one that another holder has is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A lease that is renewed in the background.
#[derive(Clone, Debug)]
pub(crate) struct Kept(watch::Receiver<Standing>);

/// Whose a kept lease is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Standing {
    /// Nobody has answered yet.
    Unknown,
    NotOurs,
    /// Ours, by a renewal that was begun then.
    Renewed(Instant),
}

impl Kept {
    /// Whether it is held; waits for the first answer. Nobody else takes it before its duration is
    /// over since the last renewal, so this asks nobody.
    pub(crate) async fn is_held(&self) -> bool {
        let mut standing = self.0.clone();
        let known = standing.wait_for(|standing| *standing != Standing::Unknown);
        match known.await.as_deref() {
            Ok(Standing::Renewed(at)) => at.elapsed() < EXPIRY,
            Ok(Standing::Unknown | Standing::NotOurs) | Err(_) => false,
        }
    }
}

/// Renews the lease `name` on behalf of `holder` until `stop`, then gives it up: the work, and what
/// comes of it.
pub(crate) fn keep(
    client: Client,
    namespace: &str,
    name: String,
    holder: String,
    stop: CancellationToken,
) -> (Kept, impl Future<Output = ()> + Send + use<>) {
    let (tell, told) = watch::channel(Standing::Unknown);
    let api = Api::<Lease>::namespaced(client, namespace);
    let renewing = async move {
        let watch = Watch::default();
        loop {
            let began = Instant::now();
            let pause = match take(&api, &name, &holder, &watch).await {
                Ok(true) => {
                    tell.send_replace(Standing::Renewed(began));
                    RENEWAL
                }
                Ok(false) => {
                    tell.send_replace(Standing::NotOurs);
                    ASK_AGAIN
                }
                Err(error) => {
                    tracing::debug!("the lease {name} was not renewed: {error}");
                    // One that was ours is ours until its duration is over.
                    tell.send_if_modified(|standing| {
                        let first = *standing == Standing::Unknown;
                        if first {
                            *standing = Standing::NotOurs;
                        }
                        first
                    });
                    ASK_AGAIN
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        tell.send_replace(Standing::NotOurs);
        if let Err(error) = give_up(&api, &name, &holder).await {
            tracing::debug!("the lease {name} stays until it expires: {error}");
        }
    };
    (Kept(told), renewing)
}

/// Takes or renews a lease; whether it is held now.
async fn take(
    api: &Api<Lease>,
    name: &str,
    holder: &str,
    watch: &Watch,
) -> Result<bool, FaultError> {
    let action = || format!("renew the lease {name}");
    let found = api
        .get_opt(name)
        .await
        .map_err(FaultError::during(action()))?;
    let written = match found {
        None => {
            let mut lease = Lease::default();
            lease.metadata.name = Some(name.to_owned());
            lease.spec = Some(held_by(holder));
            api.create(&PostParams::default(), &lease).await
        }
        Some(found) if is_held_by(&found, holder) || !watch.is_alive(&found) => {
            let mut lease = found;
            lease.spec = Some(held_by(holder));
            api.replace(name, &PostParams::default(), &lease).await
        }
        Some(_) => return Ok(false),
    };
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            Ok(false)
        }
        Err(error) => Err(FaultError::during(action())(error)),
    }
}

/// Deletes a lease, if this holder has it.
async fn give_up(api: &Api<Lease>, name: &str, holder: &str) -> Result<(), FaultError> {
    let action = || format!("give up the lease {name}");
    let found = api
        .get_opt(name)
        .await
        .map_err(FaultError::during(action()))?;
    let Some(found) = found.filter(|found| is_held_by(found, holder)) else {
        return Ok(());
    };
    let parameters = DeleteParams::default().preconditions(Preconditions {
        uid: found.uid(),
        resource_version: found.resource_version(),
    });
    match api.delete(name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(FaultError::during(action())(error)),
    }
}

/// Whether somebody renews a lease: looks until a renewal is seen or would have been.
pub(crate) async fn is_renewed(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<bool, FaultError> {
    let api = Api::<Lease>::namespaced(client.clone(), namespace);
    let action = || format!("read the lease {name}");
    let first = api
        .get_opt(name)
        .await
        .map_err(FaultError::during(action()))?;
    let Some(first) = first else {
        return Ok(false);
    };
    let renewed = |found: Option<&Lease>| {
        found.is_none_or(|found| found.resource_version() != first.resource_version())
    };
    let waited = await_condition(api, name, renewed);
    match tokio::time::timeout(EXPIRY, waited).await {
        Err(_elapsed) => Ok(false),
        Ok(Ok(found)) => Ok(found.is_some()),
        Ok(Err(error)) => Err(FaultError::Watch {
            what: format!("lease {name}"),
            source: Box::new(error),
        }),
    }
}

fn held_by(holder: &str) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: i32::try_from(EXPIRY.as_secs()).ok(),
        renew_time: Some(MicroTime(jiff::Timestamp::now())),
        ..LeaseSpec::default()
    }
}

fn is_held_by(lease: &Lease, holder: &str) -> bool {
    holder_of(lease) == Some(holder)
}

pub(crate) fn holder_of(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

/// When the renewals of leases were first seen, by this process's clock; by the UIDs of the leases.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<HashMap<String, Seen>>);

#[derive(Debug)]
struct Seen {
    renewed: Option<MicroTime>,
    /// Since then it has been looked for the next one.
    since: Instant,
    looked: Instant,
}

impl Watch {
    /// Whether a renewal of the lease was seen within its duration. One that is seen for the first
    /// time is alive: its holder has as long as everybody else. So has it after a time in which nobody
    /// could look, such as an outage of the API server.
    pub(crate) fn is_alive(&self, lease: &Lease) -> bool {
        let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let now = Instant::now();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = seen
            .entry(lease.uid().unwrap_or_default())
            .or_insert_with(|| Seen {
                renewed: renewed.clone(),
                since: now,
                looked: now,
            });
        let was_kept_from_it = now.duration_since(entry.looked) > LOOKS_APART;
        if entry.renewed != renewed || was_kept_from_it {
            entry.renewed = renewed;
            entry.since = now;
        }
        entry.looked = now;
        now.duration_since(entry.since) < EXPIRY
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// For how many seconds it is alive, looked at each second.
    async fn lives(watch: &Watch, lease: &Lease) -> u32 {
        let mut seconds = 0;
        while watch.is_alive(lease) {
            seconds += 1;
            advance(SECOND).await;
        }
        seconds
    }

    #[tokio::test(start_paused = true)]
    async fn only_time_in_which_it_could_look_counts() {
        let mut lease = Lease::default();
        lease.metadata.uid = Some("run".to_owned());
        lease.spec = Some(held_by("run"));
        let watch = Watch::default();
        assert_eq!(lives(&watch, &lease).await, 6);
        // Renewed, and looked at until the cluster does not answer.
        lease.spec = Some(LeaseSpec {
            renew_time: Some(MicroTime(jiff::Timestamp::UNIX_EPOCH)),
            ..held_by("run")
        });
        for _ in 0..4 {
            assert!(watch.is_alive(&lease));
            advance(SECOND).await;
        }
        advance(10 * SECOND).await;
        assert_eq!(lives(&watch, &lease).await, 6);
    }
}
