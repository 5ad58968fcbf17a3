//! `holdfast cluster check`: the conformance suite against a cluster.

use std::path::{Path, PathBuf};

use holdfast_cluster::pod_shim::Isolation;
use holdfast_cluster::{ImageMap, LocalCluster};
use holdfast_conformance::{Bounds, Check, Group, Kubectl, Progress, Report, Target, Verdict};
use holdfast_core::verdict::Outcome;
use indicatif::{ProgressBar, ProgressStyle};
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Choices, VICTIM_IMAGE};
use crate::connection::connect;
use crate::failure::{Failure, interruption};
use crate::interrupts::Interrupts;
use crate::{cluster, terminal};

/// Options of `holdfast cluster check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Check the cluster of this context of the kubeconfig (`$KUBECONFIG`) [default: a local one]
    #[arg(long)]
    context: Option<String>,
    /// How the local cluster's pods are kept apart: pid-namespace or process-group
    /// [default: the first, where permitted]
    #[arg(long, value_parser = cluster::isolation, conflicts_with = "context")]
    isolation: Option<Isolation>,
    /// Where the checks make their objects; made if it does not exist, and then removed
    #[arg(long, short, default_value = "holdfast-check")]
    namespace: String,
    /// The image of the victim, whose entry point is `holdfast victim`; the cluster must have it
    #[arg(long, value_name = "IMAGE", default_value = VICTIM_IMAGE)]
    victim_image: String,
    /// Only these checks, by number
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    only: Vec<u16>,
    /// Only the checks of this group
    #[arg(long, value_parser = group)]
    group: Option<Group>,
    /// Say what would be checked, and end
    #[arg(long)]
    list: bool,
    /// Write the results as JSON
    #[arg(long)]
    json: bool,
    /// Write the results to check.json and check.txt in this folder, too
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

fn group(text: &str) -> Result<Group, String> {
    let mut groups = Group::ALL.into_iter();
    let found = groups.find(|group| group.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        let names = Group::ALL.map(Group::name);
        format!("the groups are {}", names.join(", "))
    })
}

/// Checks, shows the results, and returns 0 if every check that was carried out passed.
pub(crate) async fn check(arguments: Arguments) -> Result<u8, Failure> {
    let interrupts = Interrupts::listen()?;
    let checks = chosen(&arguments)?;
    if arguments.list {
        terminal::result(&list(&checks));
        return Ok(0);
    }
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
    }
    let folder = tempfile::Builder::new()
        .prefix("holdfast-")
        .tempdir()
        .map_err(|error| {
            Failure::carrying_out(format!("cannot make a temporary folder: {error}"))
        })?;
    let place = Place::open(&arguments, folder.path()).await?;
    let outcome = run(&arguments, &place, &checks, &interrupts).await;
    let emulations = place.close().await;
    let (mut report, code) = outcome?;
    report.emulations = emulations;
    show(&arguments, &report)?;
    Ok(code)
}

/// The cluster that is checked.
struct Place {
    client: Client,
    bounds: Bounds,
    kubectl: Option<Kubectl>,
    local: Option<LocalCluster>,
}

impl Place {
    async fn open(arguments: &Arguments, folder: &Path) -> Result<Self, Failure> {
        let program = kubectl_program();
        if let Some(context) = &arguments.context {
            return Ok(Self {
                client: connect(Some(context)).await?.client,
                bounds: Bounds::REMOTE,
                kubectl: program.map(|program| Kubectl {
                    program,
                    kubeconfig: None,
                    context: Some(context.clone()),
                }),
                local: None,
            });
        }
        let mut images = ImageMap::default();
        images.insert(&arguments.victim_image, cluster::victim()?);
        let choices = Choices {
            isolation: arguments.isolation,
            ..Choices::default()
        };
        let local = cluster::start(images, &folder.join("logs"), choices).await?;
        let kubeconfig = folder.join("kubeconfig");
        std::fs::write(&kubeconfig, local.kubeconfig())
            .map_err(|error| cannot_write(&kubeconfig, &error))?;
        Ok(Self {
            client: cluster::client(&local.kubeconfig()).await?,
            bounds: Bounds::LOCAL,
            kubectl: program.map(|program| Kubectl {
                program,
                kubeconfig: Some(kubeconfig),
                context: None,
            }),
            local: Some(local),
        })
    }

    /// Ends what was started; returns what it emulated.
    async fn close(self) -> Vec<String> {
        let Some(local) = self.local else {
            return Vec::new();
        };
        let emulations = local.emulations();
        local.shutdown().await;
        emulations
    }
}

fn kubectl_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("kubectl"))
        .find(|program| program.is_file())
}

