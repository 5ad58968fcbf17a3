//! The work on one fault: from what is wanted of it and how far it is to its next step.
//!
//! Every step is written down before it is taken, and only by whoever read the object as it is: of
//! two controllers that both believe to act, one finds that it does not.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action as Next;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{Controller, Duty, LOOK};
use crate::action::{Action, Attempt, revert_all};
use crate::blueprint::{Beside, Blueprint, Context, Impact};
use crate::error::{FaultError, gone_is_done, one_line};
use crate::injection::{Desired, FINALIZER, FaultInjection, FaultInjectionStatus, Phase};
use crate::object::Cluster;
use crate::recover::objects;
use crate::{lock, safety};

/// One fault, and what it takes to work on it.
pub(super) struct Work<'a> {
    api: Api<FaultInjection>,
    cluster: Cluster,
    name: String,
    /// As it was last read or written.
    injection: FaultInjection,
    controller: &'a Controller,
}

impl<'a> Work<'a> {
    pub(super) fn on(
        injection: FaultInjection,
        cluster: Cluster,
        controller: &'a Controller,
    ) -> Self {
        Self {
            api: cluster.api(),
            cluster,
            name: injection.name_any(),
            injection,
            controller,
        }
    }

    pub(super) async fn step(
        mut self,
        abandoned: Result<bool, FaultError>,
    ) -> Result<Next, FaultError> {
        let phase = self.injection.phase();
        let deleted = self.injection.metadata.deletion_timestamp.is_some();
        if matches!(phase, Phase::Reverted | Phase::Refused) {
            return if deleted {
                self.release().await
            } else {
                Ok(Next::await_change())
            };
        }
        if self.injection.is_unwanted() {
            return self.revert(None).await;
        }
        if phase == Phase::Reverting {
            return self.revert(None).await;
        }
        let must_end = self.controller.must_end(&self.injection, abandoned);
        if let Some(why) = must_end.await? {
            return self.revert(Some(why)).await;
        }
        let Duty::All { agent_image } = &self.controller.duty else {
            return Ok(Next::requeue(LOOK));
        };
        let is_wanted = self.injection.spec.desired == Desired::Injected;
        match phase {
            Phase::Pending => self.prepare(agent_image).await,
            Phase::Prepared | Phase::Injecting if is_wanted => self.inject().await,
            Phase::Injected => match self.lost().await? {
                Some(why) => self.revert(Some(why)).await,
                None => self.repeat(agent_image).await,
            },
            _ => Ok(Next::requeue(LOOK)),
        }
    }

    /// Works the fault out and records how to undo it; nothing is changed.
    async fn prepare(&mut self, agent_image: &str) -> Result<Next, FaultError> {
        let mut finalizers = self.injection.finalizers().to_vec();
        if !finalizers.iter().any(|one| one == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
            self.set_finalizers(&finalizers).await?;
            return Ok(Next::requeue(Duration::ZERO));
        }
        let _alone = self.controller.preparing.lock().await;
        let status = match self.work_out(agent_image).await {
            Ok(blueprint) => FaultInjectionStatus {
                phase: Phase::Prepared,
                targets: blueprint.impacts().cloned().collect(),
                actions: blueprint.actions,
                ..FaultInjectionStatus::default()
            },
            Err(error) => {
                lock::release(&self.cluster, &self.injection.owner()).await?;
                FaultInjectionStatus {
                    phase: Phase::Refused,
                    error: Some(one_line(&error)),
                    ..FaultInjectionStatus::default()
                }
            }
        };
        self.tell(&status).await?;
        Ok(Next::requeue(LOOK))
    }

    async fn work_out(&self, agent_image: &str) -> Result<Blueprint, FaultError> {
        let spec = &self.injection.spec;
        let context = self.context(agent_image)?;
        let others = self.others().await?;
        let first = Blueprint::of(&spec.fault, context).await?;
        safety::permit(&self.cluster, &first, &spec.allow, &others).await?;
        let locked = first.workloads();
        let owner = self.injection.owner();
        lock::take(&self.cluster, &spec.fault, &locked, &owner).await?;
        // Another run may have changed a target until its lock was ours.
        let blueprint = Blueprint::of(&spec.fault, context).await?;
        let mut affected = blueprint.workloads().into_iter();
        if let Some((_, what)) = affected.find(|(uid, _)| !locked.contains_key(uid)) {
            return Err(FaultError::Joined(what));
        }
        safety::permit(&self.cluster, &blueprint, &spec.allow, &others).await?;
        Ok(blueprint)
    }

    /// What other faults in the namespace leave of their targets.
    async fn others(&self) -> Result<Vec<Beside>, FaultError> {
        let mut found = objects(&self.cluster.client, Some(&self.cluster.namespace)).await?;
        found.retain(|one| one.uid() != self.injection.uid() && one.is_active());
        let beside = found.iter().flat_map(|one| {
            let targets = one.progress().targets.into_iter();
            targets.map(|impact| Beside {
                fault: one.name_any(),
                impact,
            })
        });
        Ok(beside.collect())
    }

