//! A pod's status, computed from what its containers do. Pure.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// Whether containers that ended are started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    pub(crate) fn parse(text: Option<&str>) -> Self {
        match text {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            Some(_) | None => Self::Always,
        }
    }

    /// Whether there is an exit code after which it does.
    pub(crate) fn restarts_at_all(self) -> bool {
        match self {
            Self::Always | Self::OnFailure => true,
            Self::Never => false,
        }
    }

    pub(crate) fn restarts_after(self, exit_code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit_code != 0,
            Self::Never => false,
        }
    }
}

/// How a container's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Which of the container's runs it was, from 0.
    pub(crate) run: u32,
    pub(crate) exit_code: i32,
    pub(crate) reason: &'static str,
    pub(crate) message: Option<String>,
    pub(crate) started_at: Timestamp,
    pub(crate) finished_at: Timestamp,
}

impl Ended {
    /// A run that never came about.
    fn lost(run: u32, now: Timestamp) -> Self {
        Self {
            run,
            exit_code: 137,
            reason: "ContainerStatusUnknown",
            message: Some(
                "The container could not be located when the pod was terminated".to_owned(),
            ),
            started_at: now,
            finished_at: now,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waiting {
        reason: &'static str,
        message: Option<String>,
    },
    Running {
        since: Timestamp,
    },
    Terminated(Ended),
}

/// What is known of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerView {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) state: State,
    pub(crate) last: Option<Ended>,
    pub(crate) restarts: u32,
    /// Its startup probe has passed.
    pub(crate) started: bool,
    pub(crate) ready: bool,
}

impl ContainerView {
    pub(crate) fn new(name: &str, image: &str, waiting_reason: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            state: State::Waiting {
                reason: waiting_reason,
                message: None,
            },
            last: None,
            restarts: 0,
            started: false,
            ready: false,
        }
    }

    /// How its latest run ended, unless one is going on.
    fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Waiting { .. } => self.last.as_ref(),
            State::Running { .. } => None,
            State::Terminated(ended) => Some(ended),
        }
    }

    /// No run is going on, and whether there will be another is open.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, State::Terminated(_))
    }

    fn succeeded(&self) -> bool {
        matches!(&self.state, State::Terminated(ended) if ended.exit_code == 0)
    }
}

/// A pod as its node sees it.
#[derive(Clone, Debug)]
pub(crate) struct PodView {
    pub(crate) uid: String,
    /// That of its sandbox, once it has one.
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) start_time: Timestamp,
    pub(crate) init_containers: Vec<ContainerView>,
    pub(crate) containers: Vec<ContainerView>,
    /// The types of the conditions that others have to meet before the pod is ready.
    pub(crate) readiness_gates: Vec<String>,
    /// It has been active for longer than it may.
    pub(crate) past_deadline: bool,
    /// Every container has ended and none will be started again.
    pub(crate) over: bool,
}

pub(crate) const DEADLINE_MESSAGE: &str =
    "Pod was active on the node longer than the specified deadline";

