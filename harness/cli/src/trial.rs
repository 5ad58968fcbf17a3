//! One run of one experiment, whoever asks for it: its place, its plan, its record.

use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_core::event::{RunStarted, Stamped, StopCause};
use holdfast_core::experiment::{Experiment, Profile};
use holdfast_core::plan::{self, Plan, PlannedFault};
use holdfast_core::record::Record;
use holdfast_core::spec::{self, SourceFile};
use holdfast_core::summary;
use holdfast_core::verdict::{self, Outcome};
use holdfast_engine::{Because, Drivers, FaultDriverError};
use holdfast_faults::{HALT_NAME, HALT_NAMESPACE};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use tokio::sync::mpsc::UnboundedSender;

use crate::execution::{self, Identity, Stop};
use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::place::{self, Ground, Place, Wanted};
use crate::progress::{Progress, Verbosity};
use crate::run_folder::RunFolder;
use crate::tenancy::Faults;

/// The pause after a cluster that does not say whether everything is halted.
const AGAIN: Duration = Duration::from_secs(1);

/// What to run, and where.
#[derive(Clone, Copy)]
pub(crate) struct Trial<'a> {
    pub(crate) experiment: &'a Experiment,
    pub(crate) ground: Ground<'a>,
    /// Where the experiment comes from.
    pub(crate) source_file: &'a str,
    /// The words after `holdfast` that repeat the run.
    pub(crate) command: &'a [String],
    /// The folder under which the run's folder is made.
    pub(crate) out: &'a Path,
    pub(crate) verbosity: Verbosity,
}

pub(crate) use holdfast_core::spec::API_VERSION;

/// Reads an experiment file; `settings` are those of `--set`.
pub(crate) fn read(
    file: &Path,
    profile: Profile,
    settings: &[(String, String)],
) -> Result<Experiment, Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::input(format!("cannot read {name}: {error}")))?;
    let source = SourceFile {
        name: &name,
        text: &text,
        directory: file.parent().unwrap_or(Path::new("")),
    };
    parse(&source, profile, settings)
}

/// Understands an experiment.
pub(crate) fn parse(
    source: &SourceFile<'_>,
    profile: Profile,
    settings: &[(String, String)],
) -> Result<Experiment, Failure> {
    let experiment = spec::parse_as(profile, source, settings, &|path| path.exists());
    experiment.map_err(|errors| {
        let name = source.name;
        Failure::input(format!("{name} is not a valid experiment\n{errors}"))
            .hint("the format is described in harness/docs/experiment.md")
    })
}

/// A parameter's value on the command line.
pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, e.g. --set users=20".to_owned()),
    }
}

impl Trial<'_> {
    /// Runs it, and leaves the place as it was. What could not be put back stands in the record.
    pub(crate) async fn carry_out(
        self,
        identity: Identity,
        interrupts: &Interrupts,
    ) -> Result<(Record, RunFolder), Failure> {
        let checking = place::check_cluster(self.experiment, self.ground);
        interrupts.unless(checking).await?;
        let plan = plan::plan(self.experiment, identity.seed);
        let mut folder = RunFolder::create(self.out, &self.experiment.name, &identity.run_id)?;
        let log_directory: PathBuf = folder.path().join("logs");
        let wanted = Wanted {
            experiment: self.experiment,
            ground: self.ground,
            run_id: &identity.run_id,
            log_directory: &log_directory,
            verbosity: self.verbosity,
        };
        let place = match Place::prepare(wanted, interrupts).await {
            Ok(place) => place,
            Err(failure) => {
                folder.discard();
                return Err(failure);
            }
        };
        let carried_out = self
            .run(identity, plan, &place, &mut folder, interrupts)
            .await;
        match carried_out {
            Ok(mut record) => {
                let left = place.end(faults_of(&record)).await;
                record.residue.extend(left);
                Ok((record, folder))
            }
            Err(failure) => {
                let left = place.end(Faults::Undone).await;
                folder.discard();
                Err(failure.but_left(&left))
            }
        }
    }

    async fn run(
        self,
        identity: Identity,
        plan: Plan,
        place: &Place,
        folder: &mut RunFolder,
        interrupts: &Interrupts,
    ) -> Result<Record, Failure> {
        let environment = interrupts.unless(async { Ok(place.environment().await) });
        let started = RunStarted {
            environment: environment.await?,
            run_id: identity.run_id,
            started_at: identity.started_at,
            source_file: self.source_file.to_owned(),
            command: self.command.to_vec(),
            profile: self.experiment.profile,
            params: self.experiment.params.clone(),
            plan,
        };
        let breaks = !started.plan.faults.is_empty();
        let switch = place.client().filter(|_| breaks);
        let preparing = async {
            if let Some(client) = switch {
                refuse_if_halted(client).await?;
            }
            let run_id = &started.run_id;
            place.drivers(run_id, &started.plan, self.verbosity).await
        };
        let drivers = interrupts.unless(preparing).await?;
        let checking = interrupts.unless(check_faults(&started.plan, &drivers));
        if let Err(failure) = checking.await {
            drivers.faults.end().await;
            return Err(failure);
        }
        let stop = Stop::new();
        let watching = switch.map(|client| {
            let told = stop.sender.clone();
            tokio::spawn(end_when_halted(client.clone(), told))
        });
        let mut progress = Progress::new(&started.plan, self.verbosity);
        let mut sink = |stamped: &Stamped| {
            folder.append(stamped);
            progress.take(stamped);
        };
        let record = execution::carry_out(started, &drivers, stop, interrupts, &mut sink).await;
        if let Some(watching) = watching {
            watching.abort();
        }
        drivers.faults.end().await;
        Ok(record)
    }
}

