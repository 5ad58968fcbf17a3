//! One container over its whole life: prepared, run, and started again for as long as its pod wants.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::RETRY_PERIOD;
use super::back_off::{self, BackOff};
use super::environment::{ConfigurationError, Surroundings, command_line};
use super::logs::Log;
use super::pod::PodContext;
use super::process::Launch;
use super::sandbox::Sandbox;
use super::status::{ContainerView, RestartPolicy, State};
use crate::events::Severity;
use crate::images::{ImageMap, Program};

mod ending;
mod hook;
mod probing;
mod run;

use run::Left;

/// Whether, and how, a pod's containers are to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    No,
    /// With their hooks, SIGTERM, and SIGKILL when this time is over.
    Within(Duration),
    /// By SIGKILL: the cluster itself ends.
    AtOnce,
}

/// A container's place among those of its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Init(usize),
    Main(usize),
}

/// What a container is from now on.
pub(crate) type Change = (Slot, ContainerView);

/// A container and what it needs to tell and be told.
#[derive(Debug)]
pub(crate) struct ContainerTask {
    pub(crate) pod: Arc<PodContext>,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) spec: Container,
    pub(crate) slot: Slot,
    pub(crate) restart_policy: RestartPolicy,
    pub(crate) stop: watch::Receiver<Stop>,
    pub(crate) views: mpsc::UnboundedSender<Change>,
    pub(crate) view: ContainerView,
}

impl ContainerTask {
    /// Runs the container until it is stopped or ends for good. Returns whether its last run
    /// succeeded.
    pub(crate) async fn run(mut self) -> bool {
        let mut back_off = BackOff::default();
        let mut previous_exit = None;
        loop {
            let ControlFlow::Continue((launch, log)) = self.prepare().await else {
                return false;
            };
            let Left {
                ended,
                exited,
                killed_for_probe,
            } = self.run_once(&launch, log).await;
            let exit_code = ended.exit_code;
            self.view.started = false;
            self.view.ready = false;
            self.view.state = State::Terminated(ended.clone());
            // The kubelet ends what has failed its probe and starts it anew in one go. It knows then
            // of no exit code, and of no later exit than the one before; and it says nothing about
            // the pod before it is done.
            let (is_restarted, known_exit) = if killed_for_probe {
                (self.restart_policy.restarts_at_all(), previous_exit)
            } else {
                (self.restart_policy.restarts_after(exit_code), Some(exited))
            };
            let is_over = self.stopping() || !is_restarted;
            if is_over || !killed_for_probe {
                self.publish();
            }
            if is_over {
                return exit_code == 0;
            }
            self.view.last = Some(ended);
            previous_exit = Some(exited);
            let held_back = self.hold_back(&mut back_off, known_exit, exited);
            if held_back.await.is_break() {
                return false;
            }
            self.view.restarts += 1;
        }
    }

    /// Finds out what to start; waits while that is impossible. Breaks when the pod is stopped.
    async fn prepare(&mut self) -> ControlFlow<(), (Launch, Arc<Log>)> {
        let pod = Arc::clone(&self.pod);
        let image = self.spec.image.clone().unwrap_or_default();
        let program = self.pull(&pod.node.images, &image).await?;
        self.note(
            Severity::Normal,
            "Pulled",
            &format!("Container image \"{image}\" already present on machine"),
        );
        loop {
            if self.stopping() {
                return ControlFlow::Break(());
            }
            match self.set_up(program) {
                Ok(ready) => return ControlFlow::Continue(ready),
                Err(error) => {
                    let message = error.to_string();
                    self.note(Severity::Warning, "Failed", &format!("Error: {message}"));
                    self.wait_as("CreateContainerConfigError", Some(message));
                }
            }
            self.unless_stopped(sleep(RETRY_PERIOD)).await?;
        }
    }

    /// What to start, and where its output goes.
    fn set_up(&self, program: &Program) -> Result<(Launch, Arc<Log>), SetupError> {
        let pod = &self.pod;
        let namespace = &pod.owner.namespace;
        let surroundings = Surroundings {
            pod: &pod.pod,
            address: self.sandbox.address,
            node_name: &pod.node.name,
            directory: &self.sandbox.directory,
            services: &pod.node.services_of(namespace),
            config_maps: &pod.node.config_maps_of(namespace),
        };
        let environment = surroundings.variables(&self.spec)?;
        let (program, arguments) = command_line(&self.spec, program, &environment);
        let logs = &pod.node.logs;
        let log = logs
            .begin(&pod.owner, &self.spec.name, self.view.restarts)
            .map_err(SetupError::Log)?;
        let launch = Launch {
            program,
            arguments,
            environment,
            directory: self.sandbox.directory.clone(),
        };
        Ok((launch, log))
    }