    fn context<'b>(&'b self, agent_image: &'b str) -> Result<Context<'b>, FaultError> {
        Ok(Context {
            cluster: &self.cluster,
            name: &self.name,
            not_after: self.injection.not_after()?.as_second(),
            agent_image,
            allow: &self.injection.spec.allow,
        })
    }

    async fn inject(&mut self) -> Result<Next, FaultError> {
        let mut status = self.injection.progress();
        let attempt = if status.phase == Phase::Prepared {
            status.phase = Phase::Injecting;
            self.tell(&status).await?;
            Attempt::First
        } else {
            Attempt::Again
        };
        let owner = self.injection.owner();
        let mut evidence = Vec::new();
        for (index, action) in status.actions.iter().enumerate() {
            if !self.is_as_told().await? {
                return Ok(Next::requeue(Duration::ZERO));
            }
            let done = tokio::select! {
                done = action.inject(&self.cluster, &owner, attempt) => done,
                // Whoever ends the fault does not wait for what shows that it has begun.
                () = self.ending(), if action.may_be_broken_off() => {
                    return Ok(Next::requeue(Duration::ZERO));
                }
            };
            match done {
                Ok(seen) => evidence.extend(seen),
                // What has not happened is not to be undone: somebody else's change would be.
                Err(error @ FaultError::Changed { .. }) => {
                    status.actions.truncate(index);
                    return self.break_off(status, &error).await;
                }
                // Tried again until its end, it would come when nobody expects it any more.
                Err(error @ FaultError::NotEvicted { .. }) if action.repeated().is_none() => {
                    return self.break_off(status, &error).await;
                }
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
        status.injected_at = Some(jiff::Timestamp::now().to_string());
        self.tell(&status).await?;
        Ok(Next::requeue(LOOK))
    }

    /// Undoes what there is of a fault that cannot be brought about, and says why.
    async fn break_off(
        &mut self,
        mut status: FaultInjectionStatus,
        error: &FaultError,
    ) -> Result<Next, FaultError> {
        status.phase = Phase::Reverting;
        status.reverted_because = Some(one_line(error));
        self.tell(&status).await?;
        self.revert(None).await
    }

    /// Resolves when the fault is to end, or this controller is.
    async fn ending(&self) {
        let stop = &self.controller.stop;
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK))
            .await
            .is_some()
        {
            let Ok(found) = self.api.get_opt(&self.name).await else {
                continue;
            };
            let goes_on =
                |found: &FaultInjection| found.phase() == Phase::Injecting && !found.is_unwanted();
            let Some(found) = found.filter(goes_on) else {
                return;
            };
            let abandoned = self.controller.is_abandoned(&found).await;
            if let Ok(Some(_)) = self.controller.must_end(&found, abandoned).await {
                return;
            }
        }
    }

    /// Whether the object is as this controller has written it. Of one that was stopped meanwhile
    /// the fault may have been undone: what it would do next would stay.
    async fn is_as_told(&self) -> Result<bool, FaultError> {
        let found = self.api.get_opt(&self.name).await;
        let found = found.map_err(FaultError::during(format!("read {}", self.name)))?;
        let told = self.injection.resource_version();
        Ok(found.is_some_and(|found| found.resource_version() == told))
    }

    /// Why something that was made for the fault no longer does its part.
    async fn lost(&self) -> Result<Option<String>, FaultError> {
        let owner = self.injection.owner();
        for action in &self.injection.progress().actions {
            let Some(why) = action.lost(&self.cluster, &owner).await? else {
                continue;
            };
            // Agents end by themselves, in the second in which `notAfter` lies.
            let is_over =
                jiff::Timestamp::now().as_second() >= self.injection.not_after()?.as_second();
            return Ok((!is_over).then_some(why));
        }
        Ok(None)
    }

    /// Does again what is done again and again, when it is time.
    async fn repeat(&mut self, agent_image: &str) -> Result<Next, FaultError> {
        let mut status = self.injection.progress();
        let Some((_, pace)) = status.actions.iter().find_map(Action::repeated) else {
            return Ok(Next::requeue(LOOK));
        };
        let pace = jiff::SignedDuration::try_from(pace).map_err(FaultError::Length)?;
        let last: Option<jiff::Timestamp> = status.injected_at.and_then(|at| at.parse().ok());
        let due = last.unwrap_or_default() + pace;
        let now = jiff::Timestamp::now();
        if let Ok(left) = Duration::try_from(due.duration_since(now))
            && !left.is_zero()
        {
            return Ok(Next::requeue(left.min(LOOK)));
        }
        // Counted before it is done: done twice would be worse than not at all.
        status.injected_at = Some(now.to_string());
        self.tell(&status).await?;
        let mut evidence: Vec<String> = status.evidence.take().into_iter().collect();
        match self.round(agent_image).await {
            Ok(seen) => {
                evidence.push(seen);
                status.error = None;
            }
            Err(error) => {
                let words = one_line(&error);
                evidence.push(format!("a round was left out: {words}"));
                status.error = Some(words);
            }
        }
        status.evidence = Some(evidence.join("; "));
        self.tell(&status).await?;
        Ok(Next::requeue(LOOK))
    }