/// Whether the run's faults are undone, by the verdict's own rules.
fn faults_of(record: &Record) -> Faults {
    let verdict = verdict::judge(record, &summary::summarize(record));
    if verdict.outcome == Outcome::NotReverted {
        Faults::NotUndone
    } else {
        Faults::Undone
    }
}

/// Why nothing is begun while the kill switch is set.
async fn refuse_if_halted(client: &Client) -> Result<(), Failure> {
    let halted = holdfast_faults::halted(client).await;
    match halted.map_err(|error| Failure::carrying_out(chain(&error)))? {
        None => Ok(()),
        Some(why) => Err(Failure::halted(format!("everything is halted: {why}"))
            .hint("to permit faults again: holdfast resume")),
    }
}

/// Ends the run when the kill switch is set.
async fn end_when_halted(client: Client, stop: UnboundedSender<StopCause>) {
    let switch = Api::<ConfigMap>::namespaced(client.clone(), HALT_NAMESPACE);
    let set = |found: Option<&ConfigMap>| found.is_some();
    while let Err(error) = await_condition(switch.clone(), HALT_NAME, set).await {
        // The faults' controller asks for itself, and undoes them then.
        tracing::debug!("cannot watch whether everything is halted: {error}");
        tokio::time::sleep(AGAIN).await;
    }
    let why = holdfast_faults::halted(&client).await.ok().flatten();
    let words = why.map_or_else(String::new, |why| format!(": {why}"));
    // A run that has ended needs no stopping.
    drop(stop.send(StopCause::Halted(format!("everything is halted{words}"))));
}

async fn check_faults(plan: &Plan, drivers: &Drivers) -> Result<(), Failure> {
    for (index, fault) in plan.faults.iter().enumerate() {
        let checked = drivers.faults.check(fault, &plan.faults[..index]).await;
        checked.map_err(|error| unchecked(fault, &error))?;
    }
    Ok(())
}

/// A fault that is refused makes the experiment one that cannot be used here; a cluster that does not say
/// is no fault of its.
fn unchecked(fault: &PlannedFault, error: &FaultDriverError) -> Failure {
    let message = format!("{} ({}): {error}", fault.name, fault.fault.describe());
    match error.1 {
        Because::Refused => Failure::input(message),
        Because::Unanswered => Failure::carrying_out(message),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_core::fault::{Fault, Scale};

    use super::*;

    #[test]
    fn a_cluster_that_does_not_answer_is_not_the_experiment_s_mistake() {
        let deployment = "pay".to_owned();
        let fault = PlannedFault {
            name: "outage".to_owned(),
            start: Duration::ZERO,
            end: Duration::from_secs(1),
            fault: Fault::Scale(Scale {
                deployment,
                replicas: 0,
            }),
        };
        for (because, code) in [(Because::Refused, 2), (Because::Unanswered, 3)] {
            let error = FaultDriverError("cannot read namespace food".to_owned(), because);
            let failure = unchecked(&fault, &error);
            assert_eq!(failure.code, code);
            let words = "cannot read namespace food";
            assert!(failure.words().ends_with(words), "{failure}");
        }
    }
}
