//! The work on one Experiment object.

use std::time::Duration;

use holdfast_core::event::StopCause;
use holdfast_core::experiment::{Experiment as Parsed, Profile};
use holdfast_core::record::Record;
use holdfast_core::spec::SourceFile;
use holdfast_core::verdict::Outcome;
use holdfast_faults::gone_is_done;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::insistence::insist;
use super::object::{Condition, Experiment, ExperimentStatus, Figures, Phase, Undo, word};
use super::turns::Turn;
use super::{AGAIN, Shared};
use crate::execution::Identity;
use crate::failure::{Failure, chain};
use crate::judgement::Judgement;
use crate::place::{Foreign, Ground};
use crate::progress::Verbosity;
use crate::run_folder::RunFolder;
use crate::siege_version::SiegeVersion;
use crate::tenancy::{self, Guard};
use crate::terminal;
use crate::trial::{self, Trial};

/// Stays on the object until everything of its run is undone.
const FINALIZER: &str = "holdfast.dev/end-run";

/// How long an interruption waits for a cluster that does not take a status. An interrupted pod has
/// two minutes (k8s/controller), of which undoing may take most.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// One experiment as it was found.
pub(super) struct Work<'a> {
    api: Api<Experiment>,
    name: String,
    /// For people.
    label: String,
    object: Experiment,
    status: ExperimentStatus,
    shared: &'a Shared,
}

impl<'a> Work<'a> {
    /// Nothing if the object is gone.
    pub(super) async fn on(seen: &Experiment, shared: &'a Shared) -> Result<Option<Self>, Failure> {
        let namespace = seen.namespace().unwrap_or_default();
        let name = seen.name_any();
        let api: Api<Experiment> = Api::namespaced(shared.connection.client.clone(), &namespace);
        let label = format!("experiment {namespace}/{name}");
        let found = api.get_opt(&name).await.map_err(cannot("read", &label))?;
        Ok(found.map(|object| Self {
            api,
            name,
            label,
            status: object.status.clone().unwrap_or_default(),
            object,
            shared,
        }))
    }

    /// Does what is to be done, up to a whole run.
    pub(super) async fn step(mut self) -> Result<(), Failure> {
        if self.object.metadata.deletion_timestamp.is_some() {
            self.undo().await?;
            return self.set_finalizer(false).await;
        }
        // Of one object one work is under way: what runs, another process has begun that is gone.
        if self.status.phase == Phase::Running {
            self.undo().await?;
            let lost = "the controller ended during the run; what it had begun is undone";
            let refused = self.refused(&Failure::carrying_out(lost));
            return self.tell(refused).await;
        }
        let known = self.status.observed_generation;
        if known.is_some() && known == self.object.metadata.generation {
            return Ok(());
        }
        if self.shared.interrupts.came() {
            return Ok(());
        }
        // What could not be put back after an earlier run must not meet another one.
        self.undo().await?;
        self.set_finalizer(true).await?;
        // Nothing of an earlier run is true of this one.
        self.status = ExperimentStatus::default();
        let ended = match self.parse() {
            Ok(parsed) => self.run_in_turn(&parsed).await?,
            Err(failure) => Some(self.refused(&failure)),
        };
        match ended {
            Some(status) => self.tell(status).await,
            None => Ok(()),
        }
    }

    /// Returns what has become of it; nothing if it is not to be run after all. Whether the cluster
    /// takes the status then is nothing that others have to wait for.
    async fn run_in_turn(&mut self, parsed: &Parsed) -> Result<Option<ExperimentStatus>, Failure> {
        let Some(_turn) = self.turn().await else {
            return Ok(None);
        };
        self.run(parsed).await.map(Some)
    }

