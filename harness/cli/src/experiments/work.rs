//! The work on one Experiment object.

use holdfast_core::event::StopCause;
use holdfast_core::experiment::{Experiment as Parsed, Profile};
use holdfast_core::record::Record;
use holdfast_core::spec::SourceFile;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::object::{Condition, Experiment, ExperimentStatus, Figures, Phase, word};
use super::{AGAIN, Shared};
use crate::execution::Identity;
use crate::failure::{Failure, chain};
use crate::judgement::Judgement;
use crate::place::Ground;
use crate::progress::Verbosity;
use crate::run_folder::RunFolder;
use crate::siege_version::SiegeVersion;
use crate::tenancy::{self, Guard};
use crate::terminal;
use crate::trial::{self, Trial};

/// Stays on the object until everything of its run is undone.
const FINALIZER: &str = "holdfast.dev/end-run";

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
            return self.refuse(&Failure::carrying_out(lost)).await;
        }
        let known = self.status.observed_generation;
        if known.is_some() && known == self.object.metadata.generation {
            return Ok(());
        }
        if self.shared.interrupts.came() {
            return Ok(());
        }
        self.set_finalizer(true).await?;
        let parsed = match self.parse() {
            Ok(parsed) => parsed,
            Err(failure) => return self.refuse(&failure).await,
        };
        tokio::select! {
            _turn = self.shared.turn.lock() => {}
            () = self.deleted() => return Ok(()),
            _ = self.shared.interrupts.wait() => return Ok(()),
        }
        self.run(&parsed).await
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

    /// Runs it until its end, the object's deletion, or an interruption.
    async fn run(&mut self, parsed: &Parsed) -> Result<(), Failure> {
        let identity = Identity::new();
        let generation = self.object.metadata.generation;
        self.tell(ExperimentStatus {
            phase: Phase::Running,
            observed_generation: generation,
            run: Some(identity.run_id.clone()),
            started_at: Some(now()),
            ..ExperimentStatus::default()
        })
        .await?;
        let (label, shared) = (self.label.clone(), self.shared);
        terminal::say(&format!("{label}: run {} begins", identity.run_id));
        let trial = Trial {
            experiment: parsed,
            ground: Ground::Cluster(&shared.connection, Guard::Controller),
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
        match carried_out {
            Ok((record, folder)) => self.judge(record, folder).await,
            Err(failure) => self.refuse(&failure).await,
        }
    }

    async fn judge(&mut self, record: Record, folder: RunFolder) -> Result<(), Failure> {
        let judgement = Judgement::of(record);
        let report = judgement.report();
        let verdict = word(report.verdict.outcome);
        let mut status = ExperimentStatus {
            phase: Phase::Finished,
            verdict: Some(verdict.clone()),
            exit_code: Some(judgement.code().into()),
            figures: Some(Figures::of(&report)),
            reasons: Some(report.verdict.reasons.clone()),
            finished_at: Some(now()),
            ..self.status.clone()
        };
        let message = report.verdict.reasons.join("; ");
        status.conditions = Some(vec![self.condition("True", &verdict, message)]);
        match judgement.keep(folder, SiegeVersion::V4_0.into()) {
            Ok(kept) => status.report = kept.map(|path| path.display().to_string()),
            Err(failure) => terminal::say(&failure.to_string()),
        }
        terminal::say(&format!("{}: {verdict}", self.label));
        self.tell(status).await
    }

    /// Says why there is no verdict.
    async fn refuse(&mut self, failure: &Failure) -> Result<(), Failure> {
        terminal::say(&format!("{}: {failure}", self.label));
        let message = failure.words().to_owned();
        let condition = self.condition("False", "NotCarriedOut", message.clone());
        self.tell(ExperimentStatus {
            phase: Phase::Refused,
            observed_generation: self.object.metadata.generation,
            exit_code: Some(failure.code.into()),
            reasons: Some(vec![message]),
            conditions: Some(vec![condition]),
            finished_at: Some(now()),
            ..self.status.clone()
        })
        .await
    }

    /// Undoes what a run has left whose process is gone.
    async fn undo(&self) -> Result<(), Failure> {
        let Some(run) = self.status.run.as_deref().filter(|_| self.has_begun()) else {
            return Ok(());
        };
        let client = &self.shared.connection.client;
        let unknown = |error| Failure::carrying_out(chain(&error));
        let namespace = self.shared.namespace.as_deref();
        let found = holdfast_faults::found(client, namespace).await;
        let mut left = Vec::new();
        for fault in found.map_err(unknown)?.iter().filter(|one| one.run == run) {
            if let Err(error) = holdfast_faults::recover(client, fault).await {
                left.push(format!("{}: {}", fault.name, chain(&error)));
            }
        }
        // Whatever cannot be understood was never applied.
        if let Ok(Parsed {
            system: Some(system),
            ..
        }) = self.parse()
        {
            left.extend(tenancy::remove_what_is_left(client, &system, run).await?);
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(Failure::not_put_back(&left))
        }
    }

    fn has_begun(&self) -> bool {
        self.status.phase == Phase::Running
            || self.status.exit_code == Some(Failure::not_put_back(&[]).code.into())
    }

    fn condition(&self, status: &str, reason: &str, message: String) -> Condition {
        Condition {
            kind: "Judged".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: now(),
            observed_generation: self.object.metadata.generation,
        }
    }

    async fn tell(&mut self, status: ExperimentStatus) -> Result<(), Failure> {
        let patch = Patch::Merge(json!({"status": status}));
        let parameters = PatchParams::default();
        let told = self.api.patch_status(&self.name, &parameters, &patch).await;
        self.status = status;
        gone_is_done(told.map(drop)).map_err(cannot("tell the status of", &self.label))
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
        let deleted = |found: Option<&Experiment>| {
            found.is_none_or(|found| found.metadata.deletion_timestamp.is_some())
        };
        while let Err(error) = await_condition(self.api.clone(), &self.name, deleted).await {
            tracing::debug!("cannot watch {}: {error}", self.label);
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn cannot(action: &str, label: &str) -> impl FnOnce(kube::Error) -> Failure {
    let text = format!("cannot {action} {label}");
    move |error| Failure::carrying_out(format!("{text}: {}", chain(&error)))
}

fn gone_is_done(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other,
    }
}

fn now() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
