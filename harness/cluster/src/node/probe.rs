//! Probes: the pure counting of outcomes, and the worker which asks on time.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

pub(crate) mod check;

use super::ticks::next_tick;
use crate::clock;
use check::{Check, Outcome};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    /// As messages begin.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// When to ask and how often one answer has to repeat, with the defaults of Kubernetes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) initial_delay: Duration,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) success_threshold: u32,
    pub(crate) failure_threshold: u32,
}

impl Schedule {
    pub(crate) fn of(probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default: u32| {
            Duration::from_secs(positive(value).unwrap_or(default).into())
        };
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            success_threshold: positive(probe.success_threshold).unwrap_or(1),
            failure_threshold: positive(probe.failure_threshold).unwrap_or(3),
        }
    }
}

/// Zero means "not given", as in the API.
fn positive(value: Option<i32>) -> Option<u32> {
    value
        .and_then(|value| u32::try_from(value).ok())
        .filter(|&value| value > 0)
}

/// Counts equal answers in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Streak {
    successful: bool,
    length: u32,
}

impl Streak {
    /// Takes one answer. Returns it when it has repeated often enough to count.
    fn add(&mut self, successful: bool, schedule: &Schedule) -> Option<bool> {
        if self.successful != successful {
            self.length = 0;
        }
        self.successful = successful;
        self.length = self.length.saturating_add(1);
        let threshold = if successful {
            schedule.success_threshold
        } else {
            schedule.failure_threshold
        };
        (self.length >= threshold).then_some(successful)
    }
}

/// What a probe worker has to tell.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    /// A single answer that is worth an event.
    Remark {
        reason: &'static str,
        message: String,
    },
    /// Enough equal answers in a row. Told each time, also when nothing changes.
    Verdict { kind: ProbeKind, passed: bool },
}

/// One probe of one running container.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) kind: ProbeKind,
    pub(crate) schedule: Schedule,
    pub(crate) check: Check,
    /// When the pod came to the node: the ticks of all its probes count from here.
    pub(crate) pod_added: Instant,
    /// In whole seconds, as the API has it.
    pub(crate) container_started: Timestamp,
    /// Changes whenever the node has looked at the pod anew.
    pub(crate) synced: watch::Receiver<()>,
    pub(crate) reports: mpsc::Sender<Report>,
}

/// How often a question is put that cannot be asked.
const ATTEMPTS: u32 = 3;

