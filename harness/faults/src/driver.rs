//! The loop's faults: each is a FaultInjection whose controller does the work. Who carries it out,
//! this process or a controller in the cluster, makes no difference.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use holdfast_core::evidence;
use holdfast_core::experiment::SafetyNet;
use holdfast_core::plan::PlannedFault;
use holdfast_engine::{FaultDriver, FaultDriverError};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::action::{Action, Owner, RUN_LABEL, revert_all};
use crate::controller::Controller;
use crate::error::{FaultError, one_line};
use crate::injection::{
    Desired, FINALIZER, FaultInjection, FaultInjectionSpec, FaultInjectionStatus, MARGIN, Phase,
};
use crate::lease::{self, Kept};
use crate::object::Cluster;
use crate::plan::{Effect, Planner};
use crate::undo::{undo, watch};

/// Injects faults into one namespace, on behalf of one run.
pub struct KubeFaults {
    cluster: Cluster,
    run_id: String,
    agent_image: String,
    allow: Vec<SafetyNet>,
    /// What this run has done, for the residue check after the objects are gone.
    done: Mutex<Vec<Done>>,
    /// Of each step that this run has come to undo, why its fault had ended by then, if it had.
    ends: Mutex<HashMap<String, Option<String>>>,
    /// The lease that says that this run is alive.
    alive: Kept,
    /// The controller of this run, and what renews its lease.
    background: Mutex<Option<JoinHandle<()>>>,
    stop: CancellationToken,
    /// Ends them with the driver.
    _alive: DropGuard,
}

/// What was done in one step of the run.
#[derive(Clone)]
struct Done {
    step: String,
    owner: Owner,
    actions: Vec<Action>,
}

impl std::fmt::Debug for KubeFaults {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KubeFaults")
            .field("cluster", &self.cluster)
            .field("run_id", &self.run_id)
            .finish_non_exhaustive()
    }
}

impl KubeFaults {
    /// A driver for the faults of the run `run_id` in `namespace`, with a controller of its own that
    /// acts unless one in the cluster does. `agent_image` does harm inside the cluster; `allow` are
    /// the safety nets that the experiment switches off.
    #[must_use]
    pub fn start(
        client: Client,
        namespace: &str,
        run_id: &str,
        agent_image: &str,
        allow: &[SafetyNet],
    ) -> Self {
        let stop = CancellationToken::new();
        let lease = run_lease(run_id);
        let controller = Controller::of_run(
            client.clone(),
            namespace,
            agent_image.to_owned(),
            lease.clone(),
            stop.clone(),
        );
        let gone = CancellationToken::new();
        let holder = run_id.to_owned();
        let (alive, renewing) = lease::keep(client.clone(), namespace, lease, holder, gone.clone());
        let background = tokio::spawn(async move {
            let acting = async move {
                // The run is alive until its controller has ended.
                let _gone = gone.drop_guard();
                controller.run().await;
            };
            tokio::join!(acting, renewing);
        });
        Self {
            cluster: Cluster {
                client,
                namespace: namespace.to_owned(),
            },
            run_id: run_id.to_owned(),
            agent_image: agent_image.to_owned(),
            allow: allow.to_vec(),
            done: Mutex::default(),
            ends: Mutex::default(),
            alive,
            background: Mutex::new(Some(background)),
            _alive: stop.clone().drop_guard(),
            stop,
        }
    }

    /// What a fault would do to the cluster as it is now, beside those of the run that begin no later;
    /// changes nothing.
    ///
    /// # Errors
    /// Why it cannot be done, or may not.
    pub async fn plan(
        &self,
        fault: &PlannedFault,
        earlier: &[PlannedFault],
    ) -> Result<Effect, FaultError> {
        let planner = Planner {
            client: &self.cluster.client,
            namespace: &self.cluster.namespace,
            agent_image: &self.agent_image,
            allow: &self.allow,
        };
        planner.effect(&self.name(fault), fault, earlier).await
    }

    fn api(&self) -> Api<FaultInjection> {
        self.cluster.api()
    }

    fn name(&self, fault: &PlannedFault) -> String {
        format!("{}-{}", self.run_id, fault.name).to_lowercase()
    }

