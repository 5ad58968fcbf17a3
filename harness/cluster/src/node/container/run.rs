//! One run of a container, from the start of its process to its exit, and the decision to end it.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ending::Ending;
use super::hook::{Hook, HookPlace, NO_LIMIT};
use super::probing::Probes;
use super::{ContainerTask, Stop};
use crate::clock;
use crate::events::Severity;
use crate::node::listeners::{Offence, Registration};
use crate::node::logs::Log;
use crate::node::probe::ProbeKind;
use crate::node::process::{Control, Exit, Launch, Running};
use crate::node::status::{Ended, State};

/// The exit code of a program that could not be started, as containerd reports it.
const START_ERROR: i32 = 128;

/// A container's process while it lives.
pub(super) struct Run<'a> {
    pub(super) task: &'a mut ContainerTask,
    pub(super) launch: &'a Launch,
    pub(super) control: Arc<Control>,
    pub(super) started_at: Timestamp,
    pub(super) probes: Probes,
    pub(super) ending: Option<Ending>,
    pub(super) killed_for_probe: bool,
    /// Tells what the container does that no pod may do here.
    accusation: oneshot::Receiver<Offence>,
    offence: Option<Offence>,
    /// Its listeners are looked at for as long as it runs.
    _registration: Registration,
}

/// What a run leaves.
pub(super) struct Left {
    pub(super) ended: Ended,
    pub(super) exited: Instant,
    /// The node ended it, because it had failed a probe.
    pub(super) killed_for_probe: bool,
}

impl ContainerTask {
    /// Starts the process and stays with it until it has exited and the node has noticed.
    pub(super) async fn run_once(&mut self, launch: &Launch, log: Arc<Log>) -> Left {
        let node = Arc::clone(&self.pod.node);
        let started_at = clock::now();
        self.note(
            Severity::Normal,
            "Created",
            &format!("Created container: {}", self.spec.name),
        );
        let Running {
            control,
            mut exit,
            stdout,
            stderr,
        } = match self.pod.shim.run(launch).await {
            Ok(running) => running,
            Err(error) => {
                log.complete();
                return self.not_started(error.to_string());
            }
        };
        self.note(
            Severity::Normal,
            "Started",
            &format!("Started container {}", self.spec.name),
        );
        let measured = node
            .metrics
            .measure(&self.pod.owner.uid, &self.spec.name, control.shim());
        let keeping = keep_output(log, stdout, stderr);
        let (registration, accusation) =
            node.listeners
                .register(control.shim(), &self.spec.name, self.sandbox.address);
        let run = Run {
            launch,
            started_at,
            probes: Probes::default(),
            ending: None,
            killed_for_probe: false,
            accusation,
            _registration: registration,
            control: Arc::new(control),
            offence: None,
            task: self,
        };
        let (left, ()) = tokio::join!(run.stay(&mut exit), keeping);
        drop(measured);
        left
    }

    /// The end of a run that could not begin.
    fn not_started(&self, message: String) -> Left {
        self.note(Severity::Warning, "Failed", &format!("Error: {message}"));
        let now = clock::now();
        Left {
            ended: Ended {
                run: self.view.restarts,
                exit_code: START_ERROR,
                reason: "StartError",
                message: Some(message),
                started_at: now,
                finished_at: now,
            },
            exited: Instant::now(),
            killed_for_probe: false,
        }
    }
}

/// Writes the output down until every process of the container has closed it.
async fn keep_output(
    log: Arc<Log>,
    stdout: tokio::process::ChildStdout,
    stderr: tokio::process::ChildStderr,
) {
    tokio::join!(log.keep("stdout", stdout), log.keep("stderr", stderr));
    log.complete();
}

type HookRun = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The outcome of a hook, once: with no hook (any longer) there is none.
async fn finish(hook: &mut Option<HookRun>) -> Result<(), String> {
    match hook {
        Some(run) => {
            let outcome = run.as_mut().await;
            *hook = None;
            outcome
        }
        None => std::future::pending().await,
    }
}

/// Takes the next steps towards the end, if there is to be one; the exit is awaited elsewhere.
async fn proceed(ending: &mut Option<Ending>) {
    if let Some(ending) = ending {
        ending.proceed().await;
    }
    std::future::pending().await
}

