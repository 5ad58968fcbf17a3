//! Brings the cluster to what FaultInjections want: records how to undo each, injects it, and undoes
//! it when that is wanted, when its time is over, when whoever wanted it is gone, and when everything
//! is halted.
//!
//! The CLI runs one in its own process, `holdfast controller` one in a cluster. Of several, one acts
//! in a namespace at a time: the one that holds the lease there.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::{Action as Next, Controller as Runtime};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::action::{Action, Attempt, Owner, revert_all};
use crate::blueprint::{Blueprint, Context};
use crate::error::{FaultError, gone_is_done, one_line};
use crate::halt;
use crate::injection::{Desired, FINALIZER, FaultInjection, FaultInjectionStatus, Phase};
use crate::lease::{self, Watch};
use crate::lock;
use crate::object::Cluster;
use crate::safety;

/// How often it is looked whether a fault in effect must end.
const LOOK: Duration = Duration::from_secs(1);
/// The pause after a failure.
const AGAIN: Duration = Duration::from_millis(500);

/// The lease of the controller that acts in a namespace.
const LEADER: &str = "holdfast-controller";

/// A controller of faults.
pub struct Controller {
    client: Client,
    /// `None` is all.
    namespace: Option<String>,
    agent_image: String,
    /// Tells controllers apart.
    identity: String,
    watch: Watch,
    /// Namespaces whose lease this controller renews.
    leading: Mutex<HashSet<String>>,
    /// What renews them; each gives its lease up at the end.
    renewing: TaskTracker,
    stop: CancellationToken,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Controller")
            .field("namespace", &self.namespace)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Controller {
    /// A controller for one namespace, or for all; `stop` ends it, and leaves what is in effect to
    /// the next one.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: Option<String>,
        agent_image: String,
        stop: CancellationToken,
    ) -> Self {
        Self {
            client,
            namespace,
            agent_image,
            identity: format!("{}-{:08x}", std::process::id(), rand::random::<u32>()),
            watch: Watch::default(),
            leading: Mutex::default(),
            renewing: TaskTracker::new(),
            stop,
        }
    }

    /// Reconciles until it is stopped; then others may act at once.
    pub async fn run(self) {
        let api: Api<FaultInjection> = match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let stop = self.stop.clone();
        let renewing = self.renewing.clone();
        Runtime::new(api, watcher::Config::default())
            .graceful_shutdown_on(async move { stop.cancelled().await })
            .run(reconcile, on_error, Arc::new(self))
            .for_each(|done| async {
                if let Err(error) = done {
                    tracing::debug!("{}", one_line(&error));
                }
            })
            .await;
        renewing.close();
        renewing.wait().await;
    }

    /// Whether this controller is the one that acts in a namespace.
    async fn leads(self: &Arc<Self>, namespace: &str) -> Result<bool, FaultError> {
        let api = Api::<Lease>::namespaced(self.client.clone(), namespace);
        if !lease::take(&api, LEADER, &self.identity, &self.watch).await? {
            self.leading().remove(namespace);
            return Ok(false);
        }
        if self.leading().insert(namespace.to_owned()) {
            self.renewing.spawn(lease::keep(
                self.client.clone(),
                namespace.to_owned(),
                LEADER.to_owned(),
                self.identity.clone(),
                self.stop.clone(),
            ));
        }
        Ok(true)
    }

