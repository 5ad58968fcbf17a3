//! `holdfast run`: read, plan, prepare, run, judge, report.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_core::event::{Environment, RunStarted, Stamped};
use holdfast_core::experiment::{Experiment, Objective, Target};
use holdfast_core::plan::{self, Plan};
use holdfast_core::record::Record;
use holdfast_core::spec::threshold::{self, ThresholdError};
use holdfast_core::spec::{self, MOST_WORKERS, SourceFile};
use holdfast_engine::{Drivers, FaultDriver, NoFaults, NoObserver, Observer};
use holdfast_faults::{KubeFaults, KubeObserver};

use crate::cluster::{self, Choices};
use crate::execution::{self, Identity, Stop};
use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::judgement::{self, Judgement};
use crate::progress::{Progress, Verbosity};
use crate::run_folder::RunFolder;
use crate::siege_version::SiegeVersion;
use crate::site::{self, Layout, Site};
use crate::{images, system, terminal};

/// Options of `holdfast run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The experiment file
    experiment: PathBuf,
    /// Set a parameter of the experiment; may be given more than once
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
    /// Ask one thing more, e.g. 'p99{phase:fault}<=2s'; may be given more than once
    #[arg(long = "threshold", value_name = "THRESHOLD", value_parser = parse_threshold)]
    thresholds: Vec<(String, Objective)>,
    /// The folder under which the run's folder is made, as <experiment>/<run>
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
    /// Send the load from so many processes, in place of the experiment's `load.workers`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_WORKERS)))]
    workers: Option<u32>,
    /// Print the machine-readable result alone on standard output
    #[arg(long)]
    json: bool,
    /// Print errors and the result only
    #[arg(long, short)]
    quiet: bool,
    /// The siege version whose layout the summary block follows
    #[arg(long, value_name = "VERSION", value_enum, default_value = "4.0")]
    siege_format: SiegeVersion,
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, e.g. --set users=20".to_owned()),
    }
}

fn parse_threshold(text: &str) -> Result<(String, Objective), ThresholdError> {
    Ok((text.to_owned(), threshold::parse(text)?))
}

impl Arguments {
    /// The words that repeat the run.
    fn command(&self) -> Vec<String> {
        let mut words = vec!["run".to_owned(), self.experiment.display().to_string()];
        for (name, value) in &self.settings {
            words.extend(["--set".to_owned(), format!("{name}={value}")]);
        }
        for (text, _) in &self.thresholds {
            words.extend(["--threshold".to_owned(), text.clone()]);
        }
        if let Some(workers) = self.workers {
            words.extend(["--workers".to_owned(), workers.to_string()]);
        }
        words
    }
}

/// Carries the experiment out; returns the verdict's exit code.
pub(crate) async fn run(arguments: Arguments) -> Result<u8, Failure> {
    let interrupts = Interrupts::listen()?;
    let verbosity = if arguments.quiet {
        Verbosity::Quiet
    } else {
        Verbosity::Normal
    };
    let mut experiment = read(&arguments.experiment, &arguments.settings)?;
    if let Some(workers) = arguments.workers {
        experiment.load.workers = workers;
    }
    for (text, asked) in &arguments.thresholds {
        threshold::ask(&mut experiment, asked.clone())
            .map_err(|error| Failure::input(format!("--threshold '{text}': {error}")))?;
    }
    let identity = Identity::new();
    let plan = plan::plan(&experiment, identity.seed);
    let mut folder = RunFolder::create(&arguments.out, &experiment.name, &identity.run_id)?;

    let place = Place::prepare(&experiment, &folder, verbosity, &interrupts).await;
    let place = match place {
        Ok(place) => place,
        Err(failure) => {
            folder.discard();
            return Err(failure);
        }
    };
    let environment = interrupts
        .unless(async { Ok(place.environment().await) })
        .await;
    let environment = match environment {
        Ok(environment) => environment,
        Err(failure) => {
            place.end().await;
            folder.discard();
            return Err(failure);
        }
    };
    let started = RunStarted {
        run_id: identity.run_id,
        started_at: identity.started_at,
        source_file: arguments.experiment.display().to_string(),
        command: arguments.command(),
        params: experiment.params.clone(),
        environment,
        plan,
    };
    let carried_out = carry_out(started, &place, &mut folder, verbosity, &interrupts).await;
    place.end().await;
    let record = match carried_out {
        Ok(record) => record,
        Err(failure) => {
            folder.discard();
            return Err(failure);
        }
    };
    tell(record, folder, &arguments)
}

fn read(file: &Path, settings: &[(String, String)]) -> Result<Experiment, Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::input(format!("cannot read {name}: {error}")))?;
    let source = SourceFile {
        name: &name,
        text: &text,
        directory: file.parent().unwrap_or(Path::new("")),
    };
    spec::parse(&source, settings, &|path| path.exists()).map_err(|errors| {
        Failure::input(format!("{name} is not a valid experiment\n{errors}"))
            .hint("the format is described in harness/docs/experiment.md")
    })
}

/// Where the experiment runs.
struct Place {
    /// `None` when only a URL is put under siege.
    site: Option<Site>,
    namespace: String,
    target_url: String,
}

