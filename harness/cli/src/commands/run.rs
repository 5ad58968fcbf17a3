//! `holdfast run`: read, plan, prepare, run, judge, report.

use std::path::PathBuf;

use holdfast_core::experiment::{Experiment, Objective, Profile};
use holdfast_core::record::Record;
use holdfast_core::spec::MOST_WORKERS;
use holdfast_core::spec::threshold::{self, ThresholdError};

use crate::cluster::AGENT_IMAGE;
use crate::confirmation::{announce, confirm};
use crate::connection::{self, Agent, Connection};
use crate::execution::Identity;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::judgement::{self, Judgement};
use crate::place::{Foreign, Ground};
use crate::progress::Verbosity;
use crate::run_folder::RunFolder;
use crate::siege_version::SiegeVersion;
use crate::tenancy::Guard;
use crate::terminal;
use crate::trial::{self, Trial};

/// The value of `--cluster` for a cluster that is made for the run.
const LOCAL: &str = "local";

/// Options of `holdfast run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The experiment file
    experiment: PathBuf,
    /// Run in the cluster of this context of the kubeconfig (`$KUBECONFIG`)
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The cluster it may run in: `local`, which is made for it, or another one by its context or by
    /// the UID of its namespace kube-system; a different one is refused [default: local, or that of
    /// --context]
    #[arg(long, value_name = "ID")]
    cluster: Option<String>,
    #[command(flatten)]
    agent: Agent,
    /// Do not ask before something is done to a cluster that is not local, but say what it is;
    /// without a terminal nobody is asked
    #[arg(long, short)]
    yes: bool,
    /// Set a parameter of the experiment; may be given more than once
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = trial::setting)]
    settings: Vec<(String, String)>,
    /// Run the experiment's quick profile: the same mechanisms, smaller and shorter (spec.quick)
    #[arg(long)]
    quick: bool,
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

fn parse_threshold(text: &str) -> Result<(String, Objective), ThresholdError> {
    Ok((text.to_owned(), threshold::parse(text)?))
}

impl Arguments {
    /// The words that repeat the run.
    fn command(&self) -> Vec<String> {
        let mut words = vec!["run".to_owned(), self.experiment.display().to_string()];
        if self.quick {
            words.push("--quick".to_owned());
        }
        for (name, value) in &self.settings {
            words.extend(["--set".to_owned(), format!("{name}={value}")]);
        }
        for (text, _) in &self.thresholds {
            words.extend(["--threshold".to_owned(), text.clone()]);
        }
        if let Some(workers) = self.workers {
            words.extend(["--workers".to_owned(), workers.to_string()]);
        }
        let image = Some(&self.agent.image).filter(|image| *image != AGENT_IMAGE);
        for (option, value) in [
            ("--context", self.context.as_ref()),
            ("--cluster", self.cluster.as_ref()),
            ("--agent-image", image),
        ] {
            words.extend(
                value
                    .into_iter()
                    .flat_map(|value| [option.to_owned(), value.clone()]),
            );
        }
        words
    }

    /// The cluster that is there already, if it is to be one, and the right one.
    async fn connection(&self) -> Result<Option<Connection>, Failure> {
        match (&self.context, self.cluster.as_deref()) {
            (None, None | Some(LOCAL)) => Ok(None),
            (Some(_), Some(LOCAL)) => Err(Failure::input(
                "--cluster local is a cluster made for the run, and --context names another one",
            )
            .hint("leave one of the two out")),
            (context, wanted) => {
                let connection = connection::connect(context.as_deref()).await?;
                if let Some(wanted) = wanted {
                    connection.must_be(wanted).await?;
                }
                Ok(Some(connection))
            }
        }
    }
}

/// Carries the experiment out; returns the verdict's exit code.
pub(crate) async fn run(arguments: Arguments) -> Result<u8, Failure> {
    let interrupts = Interrupts::listen()?;
    let experiment = read(&arguments)?;
    let connection = interrupts.unless(arguments.connection()).await?;
    let ground = match &connection {
        None => Ground::Local,
        Some(connection) => {
            if !arguments.yes {
                let asking = confirm(&experiment, connection);
                interrupts.unless(asking).await?;
            } else if !arguments.quiet {
                announce(&experiment, connection);
            }
            Ground::Cluster(Foreign {
                connection,
                guard: Guard::Janitor,
                agent_image: &arguments.agent.image,
            })
        }
    };
    let trial = Trial {
        experiment: &experiment,
        ground,
        source_file: &arguments.experiment.display().to_string(),
        command: &arguments.command(),
        out: &arguments.out,
        verbosity: if arguments.quiet {
            Verbosity::Quiet
        } else {
            Verbosity::Normal
        },
    };
    let (record, folder) = trial.carry_out(Identity::new(), &interrupts).await?;
    tell(record, folder, &arguments)
}

/// The experiment as the command line changes it.
fn read(arguments: &Arguments) -> Result<Experiment, Failure> {
    let profile = if arguments.quick {
        Profile::Quick
    } else {
        Profile::Full
    };
    let mut experiment = trial::read(&arguments.experiment, profile, &arguments.settings)?;
    if let Some(workers) = arguments.workers {
        experiment.load.workers = workers;
    }
    for (text, asked) in &arguments.thresholds {
        threshold::ask(&mut experiment, asked.clone())
            .map_err(|error| Failure::input(format!("--threshold '{text}': {error}")))?;
    }
    Ok(experiment)
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
