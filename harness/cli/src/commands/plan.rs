//! `holdfast plan`: what an experiment would do to which objects; nothing is changed.

use std::path::PathBuf;

use holdfast_core::experiment::{Experiment, Profile, StopCondition, System};
use holdfast_core::plan::{self, PlannedFault};
use holdfast_faults::{Affected, Planner};
use kube::Client;
use serde::Serialize;
use serde_json::Value;

use crate::cluster::AGENT_IMAGE;
use crate::connection::{Agent, connect};
use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::permissions::{self, Permissions};
use crate::place::{self, Ground, Wanted};
use crate::progress::Verbosity;
use crate::{manifests, system, terminal, trial};

/// Options of `holdfast plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The experiment file
    experiment: PathBuf,
    /// Look at the cluster of this context of the kubeconfig (`$KUBECONFIG`) [default: a local
    /// cluster, which is brought up for the look and taken down]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    #[command(flatten)]
    agent: Agent,
    /// Set a parameter of the experiment; may be given more than once
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = trial::setting)]
    settings: Vec<(String, String)>,
    /// Print the machine-readable result alone on standard output
    #[arg(long)]
    json: bool,
}

/// Everything that the command says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outlook {
    experiment: String,
    cluster: String,
    namespace: String,
    faults: Vec<Planned>,
    /// RBAC objects.
    permissions: Vec<Value>,
}

/// One fault.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    step: String,
    fault: String,
    /// Seconds since the start of the load.
    start: f64,
    end: f64,
    /// Why it cannot be done, or may not.
    refused: Option<String>,
    targets: Vec<Target>,
    actions: Vec<String>,
    undo: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    object: String,
    ready_pods: Vec<String>,
    minimum_ready: u32,
}

/// Works it out and shows it; returns the exit code.
pub(crate) async fn plan(arguments: Arguments) -> Result<u8, Failure> {
    let interrupts = Interrupts::listen()?;
    let experiment = trial::read(&arguments.experiment, Profile::Full, &arguments.settings)?;
    let Some(system) = &experiment.system else {
        return Err(
            Failure::input("the experiment has no system, so it breaks nothing")
                .hint("there is nothing to plan; `holdfast run` sends its load"),
        );
    };
    let outlook = match &arguments.context {
        Some(context) => {
            let looking = async {
                let connection = connect(Some(context)).await?;
                let image = &arguments.agent.image;
                look(&connection.client, context, image, &experiment, system).await
            };
            interrupts.unless(looking).await?
        }
        None => look_at_local(&experiment, system, &interrupts).await?,
    };
    if arguments.json {
        let text = serde_json::to_string_pretty(&outlook).expect("an outlook is plain data");
        terminal::result(&text);
    } else {
        terminal::result(&show(&outlook)?);
        if arguments.context.is_some() && !system.manifests.is_empty() {
            terminal::say(
                "note: a plan applies no manifests; it looks at what is in the namespace already",
            );
        }
    }
    let refused = outlook.faults.iter().any(|fault| fault.refused.is_some());
    Ok(if refused { 2 } else { 0 })
}

async fn look_at_local(
    experiment: &Experiment,
    system: &System,
    interrupts: &Interrupts,
) -> Result<Outlook, Failure> {
    terminal::say("bringing a local cluster up for the look");
    let logs = tempfile::Builder::new().prefix("holdfast-").tempdir();
    let logs = logs.map_err(|error| {
        Failure::carrying_out(format!("cannot make a temporary folder: {error}"))
    })?;
    let wanted = Wanted {
        experiment,
        ground: Ground::Local,
        run_id: "",
        log_directory: logs.path(),
        verbosity: Verbosity::Normal,
    };
    let site = place::local(wanted, system, interrupts).await?;
    let looking = look(&site.client, "local", AGENT_IMAGE, experiment, system);
    let outlook = interrupts.unless(looking).await;
    site.cluster.shutdown().await;
    outlook
}