impl PodView {
    pub(crate) fn phase(&self) -> &'static str {
        let never_started = |view: &ContainerView| {
            matches!(view.state, State::Waiting { .. }) && view.last.is_none()
        };
        if self.over && self.past_deadline {
            return "Failed";
        }
        if self.over {
            let all = self.init_containers.iter().chain(&self.containers);
            let ended_well =
                |view: &ContainerView| view.ended().is_some_and(|ended| ended.exit_code == 0);
            return if all.into_iter().all(ended_well) {
                "Succeeded"
            } else {
                "Failed"
            };
        }
        if !self.initialized() || self.containers.iter().any(never_started) {
            "Pending"
        } else {
            "Running"
        }
    }

    /// Nothing goes on any longer. A container that was waiting is what its last run was; one that
    /// should have run and did not is lost.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        let initialized = self.initialized();
        for view in self.init_containers.iter_mut().chain(&mut self.containers) {
            if matches!(view.state, State::Waiting { .. })
                && let Some(last) = view.last.take()
            {
                view.state = State::Terminated(last);
            }
        }
        for view in &mut self.containers {
            if initialized && !view.has_ended() {
                view.state = State::Terminated(Ended::lost(view.restarts, now));
            }
        }
        self.over = true;
    }

    fn initialized(&self) -> bool {
        self.init_containers.iter().all(ContainerView::succeeded)
    }

    /// The status to write. `previous` is the one being replaced: times of conditions that stay the
    /// same are kept, and so is what others wrote there.
    pub(crate) fn status(&self, previous: PodStatus, now: Timestamp) -> PodStatus {
        let phase = self.phase();
        let old = previous.conditions.unwrap_or_default();
        let mut conditions = Vec::new();
        for (type_, verdict) in self.conditions(phase, &old) {
            let before = old.iter().find(|condition| condition.type_ == type_);
            conditions.push(verdict.condition(type_, before, now));
        }
        let foreign =
            |condition: &PodCondition| conditions.iter().all(|own| own.type_ != condition.type_);
        let others: Vec<PodCondition> = old
            .iter()
            .filter(|condition| foreign(condition))
            .cloned()
            .collect();
        conditions.extend(others);
        let statuses = self.containers.iter();
        let statuses = statuses.map(|view| self.container_status(view));
        let init_statuses = self.init_containers.iter();
        let init_statuses = init_statuses.map(|view| ContainerStatus {
            ready: view.succeeded(),
            ..self.container_status(view)
        });
        let failed_by_deadline = self.over && self.past_deadline;
        let address = self.address.map(|address| address.to_string());
        let host = Ipv4Addr::LOCALHOST.to_string();
        PodStatus {
            phase: Some(phase.to_owned()),
            conditions: Some(conditions),
            reason: failed_by_deadline.then(|| "DeadlineExceeded".to_owned()),
            message: failed_by_deadline.then(|| DEADLINE_MESSAGE.to_owned()),
            container_statuses: Some(statuses.collect()),
            init_container_statuses: (!self.init_containers.is_empty())
                .then(|| init_statuses.collect()),
            pod_ip: address.clone(),
            pod_ips: address.map(|ip| vec![PodIP { ip }]),
            host_ip: Some(host.clone()),
            host_ips: Some(vec![HostIP { ip: host }]),
            start_time: Some(Time(self.start_time)),
            ..previous
        }
    }

    /// The conditions the kubelet owns, in the order in which it writes them. `present` are the
    /// pod's conditions so far.
    fn conditions(&self, phase: &str, present: &[PodCondition]) -> [(&'static str, Verdict); 4] {
        let containers_ready = self.containers_ready(phase);
        let ready = match containers_ready {
            Verdict::Yes { .. } => self.gates_open(present),
            Verdict::No { .. } => containers_ready.clone(),
        };
        let incomplete = names(&self.init_containers, |view| !view.succeeded());
        let initialized = if phase == "Succeeded" {
            Verdict::Yes {
                reason: "PodCompleted",
            }
        } else if incomplete.is_empty() {
            Verdict::YES
        } else {
            let message = format!("containers with incomplete status: [{incomplete}]");
            Verdict::no("ContainersNotInitialized", Some(message))
        };
        let sandbox = if self.address.is_some() && !self.over {
            Verdict::YES
        } else {
            Verdict::no("", None)
        };
        [
            ("PodReadyToStartContainers", sandbox),
            ("Initialized", initialized),
            ("Ready", ready),
            ("ContainersReady", containers_ready),
        ]
    }

    fn containers_ready(&self, phase: &str) -> Verdict {
        let unready = names(&self.containers, |view| !view.ready);
        match phase {
            "Succeeded" => Verdict::no("PodCompleted", None),
            "Failed" => Verdict::no("PodFailed", None),
            _ if unready.is_empty() => Verdict::YES,
            _ => {
                let message = format!("containers with unready status: [{unready}]");
                Verdict::no("ContainersNotReady", Some(message))
            }
        }
    }

    /// Whether every readiness gate has its condition.
    fn gates_open(&self, present: &[PodCondition]) -> Verdict {
        let complaint = |gate: &String| {
            let condition = present.iter().find(|condition| condition.type_ == *gate);
            match condition.map(|condition| condition.status.as_str()) {
                Some("True") => None,
                Some(status) => Some(format!(
                    "the status of pod readiness gate \"{gate}\" is not \"True\", but {status}"
                )),
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{gate}\" does not exist."
                )),
            }
        };
        let complaints: Vec<String> = self.readiness_gates.iter().filter_map(complaint).collect();
        if complaints.is_empty() {
            Verdict::YES
        } else {
            Verdict::no("ReadinessGatesNotReady", Some(complaints.join(", ")))
        }
    }

    fn container_status(&self, view: &ContainerView) -> ContainerStatus {
        let id = |run: u32| format!("{ID_SCHEME}{}/{}/{run}", self.uid, view.name);
        let terminated = |ended: &Ended| terminated(ended, id(ended.run));
        let latest_run = match &view.state {
            State::Running { .. } => Some(view.restarts),
            State::Waiting { .. } | State::Terminated(_) => view.ended().map(|ended| ended.run),
        };
        ContainerStatus {
            name: view.name.clone(),
            image: view.image.clone(),
            image_id: view.image.clone(),
            container_id: latest_run.map(id),
            restart_count: i32::try_from(view.restarts).unwrap_or(i32::MAX),
            started: Some(view.started),
            ready: view.ready,
            state: Some(container_state(&view.state, terminated)),
            last_state: view.last.as_ref().map(|ended| ContainerState {
                terminated: Some(terminated(ended)),
                ..ContainerState::default()
            }),
            ..ContainerStatus::default()
        }
    }
}