    fn leading(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.leading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why a fault must end although nobody has said so.
    async fn must_end(&self, injection: &FaultInjection) -> Result<Option<String>, FaultError> {
        if now() >= not_after(injection)? {
            return Ok(Some("its time is over".to_owned()));
        }
        if let Some(why) = halt::halted(&self.client).await? {
            return Ok(Some(format!("everything is halted: {why}")));
        }
        let Some(name) = &injection.spec.lease else {
            return Ok(None);
        };
        let namespace = injection.namespace().unwrap_or_default();
        let leases = Api::<Lease>::namespaced(self.client.clone(), &namespace);
        let found = leases.get_opt(name).await;
        let found = found.map_err(FaultError::during(format!("read the lease {name}")))?;
        let alive = found.is_some_and(|lease| self.watch.is_alive(&lease));
        Ok((!alive).then(|| "the run that wanted it is gone".to_owned()))
    }
}

fn on_error(_: Arc<FaultInjection>, _: &FaultError, _: Arc<Controller>) -> Next {
    Next::requeue(AGAIN)
}

/// Takes a fault one step further.
async fn reconcile(
    injection: Arc<FaultInjection>,
    controller: Arc<Controller>,
) -> Result<Next, FaultError> {
    let namespace = injection.namespace().unwrap_or_default();
    if !controller.leads(&namespace).await? {
        return Ok(Next::requeue(LOOK));
    }
    let api: Api<FaultInjection> = Api::namespaced(controller.client.clone(), &namespace);
    let name = injection.name_any();
    // What was watched may be old: after an outage of the API server, for example.
    let found = api.get_opt(&name).await;
    let found = found.map_err(FaultError::during(format!("read faultinjection {name}")))?;
    let Some(injection) = found else {
        return Ok(Next::await_change());
    };
    let work = Work {
        api,
        cluster: Cluster {
            client: controller.client.clone(),
            namespace,
        },
        name,
        injection: &injection,
        controller: &controller,
    };
    work.step().await
}

/// One fault, and what it takes to work on it.
struct Work<'a> {
    api: Api<FaultInjection>,
    cluster: Cluster,
    name: String,
    injection: &'a FaultInjection,
    controller: &'a Controller,
}

