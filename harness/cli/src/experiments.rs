//! Carries out the Experiment objects of a cluster, one at a time, as `holdfast run` would.

mod insistence;
mod object;
mod turns;
mod work;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Api, CustomResourceExt as _, Resource as _};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::repeated::Repeated;
use object::Experiment;
pub(crate) use turns::Turns;
use work::Work;

/// The pause after a watch that broke off.
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
    /// Of pods that do harm.
    pub(crate) agent_image: String,
    pub(crate) interrupts: Interrupts,
    pub(crate) turns: Turns,
    pub(crate) failures: Failures,
}

/// What fails again and again, by the object's UID.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<HashMap<String, Repeated>>);

impl Failures {
    /// Says what failed; returns when to try again.
    fn add(&self, object: &Experiment, failure: &Failure) -> Duration {
        let uid = object.meta().uid.clone().unwrap_or_default();
        let times = self
            .lock()
            .entry(uid)
            .or_default()
            .say(&failure.to_string());
        insistence::pause(times)
    }

    fn end(&self, object: &Experiment) {
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        if let Some(mut repeated) = self.lock().remove(uid) {
            repeated.end();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Repeated>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        .run(
            reconcile,
            |object, failure, shared| Action::requeue(shared.failures.add(&object, failure)),
            Arc::new(shared),
        )
        .for_each(|done| async {
            if let Err(error) = done {
                tracing::debug!("{error}");
            }
        })
        .await;
}

async fn reconcile(seen: Arc<Experiment>, shared: Arc<Shared>) -> Result<Action, Failure> {
    // What was watched may be old: a run that is over must not begin again.
    if let Some(work) = Work::on(&seen, &shared).await? {
        work.step().await?;
    }
    shared.failures.end(&seen);
    Ok(Action::await_change())
}