    /// Kills once more, as far as the safety nets permit it now: at most half of the pods there were
    /// before are away at once.
    async fn round(&self, agent_image: &str) -> Result<String, FaultError> {
        let spec = &self.injection.spec;
        let blueprint = Blueprint::of(&spec.fault, self.context(agent_image)?).await?;
        let mut others = self.others().await?;
        let own = self.injection.progress().targets.into_iter();
        others.extend(own.map(|impact| Beside {
            fault: self.name.clone(),
            // What it takes is this round's.
            impact: Impact {
                left: impact.ready,
                ..impact
            },
        }));
        safety::permit_round(&self.cluster, &blueprint, &spec.allow, &others).await?;
        let mut evidence = Vec::new();
        for (kill, _) in blueprint.actions.iter().filter_map(Action::repeated) {
            evidence.push(kill.inject(&self.cluster, Attempt::First).await?);
        }
        Ok(evidence.join("; "))
    }

    /// Undoes everything from its end; what fails does not keep the rest from being undone.
    async fn revert(&mut self, because: Option<String>) -> Result<Next, FaultError> {
        let mut status = self.injection.progress();
        let owner = self.injection.owner();
        // Whoever began to undo it knew why.
        status.reverted_because = status.reverted_because.or(because);
        let proof = if matches!(status.phase, Phase::Pending | Phase::Prepared) {
            Ok("nothing was changed".to_owned())
        } else {
            if status.phase != Phase::Reverting {
                status.phase = Phase::Reverting;
                status.error = None;
                self.tell_if_there(&status).await?;
            }
            revert_all(&status.actions, &self.cluster, &owner).await
        };
        let proof = match proof {
            Ok(proof) => proof,
            Err(error) => {
                status.error = Some(one_line(&error));
                self.tell_if_there(&status).await?;
                return Err(error);
            }
        };
        lock::release(&self.cluster, &owner).await?;
        status.phase = Phase::Reverted;
        status.error = None;
        status.reverted = Some(proof);
        self.tell_if_there(&status).await?;
        Ok(Next::requeue(Duration::ZERO))
    }

    /// Lets the object go.
    async fn release(&mut self) -> Result<Next, FaultError> {
        let mut finalizers = self.injection.finalizers().to_vec();
        if finalizers.iter().any(|one| one == FINALIZER) {
            finalizers.retain(|one| one != FINALIZER);
            self.set_finalizers(&finalizers).await?;
        }
        Ok(Next::await_change())
    }

    async fn set_finalizers(&self, finalizers: &[String]) -> Result<(), FaultError> {
        let patch = Patch::Merge(json!({"metadata": {
            "resourceVersion": self.injection.resource_version(),
            "finalizers": finalizers,
        }}));
        let parameters = PatchParams::default();
        let patched = self.api.patch(&self.name, &parameters, &patch).await;
        gone_is_done(patched.map(drop)).map_err(FaultError::during(format!("change {}", self.name)))
    }

    /// Writes down how far it is. What is not written down is not done.
    async fn tell(&mut self, status: &FaultInjectionStatus) -> Result<(), FaultError> {
        let told = self.write(status).await;
        told.map_err(FaultError::during(format!("tell how far {} is", self.name)))
    }

    /// The same while it is undone, which goes on without the object.
    async fn tell_if_there(&mut self, status: &FaultInjectionStatus) -> Result<(), FaultError> {
        let told = gone_is_done(self.write(status).await);
        told.map_err(FaultError::during(format!("tell how far {} is", self.name)))
    }

    async fn write(&mut self, status: &FaultInjectionStatus) -> Result<(), kube::Error> {
        let mut told = serde_json::to_value(status).expect("a status is plain data");
        if let Some(told) = told.as_object_mut() {
            // A field that is left out must go, which a merge does only for what it is told of.
            for field in [
                "actions",
                "error",
                "evidence",
                "reverted",
                "revertedBecause",
                "injectedAt",
            ] {
                told.entry(field).or_insert(Value::Null);
            }
        }
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": self.injection.resource_version()},
            "status": told,
        }));
        let parameters = PatchParams::default();
        self.injection = self
            .api
            .patch_status(&self.name, &parameters, &patch)
            .await?;
        Ok(())
    }
}
