//! `holdfast run`: read, plan, prepare, run, judge, report.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_core::event::{Environment, RunStarted, Stamped};
use holdfast_core::experiment::{Experiment, Target};
use holdfast_core::plan::{self, Plan};
use holdfast_core::record::Record;
use holdfast_core::spec::{self, SourceFile};
use holdfast_core::{summary, verdict};
use holdfast_engine::{Drivers, FaultDriver, NoFaults, NoObserver, Observer};
use holdfast_faults::{KubeFaults, KubeObserver};
use holdfast_report::{Colours, Format, Report, SiegeFormat};
use tokio::sync::mpsc::unbounded_channel;

use crate::cluster::Choices;
use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::progress::{Progress, Verbosity};
use crate::run_folder::RunFolder;
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
    /// The folder under which the run's folder is made, as <experiment>/<run>
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
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

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SiegeVersion {
    #[value(name = "4.0")]
    V4_0,
    #[value(name = "4.1.7")]
    V4_1_7,
}

impl From<SiegeVersion> for SiegeFormat {
    fn from(version: SiegeVersion) -> Self {
        match version {
            SiegeVersion::V4_0 => Self::V4_0,
            SiegeVersion::V4_1_7 => Self::V4_1_7,
        }
    }
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, e.g. --set users=20".to_owned()),
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
    let experiment = read(&arguments.experiment, &arguments.settings)?;
    let plan = plan::plan(&experiment);
    let started_at = jiff::Timestamp::now();
    let run_id = run_id(started_at);
    let mut folder = RunFolder::create(&arguments.out, &experiment.name, &run_id)?;

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
        run_id,
        started_at: started_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        source_file: arguments.experiment.display().to_string(),
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
    tell(&record, folder, &arguments)
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

/// `<utc>-<four hexadecimal digits>`: sorts by time, and two runs of one second differ.
fn run_id(now: jiff::Timestamp) -> String {
    let digits = now.subsec_nanosecond().unsigned_abs() ^ std::process::id();
    format!("{}-{:04x}", now.strftime("%Y%m%dT%H%M%SZ"), digits & 0xffff)
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
            cluster: "none".to_owned(),
            namespace: self.namespace.clone(),
            target_url: self.target_url.clone(),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            holdfast: env!("CARGO_PKG_VERSION").to_owned(),
            ..Environment::default()
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

    fn drivers(&self, run_id: &str) -> Result<Drivers, Failure> {
        let options = holdfast_load::Options {
            connector: self.site.as_ref().map(Site::connector),
            ..holdfast_load::Options::default()
        };
        let load = holdfast_load::driver(&self.target_url, options)
            .map_err(|error| Failure::input(error.to_string()))?;
        let (faults, observer): (Arc<dyn FaultDriver>, Arc<dyn Observer>) = match &self.site {
            None => (Arc::new(NoFaults), Arc::new(NoObserver)),
            Some(site) => (
                Arc::new(KubeFaults::new(
                    site.client.clone(),
                    &self.namespace,
                    run_id,
                )),
                Arc::new(KubeObserver::new(
                    site.client.clone(),
                    &self.namespace,
                    site.services.clone(),
                )),
            ),
        };
        Ok(Drivers {
            load: Arc::new(load),
            faults,
            observer,
        })
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
    let drivers = place.drivers(&started.run_id)?;
    interrupts
        .unless(check_faults(&started.plan, &drivers))
        .await?;
    let (stop, stopped) = unbounded_channel();
    let forward = tokio::spawn({
        let interrupts = interrupts.clone();
        async move {
            // A run that has ended needs no stopping.
            drop(stop.send(interrupts.wait().await));
        }
    });
    let mut progress = Progress::new(&started.plan, verbosity);
    let mut sink = |stamped: &Stamped| {
        folder.append(stamped);
        progress.take(stamped);
    };
    let record = holdfast_engine::run(started, &drivers, stopped, &mut sink).await;
    forward.abort();
    Ok(record)
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

/// Judges the record, writes the run's folder and prints the result.
fn tell(record: &Record, folder: RunFolder, arguments: &Arguments) -> Result<u8, Failure> {
    let summary = summary::summarize(record);
    let verdict = verdict::judge(record, &summary);
    let report = Report {
        record,
        summary: &summary,
        verdict: &verdict,
    };
    let siege_format = arguments.siege_format.into();
    let shown = folder.path().display().to_string();
    if arguments.json {
        let result = holdfast_report::result_json(&report, &shown);
        terminal::result(&result.map_err(|error| unrendered(&error))?);
    } else {
        let colours = if terminal::wants_colour() {
            Colours::Always
        } else {
            Colours::Never
        };
        terminal::say(&holdfast_report::terminal::text(
            &report,
            siege_format,
            colours,
        ));
    }
    let code = verdict.outcome.exit_code();
    match write(&report, siege_format, folder) {
        Ok(path) if arguments.json => drop(path),
        Ok(path) => terminal::say(&format!("report: {}", path.join("report.html").display())),
        // What could not be put back, or was interrupted, is graver than a report that is missing.
        Err(failure) if code >= GRAVE => {
            terminal::say(&failure.to_string());
        }
        Err(failure) => return Err(failure),
    }
    Ok(code)
}

/// The least exit code that a failure to write the report does not replace.
const GRAVE: u8 = 5;

fn write(
    report: &Report<'_>,
    siege_format: SiegeFormat,
    folder: RunFolder,
) -> Result<PathBuf, Failure> {
    let mut files = Vec::new();
    for format in Format::ALL {
        let text = format
            .render(report, siege_format)
            .map_err(|error| unrendered(&error))?;
        files.push((format.file_name(), text.into_bytes()));
    }
    folder.finish(&files)
}

fn unrendered(error: &dyn std::error::Error) -> Failure {
    Failure::carrying_out(format!("cannot make the report: {}", chain(error)))
}