impl Run<'_> {
    /// Stays until the process has exited and the node has noticed.
    async fn stay(mut self, exit: &mut Exit) -> Left {
        let relist = self.task.pod.node.relist;
        let mut noticed = false;
        let mut after_start = self.after_start();
        self.obey();
        let exit_code = loop {
            tokio::select! {
                code = exit.code() => break code,
                () = proceed(&mut self.ending) => {}
                outcome = finish(&mut after_start) => if let Err(reason) = outcome {
                    self.end_for_failed_hook(&reason);
                },
                // A container counts as running only when its hook is done.
                () = relist.next(), if after_start.is_none() && !noticed => {
                    noticed = true;
                    self.task.view.state = State::Running {
                        since: self.started_at,
                    };
                    self.begin_probing();
                }
                Ok(offence) = &mut self.accusation, if self.offence.is_none() => {
                    self.end_for_offence(offence);
                }
                Ok(()) = self.task.stop.changed() => self.obey(),
                Some(report) = self.probes.next() => self.consider(report),
            }
        };
        let (finished_at, exited) = (clock::now(), Instant::now());
        if self.ending.is_none() && !self.task.stopping() {
            // The node looks at its processes once in a period.
            tokio::select! {
                () = relist.next() => {}
                Ok(()) = self.task.stop.changed() => {}
            }
        }
        Left {
            killed_for_probe: self.killed_for_probe,
            ended: self.ended(exit_code, finished_at),
            exited,
        }
    }

    fn ended(self, exit_code: i32, finished_at: Timestamp) -> Ended {
        let reason = match (&self.offence, exit_code) {
            (Some(offence), _) => offence.reason,
            (None, 0) => "Completed",
            (None, _) => "Error",
        };
        Ended {
            run: self.task.view.restarts,
            exit_code,
            reason,
            message: self.offence.map(|offence| offence.message),
            started_at: self.started_at,
            finished_at,
        }
    }

    /// The `postStart` hook at work.
    fn after_start(&self) -> Option<HookRun> {
        let handler = self.task.spec.lifecycle.as_ref()?.post_start.as_ref()?;
        Some(Box::pin(self.hook(handler)?.run(NO_LIMIT)))
    }

    fn hook(&self, handler: &LifecycleHandler) -> Option<Hook> {
        let place = HookPlace {
            address: IpAddr::V4(self.task.sandbox.address),
            ports: self.task.spec.ports.as_deref().unwrap_or_default(),
            shim: &self.task.pod.shim,
            program: self.control.program(),
            launch: self.launch,
        };
        Hook::new(handler, place)
    }

    fn end_for_failed_hook(&mut self, reason: &str) {
        let message = format!("PostStartHook failed: {reason}");
        self.task
            .note(Severity::Warning, "FailedPostStartHook", &message);
        if self.ending.is_none() {
            let grace = self.task.pod.grace_period();
            self.end(grace, "FailedPostStartHook");
        }
    }

    /// Does what the pod's loop wants.
    fn obey(&mut self) {
        let wish = *self.task.stop.borrow_and_update();
        match (wish, &self.ending) {
            (Stop::No, _) => {}
            (Stop::AtOnce, _) => self.control.kill(),
            (Stop::Within(grace), Some(ending)) => {
                ending.shorten(grace);
                self.probes.stop(ProbeKind::Liveness);
                self.probes.stop(ProbeKind::Startup);
            }
            (Stop::Within(grace), None) => {
                let message = format!("Stopping container {}", self.task.spec.name);
                self.end(grace, &message);
            }
        }
    }

    pub(super) fn end(&mut self, grace: Duration, message: &str) {
        self.task.note(Severity::Normal, "Killing", message);
        // Readiness is asked to the last; a container that is ending cannot fail to live.
        self.probes.stop(ProbeKind::Liveness);
        self.probes.stop(ProbeKind::Startup);
        let pod = Arc::clone(&self.task.pod);
        let field_path = self.task.field_path();
        let lifecycle = self.task.spec.lifecycle.as_ref();
        let hook = lifecycle
            .and_then(|lifecycle| lifecycle.pre_stop.as_ref())
            .and_then(|handler| self.hook(handler));
        let hook_failed = move |reason: String| {
            let message = format!("PreStopHook failed: {reason}");
            pod.note(
                &field_path,
                Severity::Warning,
                "FailedPreStopHook",
                &message,
            );
        };
        self.ending = Some(Ending::new(
            Arc::clone(&self.control),
            grace,
            hook,
            hook_failed,
        ));
    }

    fn end_for_offence(&mut self, offence: Offence) {
        self.task
            .note(Severity::Warning, offence.reason, &offence.message);
        self.offence = Some(offence);
        self.control.kill();
    }
}