/// The results and the exit code.
async fn run(
    arguments: &Arguments,
    place: &Place,
    checks: &[&'static Check],
    interrupts: &Interrupts,
) -> Result<(Report, u8), Failure> {
    let target = Target {
        client: place.client.clone(),
        namespace: arguments.namespace.clone(),
        victim_image: arguments.victim_image.clone(),
        bounds: place.bounds,
        kubectl: place.kubectl.clone(),
    };
    announce(arguments, place, checks.len());
    let stop = CancellationToken::new();
    let display = Display::new(checks.len());
    let progress = |happened: Progress<'_>| display.take(&happened);
    let run = holdfast_conformance::run(&target, checks, &progress, &stop);
    tokio::pin!(run);
    let mut interrupted = None;
    let report = tokio::select! {
        report = &mut run => report,
        cause = interrupts.wait() => {
            interrupted = Some(interruption(&cause));
            stop.cancel();
            run.await
        }
    };
    display.end();
    let report = report.map_err(|error| Failure::carrying_out(error.to_string()))?;
    let outcome = match interrupted {
        Some(interruption) if !report.unfinished.is_empty() => interruption,
        _ => outcome(&report),
    };
    Ok((report, outcome.exit_code()))
}

/// What is about to be checked, and how.
fn announce(arguments: &Arguments, place: &Place, checks: usize) {
    let cluster = match &arguments.context {
        Some(context) => format!("the cluster of context {context}"),
        None => "a local cluster".to_owned(),
    };
    terminal::say(&format!(
        "checking {cluster}, namespace {}: checks {checks}, tolerance {} s",
        arguments.namespace,
        place.bounds.epsilon.as_secs()
    ));
    let emulations = place.local.iter().flat_map(LocalCluster::emulations);
    for emulation in emulations {
        terminal::say(&format!("emulated: {emulation}"));
    }
}

fn outcome(report: &Report) -> Outcome {
    if report.count(Verdict::Failed) > 0 {
        Outcome::Failed
    } else if report.count(Verdict::Passed) == 0 {
        // Skipping everything says nothing about the cluster.
        Outcome::Inconclusive
    } else {
        Outcome::Passed
    }
}

fn chosen(arguments: &Arguments) -> Result<Vec<&'static Check>, Failure> {
    let all = holdfast_conformance::all();
    for number in &arguments.only {
        if !all.iter().any(|check| check.number == *number) {
            let numbers: Vec<String> = all.iter().map(|check| check.number.to_string()).collect();
            return Err(Failure::input(format!("there is no check {number}"))
                .hint(format!("there are {}", numbers.join(", "))));
        }
    }
    let wanted = |check: &&Check| {
        (arguments.only.is_empty() || arguments.only.contains(&check.number))
            && arguments.group.is_none_or(|group| group == check.group)
    };
    let checks: Vec<_> = all.into_iter().filter(|check| wanted(check)).collect();
    if checks.is_empty() {
        return Err(Failure::input("no check is in both --only and --group")
            .hint("`holdfast cluster check --list` shows numbers and groups"));
    }
    Ok(checks)
}

fn list(checks: &[&Check]) -> String {
    let lines = checks.iter().map(|check| {
        format!(
            "{:>3}  {:<7}  {}: {}",
            check.number, check.group, check.title, check.expected
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn show(arguments: &Arguments, report: &Report) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(report)
        .map_err(|error| Failure::carrying_out(format!("cannot write JSON: {error}")))?;
    let table = report.table();
    if let Some(folder) = &arguments.out {
        for (name, text) in [("check.json", &json), ("check.txt", &table)] {
            let file = folder.join(name);
            std::fs::write(&file, text).map_err(|error| cannot_write(&file, &error))?;
        }
    }
    terminal::result(if arguments.json {
        &json
    } else {
        table.trim_end()
    });
    Ok(())
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::input(format!("cannot write {}: {error}", path.display()))
}

/// The state of the checks on standard error: a bar where a person watches, a line for each check
/// otherwise.
struct Display(Option<ProgressBar>);

impl Display {
    fn new(checks: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = terminal::is_watched()
            .then(|| ProgressBar::new(checks.try_into().unwrap_or(u64::MAX)).with_style(style));
        Self(bar)
    }

    fn take(&self, happened: &Progress<'_>) {
        let line = match happened {
            Progress::Started(check) => format!("{:>3} {}", check.number, check.title),
            Progress::Ended(row) => {
                let word = match row.verdict {
                    Verdict::Passed => "pass",
                    Verdict::Failed => "FAIL",
                    Verdict::Skipped => "skip",
                };
                format!("{:>3} {word} {}: {}", row.check, row.title, row.observed)
            }
        };
        match (&self.0, happened) {
            (Some(bar), Progress::Started(_)) => bar.set_message(line),
            (Some(bar), Progress::Ended(row)) => {
                if row.verdict == Verdict::Failed {
                    bar.println(line);
                }
                bar.inc(1);
            }
            (None, Progress::Started(_)) => {}
            (None, Progress::Ended(_)) => terminal::say(&line),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
