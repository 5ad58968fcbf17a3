//! The probes of a running container, and what their answers mean for it.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::run::Run;
use crate::events::Severity;
use crate::node::probe::check::Check;
use crate::node::probe::{ProbeKind, Report, Schedule, Worker};

impl Run<'_> {
    pub(super) fn begin_probing(&mut self) {
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
            container_started: self.started_at,
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
        let address = IpAddr::V4(self.task.sandbox.address);
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
                &self.task.pod.shim,
                self.control.program(),
                self.launch,
            )
        } else {
            Check::Impossible("the probe asks by no means known here".to_owned())
        }
    }

    pub(super) fn consider(&mut self, report: Report) {
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
        let of_probe = of_probe.and_then(|seconds| u64::try_from(seconds).ok());
        let of_pod = self.task.pod.grace_period();
        let grace = of_probe.map_or(of_pod, Duration::from_secs);
        let probe = kind.name().to_lowercase();
        let fate = if self.task.restart_policy.restarts_at_all() {
            ", will be restarted"
        } else {
            ""
        };
        let message = format!(
            "Container {} failed {probe} probe{fate}",
            self.task.spec.name
        );
        self.killed_for_probe = true;
        self.end(grace, &message);
    }
}

/// The probe workers of a run; they end with it.
#[derive(Debug)]
pub(super) struct Probes {
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

    pub(super) fn stop(&mut self, kind: ProbeKind) {
        for (_, worker) in self.running.extract_if(.., |(running, _)| *running == kind) {
            worker.abort();
        }
    }

    pub(super) async fn next(&mut self) -> Option<Report> {
        self.inbox.recv().await
    }
}