async fn look(
    client: &Client,
    cluster: &str,
    agent_image: &str,
    experiment: &Experiment,
    system: &System,
) -> Result<Outlook, Failure> {
    let allow = &experiment.safety.allow;
    let planner = Planner {
        client,
        namespace: &system.namespace,
        agent_image,
        allow,
    };
    let mut permissions = Permissions::of_a_run(&system.namespace);
    // Nothing of a fault is left to chance: of the same pods it chooses the same ones.
    let plan = plan::plan(experiment, 0);
    let mut faults = Vec::new();
    for (index, fault) in plan.faults.iter().enumerate() {
        // Whether or not the cluster is ready for it yet.
        let rules = holdfast_faults::rules(&fault.fault, allow);
        rules.iter().for_each(|rule| permissions.add(rule));
        faults.push(work_out(&planner, fault, &plan.faults[..index]).await?);
    }
    for condition in &plan.stop_conditions {
        match condition {
            StopCondition::K8sCondition { required, .. } => {
                permissions.add(&holdfast_faults::reading(required.kind));
            }
            StopCondition::ClusterHealth { .. } => permissions.add_cluster_health(),
            StopCondition::Availability { .. }
            | StopCondition::P99 { .. }
            | StopCondition::FailedSeconds { .. }
            | StopCondition::Http { .. }
            | StopCondition::Promql { .. } => {}
        }
    }
    if !system.manifests.is_empty() {
        let objects = manifests::read(&system.manifests, &system.patches, &system.namespace)?;
        permissions.add_manifests();
        for object in &objects {
            let kind = system::resource(client, object).await?;
            permissions.add_made(&kind.group, &kind.plural);
        }
    }
    Ok(Outlook {
        experiment: experiment.name.clone(),
        cluster: cluster.to_owned(),
        namespace: system.namespace.clone(),
        faults,
        permissions: permissions.roles(),
    })
}

async fn work_out(
    planner: &Planner<'_>,
    fault: &PlannedFault,
    earlier: &[PlannedFault],
) -> Result<Planned, Failure> {
    let mut planned = Planned {
        step: fault.name.clone(),
        fault: fault.fault.describe(),
        start: fault.start.as_secs_f64(),
        end: fault.end.as_secs_f64(),
        refused: None,
        targets: Vec::new(),
        actions: Vec::new(),
        undo: Vec::new(),
    };
    match planner.effect(&fault.name, fault, earlier).await {
        Ok(effect) => {
            planned.targets = effect.targets.into_iter().map(target).collect();
            planned.actions = effect.actions;
            planned.undo = effect.undo;
        }
        Err(error) if error.is_unanswered() => {
            let what = format!("{} ({})", planned.step, planned.fault);
            return Err(Failure::carrying_out(chain(&error)).at(what));
        }
        Err(error) => planned.refused = Some(chain(&error)),
    }
    Ok(planned)
}

fn target(affected: Affected) -> Target {
    Target {
        object: affected.what,
        ready_pods: affected.pods,
        minimum_ready: affected.left,
    }
}

fn show(outlook: &Outlook) -> Result<String, Failure> {
    let mut lines = vec![format!(
        "{} on cluster {}, namespace {}",
        outlook.experiment, outlook.cluster, outlook.namespace
    )];
    for fault in &outlook.faults {
        lines.push(format!(
            "\n{}: {}, from {} s to {} s of the load",
            fault.step, fault.fault, fault.start, fault.end
        ));
        lines.extend(fault.refused.iter().map(|why| format!("  refused  {why}")));
        for target in &fault.targets {
            lines.push(format!(
                "  target   {}: {} ready ({}), at least {} ready throughout",
                target.object,
                target.ready_pods.len(),
                target.ready_pods.join(", "),
                target.minimum_ready
            ));
        }
        lines.extend(
            fault
                .actions
                .iter()
                .map(|line| format!("  does     {line}")),
        );
        lines.extend(fault.undo.iter().map(|line| format!("  undo     {line}")));
        if fault.refused.is_none() && fault.undo.is_empty() {
            lines.push("  undo     nothing is left to put back".to_owned());
        }
    }
    if outlook.faults.is_empty() {
        lines.push("\nno faults".to_owned());
    }
    lines.push(format!(
        "\n# What it needs to be permitted; an administrator defines the kinds once:\n\
         #   holdfast controller --print-definitions | kubectl apply -f -\n{}",
        permissions::yaml(&outlook.permissions)?
    ));
    Ok(lines.join("\n"))
}