impl Worker {
    /// Asks for as long as anybody listens: with every tick, and while the container is not ready
    /// also whenever its pod was looked at, which is at once when it has started.
    ///
    /// A kubelet that has just been started delays the first ticks by chance. This node counts as
    /// one that has long been running, as the nodes of a cluster in use have.
    pub(crate) async fn run(mut self) {
        let mut streak = Streak::default();
        let mut ready = false;
        let period = self.schedule.period;
        let mut ticks = interval_at(next_tick(self.pod_added, period, Instant::now()), period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut due_now = self.kind == ProbeKind::Readiness;
        loop {
            if !due_now {
                let waits_for_readiness = self.kind == ProbeKind::Readiness && !ready;
                tokio::select! {
                    _ = ticks.tick() => {}
                    Ok(()) = self.synced.changed(), if waits_for_readiness => {}
                }
            }
            due_now = false;
            let age = clock::seconds_since(self.container_started, clock::now_precise());
            if age < self.schedule.initial_delay.as_secs() {
                continue;
            }
            let outcome = self.ask().await;
            match self.tell(outcome, &mut streak).await {
                Ok(Some(passed)) => ready = passed,
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }

    async fn ask(&self) -> Outcome {
        let mut attempt = 1;
        loop {
            let outcome = self.check.ask(self.schedule.timeout).await;
            if attempt == ATTEMPTS || !matches!(outcome, Outcome::Unanswerable(_)) {
                return outcome;
            }
            attempt += 1;
        }
    }

    /// Returns the verdict, if there is one.
    async fn tell(
        &self,
        outcome: Outcome,
        streak: &mut Streak,
    ) -> Result<Option<bool>, mpsc::error::SendError<Report>> {
        let kind = self.kind;
        let (reason, complaint) = match &outcome {
            Outcome::Passed => ("", None),
            Outcome::PassedWithWarning(text) => ("ProbeWarning", Some(("warning", text))),
            Outcome::Failed(text) => ("Unhealthy", Some(("failed", text))),
            Outcome::Unanswerable(text) => ("Unhealthy", Some(("errored", text))),
        };
        if let Some((verb, text)) = complaint {
            let message = format!("{} probe {verb}: {text}", kind.name());
            self.reports
                .send(Report::Remark { reason, message })
                .await?;
        }
        let passed = match outcome {
            Outcome::Passed | Outcome::PassedWithWarning(_) => true,
            Outcome::Failed(_) => false,
            // It says nothing about the container.
            Outcome::Unanswerable(_) => return Ok(None),
        };
        let verdict = streak.add(passed, &self.schedule);
        if let Some(passed) = verdict {
            self.reports.send(Report::Verdict { kind, passed }).await?;
        }
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::TCPSocketAction;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    use super::*;

    fn verdicts(success_threshold: i32, answers: &[bool]) -> Vec<Option<bool>> {
        let schedule = Schedule::of(&Probe {
            success_threshold: Some(success_threshold),
            ..Probe::default()
        });
        let mut streak = Streak::default();
        let answers = answers.iter();
        answers
            .map(|&answer| streak.add(answer, &schedule))
            .collect()
    }

    #[test]
    fn failures_below_the_threshold_decide_nothing() {
        assert_eq!(
            verdicts(1, &[false, false, true, false, false, false]),
            [None, None, Some(true), None, None, Some(false)]
        );
    }

    #[test]
    fn successes_may_have_to_repeat() {
        assert_eq!(
            verdicts(2, &[true, false, true, true]),
            [None, None, None, Some(true)]
        );
    }

    #[test]
    fn defaults_are_those_of_kubernetes() {
        let schedule = Schedule::of(&Probe::default());
        assert_eq!(schedule.initial_delay, Duration::ZERO);
        assert_eq!(schedule.period, Duration::from_secs(10));
        assert_eq!(schedule.timeout, Duration::from_secs(1));
        assert_eq!(
            (schedule.success_threshold, schedule.failure_threshold),
            (1, 3)
        );
    }

    /// A readiness worker that asks on its own only once, at its start.
    fn worker(check: Check) -> (Worker, watch::Sender<()>, mpsc::Receiver<Report>) {
        let (reports, inbox) = mpsc::channel(8);
        let (synced, receiver) = watch::channel(());
        let hour = Probe {
            period_seconds: Some(3600),
            failure_threshold: Some(1),
            ..Probe::default()
        };
        let worker = Worker {
            kind: ProbeKind::Readiness,
            schedule: Schedule::of(&hour),
            check,
            pod_added: Instant::now(),
            container_started: clock::now(),
            synced: receiver,
            reports,
        };
        (worker, synced, inbox)
    }

    #[tokio::test]
    async fn while_it_is_not_ready_a_container_is_asked_with_every_look_at_its_pod() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let action = TCPSocketAction {
            port: IntOrString::Int(listener.local_addr().unwrap().port().into()),
            ..TCPSocketAction::default()
        };
        drop(listener);
        let check = Check::tcp(&action, [127, 0, 0, 1].into(), &[]);
        let (worker, synced, mut inbox) = worker(check);
        let asking = tokio::spawn(worker.run());
        for _ in 0..3 {
            let remark = inbox.recv().await.unwrap();
            assert!(matches!(remark, Report::Remark { .. }), "{remark:?}");
            let verdict = inbox.recv().await.unwrap();
            assert!(matches!(verdict, Report::Verdict { passed: false, .. }));
            synced.send_replace(());
        }
        asking.abort();
    }

    #[tokio::test]
    async fn a_question_that_cannot_be_asked_decides_nothing() {
        let (worker, _synced, mut inbox) = worker(Check::Impossible("why".to_owned()));
        let asking = tokio::spawn(worker.run());
        let Some(Report::Remark { message, .. }) = inbox.recv().await else {
            panic!("it should be told first");
        };
        assert_eq!(message, "Readiness probe errored: why");
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        assert!(inbox.recv().await.is_none(), "no verdict follows");
    }
}
