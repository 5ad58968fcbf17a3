//! One run of a container, from the start of its process to its exit: probes, and the decision to
//! end it.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{LifecycleHandler, Probe};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::ending::Ending;
use super::hook::{Hook, HookPlace};
use super::{ContainerTask, Stop};
use crate::clock;
use crate::events::Severity;
use crate::node::listeners::{Offence, Registration};
use crate::node::logs::Log;
use crate::node::probe::check::Check;
use crate::node::probe::{ProbeKind, Report, Schedule, Worker};
use crate::node::process::{Control, Exit, Launch, Running};
use crate::node::status::{Ended, RestartPolicy, State};

/// Kubernetes sets no limit of its own.
const POST_START_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// A container's process while it lives.
struct Run<'a> {
    task: &'a mut ContainerTask,
    launch: &'a Launch,
    control: Arc<Control>,
    started: Instant,
    probes: Probes,
    ending: Option<Ending>,
    /// Tells what the container does that no pod may do here.
    accusation: oneshot::Receiver<Offence>,
    offence: Option<Offence>,
    /// Its listeners are looked at for as long as it runs.
    _registration: Registration,
}

/// What a run leaves.
struct Left {
    exit_code: i32,
    finished_at: Timestamp,
    exited: Instant,
    offence: Option<Offence>,
}

