//! A pod to watch: what its API object tells, and what its program writes.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Event, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::check::{Shortfall, failed};
use crate::context::{Context, is_ready};
use crate::journal::{Entry, Journal};
use crate::transcript::{Line, Transcript};

/// What has not come about by then will not.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// How much later than it happened something is told: a line of a log, an event of a watch.
pub(super) const NEWS: Duration = Duration::from_millis(750);
/// Between two looks at events.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A pod, all of whose changes are noted.
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) journal: Journal<Pod>,
    context: Context,
}

impl Subject {
    /// Creates a pod of one container, with `changes` merged into its spec.
    pub(super) async fn create(
        context: &Context,
        part: &str,
        container: Value,
        changes: Value,
    ) -> Result<Self, Shortfall> {
        let journal = context.journal(part).await?;
        context
            .create::<Pod>(context.pod(part, container, changes))
            .await?;
        Ok(Self {
            name: context.name(part),
            journal,
            context: context.clone(),
        })
    }

    pub(super) async fn until_ready(&self) -> Result<Instant, Shortfall> {
        self.moment("the pod is ready", is_ready).await
    }

    pub(super) async fn until_running(&self) -> Result<Instant, Shortfall> {
        self.moment("the container runs", is_running).await
    }

    /// When the pod was first told to be as `wanted`.
    pub(super) async fn moment(
        &self,
        what: &str,
        wanted: impl Fn(&Pod) -> bool,
    ) -> Result<Instant, Shortfall> {
        self.journal
            .until(what, PATIENCE, |entries| {
                Some(entries.iter().find(|entry| wanted(&entry.object))?.at)
            })
            .await
    }

    /// How its container ended, and when that was told.
    pub(super) async fn end(&self) -> Result<(Instant, ContainerStateTerminated), Shortfall> {
        let end = |entry: &Entry<Pod>| Some((entry.at, terminated(&entry.object)?.clone()));
        self.journal
            .until("the container has ended", PATIENCE, |entries| {
                entries.iter().find_map(end)
            })
            .await
    }

    pub(super) fn transcript(&self) -> Transcript {
        self.context.transcript(&self.name)
    }

    /// Asks for its deletion; when that was.
    pub(super) async fn delete(&self) -> Result<Instant, Shortfall> {
        let asked = Instant::now();
        self.context.delete::<Pod>(&self.name).await?;
        Ok(asked)
    }

    /// Waits for an event about it.
    pub(super) async fn event(&self, reason: &str) -> Result<Event, Shortfall> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = self.context.events_of(&self.name).await?;
            let mut events = events.into_iter();
            if let Some(event) = events.find(|event| event.reason.as_deref() == Some(reason)) {
                return Ok(event);
            }
            if Instant::now() > deadline {
                return Err(failed(format!("no event {reason}")));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The pod as it was told last.
    pub(super) fn latest(&self) -> Result<std::sync::Arc<Pod>, Shortfall> {
        let mut entries = self.journal.entries();
        let last = entries
            .pop()
            .ok_or_else(|| failed("the pod was never seen"))?;
        Ok(last.object)
    }
}

/// Waits for a line of a log, which begins with `words`.
pub(super) async fn line(transcript: &Transcript, words: &str) -> Result<Line, Shortfall> {
    transcript
        .until(&format!("it writes {words:?}"), PATIENCE, |lines| {
            lines
                .iter()
                .find(|line| line.words.starts_with(words))
                .cloned()
        })
        .await
}

/// The status of a pod's only container.
pub(super) fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

pub(super) fn restarts(pod: &Pod) -> i32 {
    container(pod).map_or(0, |status| status.restart_count)
}

pub(super) fn is_running(pod: &Pod) -> bool {
    let state = container(pod).and_then(|status| status.state.as_ref());
    state.is_some_and(|state| state.running.is_some())
}

pub(super) fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    container(pod)?.state.as_ref()?.terminated.as_ref()
}

/// Why its container waits.
pub(super) fn waiting(pod: &Pod) -> Option<&str> {
    let state = container(pod)?.state.as_ref()?;
    state.waiting.as_ref()?.reason.as_deref()
}

pub(super) fn phase(pod: &Pod) -> &str {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase.unwrap_or_default()
}

/// The runs of its container so far, by number: when each started and ended.
pub(super) fn runs(entries: &[Entry<Pod>]) -> Vec<(Timestamp, Timestamp)> {
    let mut runs = Vec::new();
    for entry in entries {
        let status = container(&entry.object);
        let states = status.map(|status| [&status.last_state, &status.state]);
        let states = states.into_iter().flatten().flatten();
        for ended in states.filter_map(|state| state.terminated.as_ref()) {
            let times = ended.started_at.as_ref().zip(ended.finished_at.as_ref());
            let run = times.map(|(started, finished)| (started.0, finished.0));
            runs.extend(run.filter(|run| !runs.contains(run)));
        }
    }
    runs.sort_unstable();
    runs
}

pub(super) fn in_seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
