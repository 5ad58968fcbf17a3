//! Carries out the Experiment objects of a cluster, one at a time, as `holdfast run` would.

mod object;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Api, CustomResourceExt as _};
use tokio::sync::Mutex;

use crate::connection::Connection;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::terminal;
use object::Experiment;
use work::Work;

/// The pause after a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// What the work on all experiments shares.
pub(crate) struct Shared {
    pub(crate) connection: Connection,
    /// Only those in this namespace.
    pub(crate) namespace: Option<String>,
    /// What relative paths in an experiment start from.
    pub(crate) directory: PathBuf,
    /// The folder under which the runs' folders are made.
    pub(crate) out: PathBuf,
    pub(crate) interrupts: Interrupts,
    /// Held by the experiment whose turn it is: figures of two at once say little about either.
    pub(crate) turn: Mutex<()>,
}

/// The definitions of every kind of object that this tool knows, by name.
pub(crate) fn definitions() -> Vec<CustomResourceDefinition> {
    let mut definitions = vec![Experiment::crd()];
    definitions.extend(holdfast_faults::definitions());
    definitions
}

/// Carries experiments out until it is interrupted; one under way then ends, and is put back.
pub(crate) async fn carry_out(shared: Shared) {
    let client = shared.connection.client.clone();
    let api: Api<Experiment> = match &shared.namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let interrupts = shared.interrupts.clone();
    Controller::new(api, watcher::Config::default())
        .graceful_shutdown_on(async move { drop(interrupts.wait().await) })
        .run(reconcile, again, Arc::new(shared))
        .for_each(|done| async {
            if let Err(error) = done {
                tracing::debug!("{error}");
            }
        })
        .await;
}

fn again(_: Arc<Experiment>, failure: &Failure, _: Arc<Shared>) -> Action {
    terminal::say(&failure.to_string());
    Action::requeue(AGAIN)
}

async fn reconcile(seen: Arc<Experiment>, shared: Arc<Shared>) -> Result<Action, Failure> {
    // What was watched may be old: a run that is over must not begin again.
    let Some(work) = Work::on(&seen, &shared).await? else {
        return Ok(Action::await_change());
    };
    work.step().await?;
    Ok(Action::await_change())
}