    /// Waits for its turn, and says for whom; none if it is not to be run after all.
    async fn turn(&self) -> Option<Turn<'a>> {
        let turns = &self.shared.turns;
        let mut holder = turns.holder();
        let taking = turns.take(&self.label);
        tokio::pin!(taking);
        loop {
            let other = holder.borrow_and_update().clone();
            if let Some(other) = other {
                self.tell_waiting(&other).await;
            }
            tokio::select! {
                turn = &mut taking => return Some(turn),
                // Who gives turns lives as long as this process.
                _ = holder.changed() => {}
                () = self.superseded() => return None,
                _ = self.shared.interrupts.wait() => return None,
            }
        }
    }

    fn parse(&self) -> Result<Parsed, Failure> {
        let text = json!({
            "apiVersion": trial::API_VERSION,
            "kind": "Experiment",
            "metadata": {"name": self.name},
            "spec": self.object.spec,
        });
        let text = serde_json::to_string_pretty(&text).expect("an object came from JSON");
        let source = SourceFile {
            name: &self.label,
            text: &text,
            directory: &self.shared.directory,
        };
        trial::parse(&source, Profile::Full, &[])
    }

    /// Runs it until its end, the object's deletion, or an interruption; returns what has become of
    /// it.
    async fn run(&mut self, parsed: &Parsed) -> Result<ExperimentStatus, Failure> {
        let undo = match self.to_be_undone(parsed).await {
            Ok(undo) => undo,
            Err(failure) => return Ok(self.refused(&failure)),
        };
        let identity = Identity::new();
        self.tell(ExperimentStatus {
            phase: Phase::Running,
            observed_generation: self.object.metadata.generation,
            run: Some(identity.run_id.clone()),
            undo,
            started_at: Some(now()),
            ..ExperimentStatus::default()
        })
        .await?;
        let (label, shared) = (self.label.clone(), self.shared);
        terminal::say(&format!("{label}: run {} begins", identity.run_id));
        let trial = Trial {
            experiment: parsed,
            ground: Ground::Cluster(Foreign {
                connection: &shared.connection,
                guard: Guard::Controller,
                agent_image: &shared.agent_image,
            }),
            source_file: &label,
            command: &[],
            out: &shared.out,
            verbosity: Verbosity::Normal,
        };
        let (interrupter, interrupts) = self.shared.interrupts.of_a_part();
        let carrying_out = trial.carry_out(identity, &interrupts);
        tokio::pin!(carrying_out);
        let carried_out = tokio::select! {
            done = &mut carrying_out => done,
            () = self.deleted() => {
                interrupter.interrupt(StopCause::Terminated);
                carrying_out.await
            }
        };
        Ok(match carried_out {
            Ok((record, folder)) => self.judged(record, folder),
            Err(failure) => self.refused(&failure),
        })
    }

    async fn to_be_undone(&self, parsed: &Parsed) -> Result<Option<Undo>, Failure> {
        let Some(system) = &parsed.system else {
            return Ok(None);
        };
        let client = &self.shared.connection.client;
        Ok(Some(Undo {
            namespace: system.namespace.clone(),
            made: tenancy::to_be_made(client, system).await?,
        }))
    }

    /// The status with the verdict; keeps the report.
    fn judged(&self, record: Record, folder: RunFolder) -> ExperimentStatus {
        let judgement = Judgement::of(record);
        let report = judgement.report();
        let outcome = report.verdict.outcome;
        let verdict = word(outcome);
        let message = report.verdict.reasons.join("; ");
        let mut status = ExperimentStatus {
            phase: Phase::Finished,
            verdict: Some(verdict.clone()),
            exit_code: Some(judgement.code().into()),
            figures: Some(Figures::of(&report)),
            reasons: Some(report.verdict.reasons.clone()),
            conditions: Some(vec![self.condition("True", &verdict, message)]),
            undo: self.left(outcome.exit_code()),
            finished_at: Some(now()),
            ..self.status.clone()
        };
        match judgement.keep(folder, SiegeVersion::V4_0.into()) {
            Ok(kept) => status.report = kept.map(|path| path.display().to_string()),
            Err(failure) => {
                terminal::say(&failure.to_string());
                status.exit_code = Some(failure.code.into());
            }
        }
        terminal::say(&format!("{}: {verdict}", self.label));
        status
    }

    /// The status that says why there is no verdict.
    fn refused(&self, failure: &Failure) -> ExperimentStatus {
        terminal::say(&format!("{}: {failure}", self.label));
        let message = failure.words().to_owned();
        let condition = self.condition("False", "NotCarriedOut", message.clone());
        ExperimentStatus {
            phase: Phase::Refused,
            observed_generation: self.generation(),
            exit_code: Some(failure.code.into()),
            reasons: Some(vec![message]),
            conditions: Some(vec![condition]),
            undo: self.left(failure.code),
            finished_at: Some(now()),
            ..self.status.clone()
        }
    }

    /// What is still to be undone after an end with this exit code.
    fn left(&self, code: u8) -> Option<Undo> {
        let left = code == Outcome::NotReverted.exit_code();
        self.status.undo.clone().filter(|_| left)
    }

    /// Undoes what a run has left that is over, or whose process is gone.
    async fn undo(&self) -> Result<(), Failure> {
        let (Some(run), Some(undo)) = (&self.status.run, &self.status.undo) else {
            return Ok(());
        };
        let client = &self.shared.connection.client;
        let unknown = |error| Failure::carrying_out(chain(&error));
        let found = holdfast_faults::found(client, Some(&undo.namespace)).await;
        let mut left = Vec::new();
        for fault in found.map_err(unknown)?.iter().filter(|one| one.run == *run) {
            if let Err(error) = holdfast_faults::recover(client, fault).await {
                left.push(format!("{}: {}", fault.name, chain(&error)));
            }
        }
        left.extend(tenancy::remove(client, run, &undo.made).await);
        if left.is_empty() {
            Ok(())
        } else {
            Err(Failure::not_put_back(&left))
        }
    }

    fn condition(&self, status: &str, reason: &str, message: String) -> Condition {
        Condition {
            kind: "Judged".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: now(),
            observed_generation: self.generation(),
        }
    }

    /// The generation of the spec that a status is about: the run's, or the one that is there now.
    fn generation(&self) -> Option<i64> {
        let of_the_run = self.status.observed_generation;
        of_the_run.or(self.object.metadata.generation)
    }

    /// Writes the status until the cluster takes it: a verdict cannot be had again.
    async fn tell(&mut self, status: ExperimentStatus) -> Result<(), Failure> {
        let given_up = async {
            self.shared.interrupts.wait().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        let told = insist(|| self.tell_once(&status), given_up).await;
        self.status = status;
        told
    }

    async fn tell_once(&self, status: &ExperimentStatus) -> Result<(), Failure> {
        let patch = Patch::Merge(json!({"status": status}));
        let parameters = PatchParams::default();
        let told = self.api.patch_status(&self.name, &parameters, &patch).await;
        gone_is_done(told.map(drop)).map_err(cannot("tell the status of", &self.label))
    }

    /// Says for whom it waits, if the cluster takes that: the turn that may come meanwhile does not
    /// wait for it.
    async fn tell_waiting(&self, other: &str) {
        let message = format!("waits for {other}");
        let waiting = ExperimentStatus {
            reasons: Some(vec![message.clone()]),
            conditions: Some(vec![self.condition("Unknown", "Waiting", message)]),
            ..ExperimentStatus::default()
        };
        if let Err(failure) = self.tell_once(&waiting).await {
            tracing::debug!("{failure}");
        }
    }

    async fn set_finalizer(&self, wanted: bool) -> Result<(), Failure> {
        let mut finalizers = self.object.finalizers().to_vec();
        if finalizers.iter().any(|one| one == FINALIZER) == wanted {
            return Ok(());
        }
        if wanted {
            finalizers.push(FINALIZER.to_owned());
        } else {
            finalizers.retain(|one| one != FINALIZER);
        }
        let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
        let parameters = PatchParams::default();
        let changed = self.api.patch(&self.name, &parameters, &patch).await;
        gone_is_done(changed.map(drop)).map_err(cannot("change", &self.label))
    }

    /// Resolves when somebody has deleted the object.
    async fn deleted(&self) {
        self.until(is_deleted).await;
    }

    /// Resolves when somebody has deleted the object, or wants something else of it.
    async fn superseded(&self) {
        let generation = self.object.metadata.generation;
        self.until(|found| {
            is_deleted(found) || found.is_some_and(|one| one.metadata.generation != generation)
        })
        .await;
    }

    async fn until(&self, condition: impl Fn(Option<&Experiment>) -> bool + Clone) {
        while let Err(error) =
            await_condition(self.api.clone(), &self.name, condition.clone()).await
        {
            tracing::debug!("cannot watch {}: {error}", self.label);
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn is_deleted(found: Option<&Experiment>) -> bool {
    found.is_none_or(|found| found.metadata.deletion_timestamp.is_some())
}

fn cannot(action: &str, label: &str) -> impl FnOnce(kube::Error) -> Failure {
    let text = format!("cannot {action} {label}");
    move |error| Failure::carrying_out(format!("{text}: {}", chain(&error)))
}

fn now() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