    /// Finds the program that an image stands for; goes on trying while there is none.
    async fn pull<'a>(
        &mut self,
        images: &'a ImageMap,
        image: &str,
    ) -> ControlFlow<(), &'a Program> {
        let mut delay = back_off::FIRST_DELAY;
        loop {
            if self.stopping() {
                return ControlFlow::Break(());
            }
            let explanation = match runnable(images, image) {
                Ok(program) => return ControlFlow::Continue(program),
                Err(explanation) => explanation,
            };
            let failed = Instant::now();
            self.note(
                Severity::Normal,
                "Pulling",
                &format!("Pulling image \"{image}\""),
            );
            self.note(
                Severity::Warning,
                "Failed",
                &format!("Failed to pull image \"{image}\": {explanation}"),
            );
            self.note(Severity::Warning, "Failed", "Error: ErrImagePull");
            self.wait_as("ErrImagePull", Some(explanation.clone()));
            let relist = self.pod.node.relist;
            self.unless_stopped(relist.next()).await?;
            self.note(
                Severity::Normal,
                "BackOff",
                &format!("Back-off pulling image \"{image}\""),
            );
            self.note(Severity::Warning, "Failed", "Error: ImagePullBackOff");
            let message = format!("Back-off pulling image \"{image}\": {explanation}");
            self.wait_as("ImagePullBackOff", Some(message));
            self.unless_stopped(sleep_until(failed + delay)).await?;
            delay = back_off::longer(delay);
        }
    }

    /// Waits until the container may be started again. `known` is the exit to begin with.
    async fn hold_back(
        &mut self,
        back_off: &mut BackOff,
        known: Option<Instant>,
        exited: Instant,
    ) -> ControlFlow<()> {
        let Some(mut exit) = known else {
            return ControlFlow::Continue(());
        };
        while let Err(delay) = back_off.restart(exit, Instant::now()) {
            self.tell_back_off(delay);
            self.unless_stopped(sleep_until(exited + delay)).await?;
            exit = exited;
        }
        ControlFlow::Continue(())
    }

    fn tell_back_off(&mut self, delay: Duration) {
        let owner = &self.pod.owner;
        let container = &self.spec.name;
        let message = format!(
            "back-off {}s restarting failed container={container} pod={}_{}({})",
            delay.as_secs(),
            owner.pod,
            owner.namespace,
            owner.uid
        );
        let event = format!(
            "Back-off restarting failed container {container} in pod {}_{}({})",
            owner.pod, owner.namespace, owner.uid
        );
        self.note(Severity::Warning, "BackOff", &event);
        self.wait_as("CrashLoopBackOff", Some(message));
    }

    fn wait_as(&mut self, reason: &'static str, message: Option<String>) {
        self.view.state = State::Waiting { reason, message };
        self.publish();
    }

    fn stopping(&self) -> bool {
        !matches!(*self.stop.borrow(), Stop::No)
    }

    /// Awaits something, unless the pod is stopped before.
    async fn unless_stopped(&mut self, awaited: impl Future<Output = ()>) -> ControlFlow<()> {
        tokio::select! {
            () = awaited => ControlFlow::Continue(()),
            _ = self.stop.wait_for(|stop| !matches!(stop, Stop::No)) => ControlFlow::Break(()),
        }
    }

    fn publish(&self) {
        // The pod's loop outlives its containers, except when the cluster ends.
        drop(self.views.send((self.slot, self.view.clone())));
    }

    /// The container's place in its pod, as events name it.
    fn field_path(&self) -> String {
        let list = match self.slot {
            Slot::Init(_) => "initContainers",
            Slot::Main(_) => "containers",
        };
        format!("spec.{list}{{{}}}", self.spec.name)
    }

    /// Records an event about the container.
    fn note(&self, severity: Severity, reason: &str, message: &str) {
        self.pod.note(&self.field_path(), severity, reason, message);
    }
}

/// Why a container cannot be started for the time being.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error(transparent)]
    Environment(#[from] ConfigurationError),
    // It is told in an event, which has no place for a chain of sources.
    #[error("cannot begin the container's log: {0}")]
    Log(io::Error),
}

/// The program that an image stands for, or why there is none to run.
fn runnable<'a>(images: &'a ImageMap, image: &str) -> Result<&'a Program, String> {
    let program = images.get(image).ok_or_else(|| {
        let known: Vec<&str> = images.names().collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        format!(
            "image \"{image}\" is not mapped to a local program (mapped: {known}); map it when the cluster is started, or correct the pod's image"
        )
    })?;
    match program.check() {
        Ok(()) => Ok(program),
        Err(error) => Err(format!(
            "image \"{image}\" is mapped to a program that cannot be run: {error}"
        )),
    }
}