    fn done(&self) -> Vec<Done> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.clone()
    }

    /// Keeps what a fault's object says by now; of what has not happened it says no more.
    fn note(&self, fault: &PlannedFault, object: &FaultInjection) {
        let done = Done {
            step: fault.name.clone(),
            owner: object.owner(),
            actions: object.progress().actions,
        };
        let uid = &done.owner.reference.uid;
        let mut all = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.owner.reference.uid != *uid);
        all.push(done);
    }

    /// Waits until the fault's object is in one of these phases, refused, or gone.
    async fn reached(
        &self,
        name: &str,
        wanted: impl Fn(&FaultInjectionStatus) -> bool,
    ) -> Result<Option<FaultInjection>, FaultError> {
        let is_wanted = |found: Option<&FaultInjection>| {
            found.is_none_or(|found| {
                let status = found.progress();
                status.phase == Phase::Refused || wanted(&status)
            })
        };
        watch(&self.api(), name, is_wanted).await
    }

    async fn want(&self, name: &str, desired: Desired) -> Result<(), FaultError> {
        let patch = Patch::Merge(json!({"spec": {"desired": desired}}));
        let patched = self
            .api()
            .patch(name, &PatchParams::default(), &patch)
            .await;
        patched
            .map(drop)
            .map_err(FaultError::during(format!("change faultinjection {name}")))
    }

    fn object(&self, fault: &PlannedFault) -> FaultInjection {
        let length = fault.end.saturating_sub(fault.start) + MARGIN;
        let length =
            jiff::SignedDuration::try_from(length).expect("a fault is held for 30 minutes at most");
        let mut object = FaultInjection::new(
            &self.name(fault),
            FaultInjectionSpec {
                run: self.run_id.clone(),
                step: fault.name.clone(),
                fault: fault.fault.clone(),
                not_after: (jiff::Timestamp::now() + length).to_string(),
                lease: Some(run_lease(&self.run_id)),
                allow: self.allow.clone(),
                desired: Desired::Prepared,
            },
        );
        object.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        let run = self.run_id.to_lowercase();
        object.metadata.labels = Some([(RUN_LABEL.to_owned(), run)].into());
        object
    }

    async fn left_over(&self) -> Result<Vec<FaultInjection>, FaultError> {
        let run = self.run_id.to_lowercase();
        let ours = ListParams::default().labels(&format!("{RUN_LABEL}={run}"));
        let found = self.api().list(&ours).await;
        Ok(found
            .map_err(FaultError::during("list faultinjections"))?
            .items)
    }
}

fn run_lease(run_id: &str) -> String {
    format!("holdfast-run-{run_id}").to_lowercase()
}

fn refused(status: &FaultInjectionStatus) -> FaultError {
    let words = status.error.clone().unwrap_or_default();
    FaultError::Refused(words)
}

#[async_trait]
impl FaultDriver for KubeFaults {
    async fn check(
        &self,
        fault: &PlannedFault,
        earlier: &[PlannedFault],
    ) -> Result<(), FaultDriverError> {
        self.plan(fault, earlier).await?;
        Ok(())
    }