impl Work<'_> {
    async fn step(&self) -> Result<Next, FaultError> {
        let injection = self.injection;
        let deleted = injection.metadata.deletion_timestamp.is_some();
        let phase = injection.phase();
        match phase {
            Phase::Reverted | Phase::Refused if deleted => return self.release().await,
            Phase::Pending if deleted => return self.release().await,
            Phase::Reverted | Phase::Refused => return Ok(Next::await_change()),
            _ => {}
        }
        if deleted || injection.spec.desired == Desired::Reverted {
            return self.revert(None).await;
        }
        if phase == Phase::Reverting {
            return self.revert(injection.progress().reverted_because).await;
        }
        if let Some(why) = self.controller.must_end(injection).await? {
            return self.revert(Some(why)).await;
        }
        match phase {
            Phase::Pending => self.prepare().await,
            Phase::Prepared | Phase::Injecting if injection.spec.desired == Desired::Injected => {
                self.inject().await
            }
            Phase::Injected => self.repeat().await,
            _ => Ok(Next::requeue(LOOK)),
        }
    }

    /// Does again what is done again and again, when it is time.
    async fn repeat(&self) -> Result<Next, FaultError> {
        let mut status = self.injection.progress();
        let again = status.actions.iter().find_map(Action::repeated);
        let Some(pace) = again.map(|(_, pace)| pace) else {
            return Ok(Next::requeue(LOOK));
        };
        let pace = jiff::SignedDuration::try_from(pace).map_err(FaultError::Length)?;
        let last: Option<jiff::Timestamp> = status.injected_at.and_then(|at| at.parse().ok());
        let due = last.unwrap_or_default() + pace;
        if let Ok(left) = Duration::try_from(due.duration_since(now()))
            && !left.is_zero()
        {
            return Ok(Next::requeue(left.min(LOOK)));
        }
        // Counted before it is done: done twice would be worse than not at all.
        status.injected_at = Some(now().to_string());
        self.tell(&status).await?;
        let mut evidence: Vec<String> = status.evidence.take().into_iter().collect();
        for (kill, _) in status.actions.iter().filter_map(Action::repeated) {
            evidence.push(kill.inject(&self.cluster, Attempt::First).await?);
        }
        status.evidence = Some(evidence.join("; "));
        self.tell(&status).await?;
        Ok(Next::requeue(LOOK))
    }

    /// Works the fault out and records how to undo it; nothing is changed.
    async fn prepare(&self) -> Result<Next, FaultError> {
        if !self
            .injection
            .finalizers()
            .iter()
            .any(|one| one == FINALIZER)
        {
            let mut finalizers = self.injection.finalizers().to_vec();
            finalizers.push(FINALIZER.to_owned());
            self.patch(&json!({"metadata": {"finalizers": finalizers}}))
                .await?;
            return Ok(Next::requeue(Duration::ZERO));
        }
        let status = match self.work_out().await {
            Ok(blueprint) => FaultInjectionStatus {
                phase: Phase::Prepared,
                actions: blueprint.actions,
                ..FaultInjectionStatus::default()
            },
            Err(error) => FaultInjectionStatus {
                phase: Phase::Refused,
                error: Some(one_line(&error)),
                ..FaultInjectionStatus::default()
            },
        };
        self.tell(&status).await?;
        Ok(Next::requeue(LOOK))
    }

    async fn work_out(&self) -> Result<Blueprint, FaultError> {
        let spec = &self.injection.spec;
        let context = Context {
            cluster: &self.cluster,
            name: &self.name,
            not_after: not_after(self.injection)?.as_second(),
            agent_image: &self.controller.agent_image,
        };
        let first = Blueprint::of(&spec.fault, context).await?;
        safety::permit(&self.cluster, &first, &spec.allow).await?;
        lock::take(&self.cluster, &spec.fault, &self.owner()).await?;
        // Another run may have changed a target until its lock was ours.
        Blueprint::of(&spec.fault, context).await
    }

    async fn inject(&self) -> Result<Next, FaultError> {
        let mut status = self.injection.progress();
        let attempt = if status.phase == Phase::Prepared {
            status.phase = Phase::Injecting;
            self.tell(&status).await?;
            Attempt::First
        } else {
            Attempt::Again
        };
        let owner = self.owner();
        let mut evidence = Vec::new();
        for action in &status.actions {
            match action.inject(&self.cluster, &owner, attempt).await {
                Ok(seen) => evidence.extend(seen),
                Err(error) => {
                    status.error = Some(one_line(&error));
                    self.tell(&status).await?;
                    return Err(error);
                }
            }
        }
        status.phase = Phase::Injected;
        status.error = None;
        status.evidence = Some(evidence.join("; "));
        status.injected_at = Some(now().to_string());
        self.tell(&status).await?;
        Ok(Next::requeue(LOOK))
    }

    /// Undoes everything from its end; what fails does not keep the rest from being undone.
    async fn revert(&self, because: Option<String>) -> Result<Next, FaultError> {
        let mut status = self.injection.progress();
        if status.phase != Phase::Reverting {
            status.phase = Phase::Reverting;
            status.error = None;
            status.reverted_because.clone_from(&because);
            self.tell(&status).await?;
        }
        let owner = self.owner();
        let proof = match revert_all(&status.actions, &self.cluster, &owner).await {
            Ok(proof) => proof,
            Err(error) => {
                status.error = Some(one_line(&error));
                self.tell(&status).await?;
                return Err(error);
            }
        };
        lock::release(&self.cluster, &owner).await?;
        status.phase = Phase::Reverted;
        status.error = None;
        status.reverted = Some(proof);
        self.tell(&status).await?;
        Ok(Next::requeue(Duration::ZERO))
    }

    /// Lets the object go.
    async fn release(&self) -> Result<Next, FaultError> {
        let finalizers = self.injection.finalizers().iter();
        let others: Vec<_> = finalizers.filter(|one| *one != FINALIZER).collect();
        if others.len() < self.injection.finalizers().len() {
            self.patch(&json!({"metadata": {"finalizers": others}}))
                .await?;
        }
        Ok(Next::await_change())
    }

    fn owner(&self) -> Owner {
        self.injection.owner()
    }

    async fn patch(&self, change: &serde_json::Value) -> Result<(), FaultError> {
        let patch = Patch::Merge(change);
        let patched = self
            .api
            .patch(&self.name, &PatchParams::default(), &patch)
            .await;
        gone_is_done(patched.map(drop)).map_err(FaultError::during(format!("change {}", self.name)))
    }

    async fn tell(&self, status: &FaultInjectionStatus) -> Result<(), FaultError> {
        // A field that is left out must go, which a merge does only for what it is told of.
        let mut told = serde_json::to_value(status).expect("a status is plain data");
        for field in [
            "error",
            "evidence",
            "reverted",
            "revertedBecause",
            "injectedAt",
        ] {
            if let Some(told) = told.as_object_mut() {
                told.entry(field).or_insert(serde_json::Value::Null);
            }
        }
        let patch = Patch::Merge(json!({"status": told}));
        let told = self
            .api
            .patch_status(&self.name, &PatchParams::default(), &patch)
            .await;
        gone_is_done(told.map(drop))
            .map_err(FaultError::during(format!("tell how far {} is", self.name)))
    }
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn not_after(injection: &FaultInjection) -> Result<jiff::Timestamp, FaultError> {
    let text = &injection.spec.not_after;
    text.parse().map_err(|error| FaultError::NotATime {
        text: text.clone(),
        source: error,
    })
}