/// Begins the id of a container, which ends with the number of its run.
const ID_SCHEME: &str = "holdfast://";

/// The run which a container's id means.
pub(crate) fn run_of(container_id: &str) -> Option<u32> {
    let path = container_id.strip_prefix(ID_SCHEME)?;
    path.rsplit('/').next()?.parse().ok()
}

/// The names of some containers, as messages list them.
fn names(views: &[ContainerView], wanted: impl Fn(&ContainerView) -> bool) -> String {
    let wanted = views.iter().filter(|view| wanted(view));
    let names: Vec<&str> = wanted.map(|view| view.name.as_str()).collect();
    names.join(" ")
}

/// A condition before its times are known.
#[derive(Clone, Debug)]
enum Verdict {
    Yes {
        reason: &'static str,
    },
    No {
        reason: &'static str,
        message: Option<String>,
    },
}

impl Verdict {
    const YES: Self = Self::Yes { reason: "" };

    fn no(reason: &'static str, message: Option<String>) -> Self {
        Self::No { reason, message }
    }

    fn condition(self, type_: &str, before: Option<&PodCondition>, now: Timestamp) -> PodCondition {
        let (status, reason, message) = match self {
            Self::Yes { reason } => ("True", Some(reason), None),
            Self::No { reason, message } => ("False", Some(reason), message),
        };
        let unchanged = before.filter(|before| before.status == status);
        PodCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason
                .filter(|reason| !reason.is_empty())
                .map(str::to_owned),
            message,
            last_transition_time: unchanged
                .and_then(|before| before.last_transition_time.clone())
                .or(Some(Time(now))),
            ..PodCondition::default()
        }
    }
}

fn container_state(
    state: &State,
    terminated: impl Fn(&Ended) -> ContainerStateTerminated,
) -> ContainerState {
    match state {
        State::Waiting { reason, message } => ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some((*reason).to_owned()),
                message: message.clone(),
            }),
            ..ContainerState::default()
        },
        State::Running { since } => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: Some(Time(*since)),
            }),
            ..ContainerState::default()
        },
        State::Terminated(ended) => ContainerState {
            terminated: Some(terminated(ended)),
            ..ContainerState::default()
        },
    }
}

fn terminated(ended: &Ended, container_id: String) -> ContainerStateTerminated {
    ContainerStateTerminated {
        container_id: Some(container_id),
        exit_code: ended.exit_code,
        reason: Some(ended.reason.to_owned()),
        message: ended.message.clone(),
        started_at: Some(Time(ended.started_at)),
        finished_at: Some(Time(ended.finished_at)),
        ..ContainerStateTerminated::default()
    }
}

#[cfg(test)]
mod tests;
