//! The subcommands: one file each.

use crate::failure::Failure;
use crate::interrupts;

pub(crate) mod agent;
mod cluster;
mod controller;
mod halt;
mod janitor;
mod load_worker;
mod plan;
mod recover;
mod run;
pub(crate) mod siege;
mod status;
mod up;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Run an experiment and judge it: on a local cluster that is made for it, or on another one.
    Run(run::Arguments),
    /// Say what an experiment would do to which objects, how that is undone, and what permissions it
    /// takes; nothing is changed.
    Plan(plan::Arguments),
    /// Undo the faults of runs that are no longer alive.
    Recover(recover::Arguments),
    /// End every fault in a cluster, and refuse new ones until `resume`.
    Halt(halt::HaltArguments),
    /// Permit faults again after `halt`.
    Resume(halt::ResumeArguments),
    /// List the faults that a cluster knows of.
    Status(status::Arguments),
    /// Carry out the Experiment and FaultInjection objects of a cluster.
    Controller(controller::Arguments),
    /// Put URLs under siege as siege(1) does, with its options and its output, without an experiment.
    #[command(version)]
    Siege(Box<siege::Arguments>),
    /// Start the local cluster with services in the foreground, until Ctrl-C: short for `cluster
    /// up k8s/services --publish`.
    Up(up::Arguments),
    /// Start the local cluster, or check whether a cluster keeps to the rules of Kubernetes.
    Cluster(cluster::Arguments),
    /// Send a part of a load under a coordinator. `run --workers N` starts its workers itself.
    LoadWorker(load_worker::Arguments),
    /// Do harm inside a cluster, as the program of a pod.
    #[command(name = agent::NAME, hide = true)]
    Agent(holdfast_agent::Arguments),
    /// Undo what a run has begun and not put back. `run --context` starts one itself.
    #[command(hide = true)]
    Janitor(janitor::Arguments),
}

/// Carries a command out; returns the exit code.
pub(crate) fn dispatch(command: Command) -> Result<u8, Failure> {
    interrupts::hold()?;
    // Before anything listens for Ctrl-C: Goose would take it over otherwise.
    holdfast_load::claim_process().map_err(|error| Failure::carrying_out(error.to_string()))?;
    warn_on_standard_error();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::carrying_out(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Run(arguments) => run::run(arguments).await,
            Command::Plan(arguments) => plan::plan(arguments).await,
            Command::Recover(arguments) => recover::recover(arguments).await,
            Command::Halt(arguments) => halt::halt(arguments).await,
            Command::Resume(arguments) => halt::resume(arguments).await,
            Command::Status(arguments) => status::status(arguments).await,
            Command::Controller(arguments) => controller::controller(arguments).await,
            Command::Janitor(arguments) => janitor::janitor(arguments).await,
            Command::Siege(arguments) => siege::siege(*arguments).await,
            Command::Up(arguments) => up::up(arguments).await,
            Command::Cluster(arguments) => cluster::cluster(arguments).await,
            Command::LoadWorker(arguments) => load_worker::load_worker(arguments).await,
            Command::Agent(arguments) => agent::agent(arguments).await,
        }
    })
}

/// What a part of the tool has to say beside its results goes to standard error; `HOLDFAST_LOG`
/// asks for more, e.g. `HOLDFAST_LOG=holdfast_cluster=debug`.
fn warn_on_standard_error() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_env_var("HOLDFAST_LOG")
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