impl Place {
    async fn prepare(
        experiment: &Experiment,
        folder: &RunFolder,
        verbosity: Verbosity,
        interrupts: &Interrupts,
    ) -> Result<Self, Failure> {
        let Some(wanted) = &experiment.system else {
            return match &experiment.load.target {
                Target::Url(url) => Ok(Self {
                    site: None,
                    namespace: String::new(),
                    target_url: url.clone(),
                }),
                Target::Service(name) => Err(Failure::input(format!(
                    "load.target names service {name}, but the experiment has no system"
                ))),
            };
        };
        let logs = folder.path().join("logs");
        let layout = Layout {
            system: wanted,
            images: images::Choice::Needed,
            log_directory: &logs,
            choices: Choices::default(),
        };
        let site = site::prepare(layout, verbosity, interrupts).await?;
        let target_url = match &experiment.load.target {
            Target::Url(url) => Ok(url.clone()),
            Target::Service(name) => {
                system::service_url(&site.client, &wanted.namespace, name).await
            }
        };
        match target_url {
            Ok(target_url) => Ok(Self {
                site: Some(site),
                namespace: wanted.namespace.clone(),
                target_url,
            }),
            Err(failure) => {
                site.cluster.shutdown().await;
                Err(failure)
            }
        }
    }

    async fn environment(&self) -> Environment {
        let mut environment = Environment {
            namespace: self.namespace.clone(),
            ..execution::environment(&self.target_url)
        };
        if let Some(site) = &self.site {
            "local".clone_into(&mut environment.cluster);
            // A cluster that does not tell its version shows up at the next request anyway.
            let version = site.client.apiserver_version().await;
            environment.cluster_version = version.map(|info| info.git_version).unwrap_or_default();
            environment.emulations = site.cluster.emulations();
            environment.emulations.push(site::DIALS_PODS.to_owned());
        }
        environment
    }

    /// Drivers for a plan whose load can be carried out.
    async fn drivers(
        &self,
        run_id: &str,
        plan: &Plan,
        verbosity: Verbosity,
    ) -> Result<Drivers, Failure> {
        let site = self.site.as_ref();
        let load = &plan.load;
        let load = execution::load_driver(load, &self.target_url, site, None, verbosity).await?;
        let (faults, observer): (Arc<dyn FaultDriver>, Arc<dyn Observer>) = match &self.site {
            None => (Arc::new(NoFaults), Arc::new(NoObserver)),
            Some(site) => (
                self.faults(site, run_id, plan).await?,
                Arc::new(KubeObserver::new(
                    site.client.clone(),
                    &self.namespace,
                    site.services.clone(),
                )),
            ),
        };
        Ok(Drivers {
            load,
            faults,
            observer,
        })
    }

    /// Nothing is asked of a cluster in which nothing is to be broken.
    async fn faults(
        &self,
        site: &Site,
        run_id: &str,
        plan: &Plan,
    ) -> Result<Arc<dyn FaultDriver>, Failure> {
        if plan.faults.is_empty() {
            return Ok(Arc::new(NoFaults));
        }
        let installed = holdfast_faults::install(&site.client, &holdfast_faults::definitions());
        installed
            .await
            .map_err(|error| Failure::carrying_out(chain(&error)))?;
        Ok(Arc::new(KubeFaults::start(
            site.client.clone(),
            &self.namespace,
            run_id,
            cluster::AGENT_IMAGE,
            &plan.allow,
        )))
    }

    async fn end(self) {
        if let Some(site) = self.site {
            site.cluster.shutdown().await;
        }
    }
}

/// Checks the faults, then runs the plan; the journal and the display see every event.
async fn carry_out(
    started: RunStarted,
    place: &Place,
    folder: &mut RunFolder,
    verbosity: Verbosity,
    interrupts: &Interrupts,
) -> Result<Record, Failure> {
    let preparing = place.drivers(&started.run_id, &started.plan, verbosity);
    let drivers = interrupts.unless(preparing).await?;
    interrupts
        .unless(check_faults(&started.plan, &drivers))
        .await?;
    let mut progress = Progress::new(&started.plan, verbosity);
    let mut sink = |stamped: &Stamped| {
        folder.append(stamped);
        progress.take(stamped);
    };
    Ok(execution::carry_out(started, &drivers, Stop::new(), interrupts, &mut sink).await)
}

async fn check_faults(plan: &Plan, drivers: &Drivers) -> Result<(), Failure> {
    for fault in &plan.faults {
        let checked = drivers.faults.check(fault, &plan.allow).await;
        checked.map_err(|error| {
            Failure::input(format!(
                "{} ({}): {error}",
                fault.name,
                fault.fault.describe()
            ))
        })?;
    }
    Ok(())
}

/// Judges the record, prints the result and writes the run's folder.
fn tell(record: Record, folder: RunFolder, arguments: &Arguments) -> Result<u8, Failure> {
    let judgement = Judgement::of(record);
    let report = judgement.report();
    let siege_format = arguments.siege_format.into();
    if arguments.json {
        let shown = folder.path().display().to_string();
        let result = holdfast_report::result_json(&report, &shown);
        terminal::result(&result.map_err(|error| judgement::unrendered(&error))?);
    } else {
        let colours = judgement::colours();
        terminal::say(&holdfast_report::terminal::text(
            &report,
            siege_format,
            colours,
        ));
    }
    let kept = judgement.keep(folder, siege_format)?;
    if let Some(path) = kept.filter(|_| !arguments.json) {
        terminal::say(&format!("report: {}", path.join("report.html").display()));
    }
    Ok(judgement.code())
}