impl ContainerTask {
    /// Starts the process and stays with it until it has exited and the node has noticed. Returns how
    /// it ended, and when.
    pub(super) async fn run_once(&mut self, launch: &Launch) -> (Ended, Instant) {
        let node = Arc::clone(&self.pod.node);
        let log = match node
            .logs
            .begin(&self.pod.owner, &self.spec.name, self.view.restarts)
        {
            Ok(log) => log,
            Err(error) => {
                return self.not_started(
                    "ContainerCannotRun",
                    format!("cannot write its log: {error}"),
                );
            }
        };
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
        } = match node.shim.run(launch).await {
            Ok(running) => running,
            Err(error) => {
                log.complete();
                return self.not_started("StartError", error.to_string());
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
        let keeping = keep_output(Arc::clone(&log), stdout, stderr);
        let number = self.view.restarts;
        let (registration, accusation) =
            node.listeners
                .register(control.shim(), &self.spec.name, self.pod.address);
        let run = Run {
            launch,
            started: Instant::now(),
            probes: Probes::default(),
            ending: None,
            accusation,
            _registration: registration,
            control: Arc::new(control),
            offence: None,
            task: self,
        };
        let (left, ()) = tokio::join!(run.stay(&mut exit, started_at), keeping);
        drop(measured);
        let exited = left.exited;
        (left.ended(number, started_at), exited)
    }
}

impl Left {
    fn ended(self, run: u32, started_at: Timestamp) -> Ended {
        let reason = match (&self.offence, self.exit_code) {
            (Some(offence), _) => offence.reason,
            (None, 0) => "Completed",
            (None, _) => "Error",
        };
        Ended {
            run,
            exit_code: self.exit_code,
            reason,
            message: self.offence.map(|offence| offence.message),
            started_at,
            finished_at: self.finished_at,
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
    async fn stay(mut self, exit: &mut Exit, started_at: Timestamp) -> Left {
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
                    self.task.view.state = State::Running { since: started_at };
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
        let offence = self.offence;
        Left {
            exit_code,
            finished_at,
            exited,
            offence,
        }
    }

    /// The `postStart` hook at work.
    fn after_start(&self) -> Option<HookRun> {
        let handler = self.task.spec.lifecycle.as_ref()?.post_start.as_ref()?;
        Some(Box::pin(self.hook(handler)?.run(POST_START_LIMIT)))
    }

    fn hook(&self, handler: &LifecycleHandler) -> Option<Hook> {
        let place = HookPlace {
            address: IpAddr::V4(self.task.pod.address),
            ports: self.task.spec.ports.as_deref().unwrap_or_default(),
            shim: &self.task.pod.node.shim,
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
            let grace = Duration::from_secs(self.task.pod.grace_seconds());
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

    fn end(&mut self, grace: Duration, message: &str) {
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

    fn begin_probing(&mut self) {
        if self.task.spec.startup_probe.is_some() && self.ending.is_none() {
            self.probe(ProbeKind::Startup);
        } else {
            self.has_started();
        }
        self.task.publish();
    }

    /// Its startup is over: from now on it may be ready and has to live.
    fn has_started(&mut self) {
        self.task.view.started = true;
        self.task.view.ready = self.task.spec.readiness_probe.is_none();
        self.probe(ProbeKind::Readiness);
        if self.ending.is_none() {
            self.probe(ProbeKind::Liveness);
        }
    }

    /// Begins to ask, if the container has this probe.
    fn probe(&mut self, kind: ProbeKind) {
        let Some(probe) = self.probe_spec(kind) else {
            return;
        };
        let (check, schedule) = (self.check(probe), Schedule::of(probe));
        let worker = Worker {
            kind,
            schedule,
            check,
            pod_added: self.task.pod.added,
            container_started: self.started,
            synced: self.task.pod.synced.subscribe(),
            reports: self.probes.reports.clone(),
        };
        self.probes.start(worker);
    }

    fn probe_spec(&self, kind: ProbeKind) -> Option<&Probe> {
        let spec = &self.task.spec;
        match kind {
            ProbeKind::Startup => spec.startup_probe.as_ref(),
            ProbeKind::Readiness => spec.readiness_probe.as_ref(),
            ProbeKind::Liveness => spec.liveness_probe.as_ref(),
        }
    }

    fn check(&self, probe: &Probe) -> Check {
        let address = IpAddr::V4(self.task.pod.address);
        let ports = self.task.spec.ports.as_deref().unwrap_or_default();
        if let Some(action) = &probe.http_get {
            Check::http(action, address, ports)
        } else if let Some(action) = &probe.tcp_socket {
            Check::tcp(action, address, ports)
        } else if let Some(action) = &probe.grpc {
            Check::grpc(action, address)
        } else if let Some(action) = &probe.exec {
            Check::exec(
                action,
                &self.task.pod.node.shim,
                self.control.program(),
                self.launch,
            )
        } else {
            Check::Impossible("the probe asks by no means known here".to_owned())
        }
    }

    fn consider(&mut self, report: Report) {
        match report {
            Report::Remark { reason, message } => {
                self.task.note(Severity::Warning, reason, &message)
            }
            Report::Verdict {
                kind: ProbeKind::Readiness,
                passed,
            } => {
                if self.task.view.ready != passed {
                    self.task.view.ready = passed;
                    self.task.publish();
                }
            }
            Report::Verdict {
                kind: ProbeKind::Startup,
                passed: true,
            } => {
                self.probes.stop(ProbeKind::Startup);
                self.has_started();
                self.task.publish();
            }
            Report::Verdict {
                kind: ProbeKind::Liveness,
                passed: true,
            } => {}
            Report::Verdict {
                kind,
                passed: false,
            } => {
                if self.ending.is_none() {
                    self.end_for_failed_probe(kind);
                }
            }
        }
    }

    fn end_for_failed_probe(&mut self, kind: ProbeKind) {
        let of_probe = self
            .probe_spec(kind)
            .and_then(|probe| probe.termination_grace_period_seconds);
        let of_pod = self.task.pod.grace_seconds();
        let seconds = of_probe
            .and_then(|seconds| u64::try_from(seconds).ok())
            .unwrap_or(of_pod);
        let probe = kind.name().to_lowercase();
        let fate = match self.task.restart_policy {
            RestartPolicy::Always | RestartPolicy::OnFailure => ", will be restarted",
            RestartPolicy::Never => "",
        };
        let message = format!(
            "Container {} failed {probe} probe{fate}",
            self.task.spec.name
        );
        self.end(Duration::from_secs(seconds), &message);
    }

    fn end_for_offence(&mut self, offence: Offence) {
        self.task
            .note(Severity::Warning, offence.reason, &offence.message);
        self.offence = Some(offence);
        self.control.kill();
    }
}

/// The probe workers of a run; they end with it.
#[derive(Debug)]
struct Probes {
    workers: JoinSet<()>,
    running: Vec<(ProbeKind, AbortHandle)>,
    reports: mpsc::Sender<Report>,
    inbox: mpsc::Receiver<Report>,
}

impl Default for Probes {
    fn default() -> Self {
        let (reports, inbox) = mpsc::channel(8);
        Self {
            workers: JoinSet::new(),
            running: Vec::new(),
            reports,
            inbox,
        }
    }
}

impl Probes {
    fn start(&mut self, worker: Worker) {
        let kind = worker.kind;
        let handle = self.workers.spawn(worker.run());
        self.running.push((kind, handle));
    }

    fn stop(&mut self, kind: ProbeKind) {
        for (_, worker) in self.running.extract_if(.., |(running, _)| *running == kind) {
            worker.abort();
        }
    }

    async fn next(&mut self) -> Option<Report> {
        self.inbox.recv().await
    }
}