    async fn prepare(&self, fault: &PlannedFault) -> Result<String, FaultDriverError> {
        let object = self.object(fault);
        let name = object.name_any();
        // The fault of a run without a lease would be undone at once.
        if !self.alive.is_held().await {
            return Err(FaultError::NotAlive.into());
        }
        match self.api().create(&PostParams::default(), &object).await {
            Ok(_) => {}
            // An earlier attempt whose answer was lost: it holds the values from before it.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => {
                return Err(
                    FaultError::during(format!("create faultinjection {name}"))(error).into(),
                );
            }
        }
        let reached = self
            .reached(&name, |status| status.phase != Phase::Pending)
            .await?;
        let object = reached.ok_or_else(|| FaultError::Vanished(name.clone()))?;
        let status = object.progress();
        if status.phase == Phase::Refused {
            return Err(refused(&status).into());
        }
        self.note(fault, &object);
        let undo = undo_of(&status.actions);
        let undo = if undo.is_empty() {
            "nothing to put back"
        } else {
            undo.as_str()
        };
        Ok(format!("{undo} (recorded in faultinjection/{name})"))
    }

    async fn inject(&self, fault: &PlannedFault) -> Result<String, FaultDriverError> {
        let name = self.name(fault);
        if self
            .api()
            .get_opt(&name)
            .await
            .is_ok_and(|found| found.is_none())
        {
            return Err(FaultError::NotPrepared(fault.name.clone()).into());
        }
        self.want(&name, Desired::Injected).await?;
        let ended = |phase| matches!(phase, Phase::Injected | Phase::Reverting | Phase::Reverted);
        let reached = self
            .reached(&name, |status| {
                ended(status.phase) || status.error.is_some()
            })
            .await?;
        let reached = reached.ok_or_else(|| FaultError::Vanished(name.clone()))?;
        self.note(fault, &reached);
        match reached.progress() {
            FaultInjectionStatus {
                reverted_because: Some(why),
                ..
            } => Err(FaultError::EndedEarly(why).into()),
            FaultInjectionStatus {
                phase: Phase::Injected,
                evidence: Some(evidence),
                ..
            } => Ok(evidence),
            FaultInjectionStatus {
                error: Some(error), ..
            } => Err(FaultError::Refused(error).into()),
            _ => Err(FaultError::Vanished(name).into()),
        }
    }

    async fn recover(&self, fault: &PlannedFault) -> Result<String, FaultDriverError> {
        let early = self.early_end(fault).await?;
        let proof = match undo(&self.api(), &self.name(fault)).await? {
            Some(object) => proof(object.progress()),
            None => self.recover_without_object(fault).await?,
        };
        Ok(match early {
            Some(why) => evidence::ended_early(&why, &proof),
            None => proof,
        })
    }

    async fn residue(&self) -> Vec<String> {
        let done = self.done();
        // A run that changed nothing leaves nothing, whether or not the cluster still answers.
        if done.is_empty() {
            return Vec::new();
        }
        let mut residue = match self.left_over().await {
            Ok(objects) => objects
                .iter()
                .map(|object| {
                    let undo = undo_of(&object.progress().actions);
                    format!("{}: not undone: {undo}", object.spec.step)
                })
                .collect(),
            Err(error) => vec![one_line(&error)],
        };
        for Done {
            step,
            owner,
            actions,
        } in done
        {
            for action in actions {
                match action.difference(&self.cluster, &owner).await {
                    Ok(None) => {}
                    Ok(Some(text)) => residue.push(format!("{step}: {text}")),
                    Err(error) => residue.push(format!("{step}: {}", one_line(&error))),
                }
            }
        }
        residue.sort();
        residue.dedup();
        residue
    }

    async fn end(&self) {
        self.stop.cancel();
        let background = {
            let mut background = self
                .background
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            background.take()
        };
        if let Some(background) = background
            && background.await.is_err()
        {
            tracing::warn!("the controller of the faults panicked");
        }
    }
}

impl KubeFaults {
    /// Why a fault had ended when this run first came to undo it: until then nobody else is to.
    async fn early_end(&self, fault: &PlannedFault) -> Result<Option<String>, FaultError> {
        let known = self.ends().get(&fault.name).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let name = self.name(fault);
        let found = self.api().get_opt(&name).await;
        let found = found.map_err(FaultError::during(format!("read faultinjection {name}")))?;
        let why = match found {
            Some(object) => {
                let somebody = object.is_unwanted().then_some("somebody else has ended it");
                let because = object.progress().reverted_because;
                because.or(somebody.map(str::to_owned))
            }
            None => {
                let mut done = self.done().into_iter();
                let was_there = done.any(|done| done.step == fault.name);
                was_there.then(|| format!("somebody else has deleted faultinjection {name}"))
            }
        };
        self.ends().insert(fault.name.clone(), why.clone());
        Ok(why)
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<String, Option<String>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever deletes the record by force does not undo the fault with it: this run still knows.
    async fn recover_without_object(&self, fault: &PlannedFault) -> Result<String, FaultError> {
        match self.done().iter().find(|done| done.step == fault.name) {
            Some(done) => revert_all(&done.actions, &self.cluster, &done.owner).await,
            None => Ok("nothing was recorded, so nothing was changed".to_owned()),
        }
    }
}

/// What proves that it is undone, and what was done again and again until then.
fn proof(status: FaultInjectionStatus) -> String {
    if status.phase == Phase::Refused {
        return "nothing was recorded, so nothing was changed".to_owned();
    }
    let is_repeated = status.actions.iter().any(|one| one.repeated().is_some());
    let rounds = status.evidence.filter(|_| is_repeated);
    let words: Vec<_> = rounds.into_iter().chain(status.reverted).collect();
    words.join("; ")
}

/// What undoes it, in words.
fn undo_of(actions: &[Action]) -> String {
    let undo = actions.iter().rev().filter_map(Action::describe_undo);
    undo.collect::<Vec<_>>().join("; ")
}
