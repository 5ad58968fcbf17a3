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

    fn succeeded(&self) -> bool {
        matches!(&self.state, State::Terminated(ended) if ended.exit_code == 0)
    }
}

/// A pod as its node sees it.
#[derive(Clone, Debug)]
pub(crate) struct PodView {
    pub(crate) uid: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) start_time: Timestamp,
    pub(crate) restart_policy: RestartPolicy,
    pub(crate) init_containers: Vec<ContainerView>,
    pub(crate) containers: Vec<ContainerView>,
    /// Every container has ended and none will be started again.
    pub(crate) over: bool,
}

impl PodView {
    pub(crate) fn phase(&self) -> &'static str {
        let never_started = |view: &ContainerView| {
            matches!(view.state, State::Waiting { .. }) && view.last.is_none()
        };
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

    fn initialized(&self) -> bool {
        self.init_containers.iter().all(ContainerView::succeeded)
    }

    /// The status to write. `previous` is the one being replaced: times of conditions that stay the
    /// same are kept, and so is what others wrote there.
    pub(crate) fn status(&self, previous: PodStatus, now: Timestamp) -> PodStatus {
        let phase = self.phase();
        let old = previous.conditions.unwrap_or_default();
        let mut conditions = Vec::new();
        for (type_, verdict) in self.conditions(phase) {
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
        let statuses = |views: &[ContainerView]| -> Vec<ContainerStatus> {
            views
                .iter()
                .map(|view| self.container_status(view))
                .collect()
        };
        let address = self.address.to_string();
        let host = Ipv4Addr::LOCALHOST.to_string();
        PodStatus {
            phase: Some(phase.to_owned()),
            conditions: Some(conditions),
            container_statuses: Some(statuses(&self.containers)),
            init_container_statuses: (!self.init_containers.is_empty())
                .then(|| statuses(&self.init_containers)),
            pod_ip: Some(address.clone()),
            pod_ips: Some(vec![PodIP { ip: address }]),
            host_ip: Some(host.clone()),
            host_ips: Some(vec![HostIP { ip: host }]),
            start_time: Some(Time(self.start_time)),
            ..previous
        }
    }

    /// The conditions the kubelet owns, in the order in which it writes them.
    fn conditions(&self, phase: &str) -> [(&'static str, Verdict); 4] {
        let unready: Vec<&str> = self
            .containers
            .iter()
            .filter(|view| !view.ready)
            .map(|view| view.name.as_str())
            .collect();
        let containers_ready = if phase == "Succeeded" {
            Verdict::no("PodCompleted", None)
        } else if phase == "Failed" {
            Verdict::no("PodFailed", None)
        } else if unready.is_empty() {
            Verdict::Yes
        } else {
            let message = format!("containers with unready status: [{}]", unready.join(" "));
            Verdict::no("ContainersNotReady", Some(message))
        };
        let initialized = if self.initialized() || phase == "Succeeded" {
            Verdict::Yes
        } else {
            Verdict::no("ContainersNotInitialized", None)
        };
        let sandbox = if self.over {
            Verdict::no("", None)
        } else {
            Verdict::Yes
        };
        [
            ("PodReadyToStartContainers", sandbox),
            ("Initialized", initialized),
            ("Ready", containers_ready.clone()),
            ("ContainersReady", containers_ready),
        ]
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

/// A condition before its times are known.
#[derive(Clone, Debug)]
enum Verdict {
    Yes,
    No {
        reason: &'static str,
        message: Option<String>,
    },
}

impl Verdict {
    fn no(reason: &'static str, message: Option<String>) -> Self {
        Self::No { reason, message }
    }

    fn condition(self, type_: &str, before: Option<&PodCondition>, now: Timestamp) -> PodCondition {
        let (status, reason, message) = match self {
            Self::Yes => ("True", None, None),
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
mod tests {
    use super::*;

    const THEN: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(THEN + second).unwrap()
    }

    fn ended(exit_code: i32) -> Ended {
        Ended {
            run: 0,
            exit_code,
            reason: "Error",
            message: None,
            started_at: at(0),
            finished_at: at(1),
        }
    }

    fn waiting() -> State {
        State::Waiting {
            reason: "CrashLoopBackOff",
            message: None,
        }
    }

    fn container(state: State, last: Option<Ended>) -> ContainerView {
        let ready = matches!(state, State::Running { .. });
        ContainerView {
            state,
            last,
            ready,
            started: ready,
            ..ContainerView::new("c", "app:1", "ContainerCreating")
        }
    }

    fn pod(containers: Vec<ContainerView>) -> PodView {
        PodView {
            uid: "u1".to_owned(),
            address: Ipv4Addr::new(127, 80, 128, 1),
            start_time: at(0),
            restart_policy: RestartPolicy::Always,
            init_containers: Vec::new(),
            containers,
            over: false,
        }
    }

    fn condition<'a>(status: &'a PodStatus, type_: &str) -> &'a PodCondition {
        let conditions = status.conditions.as_ref().unwrap();
        conditions
            .iter()
            .find(|condition| condition.type_ == type_)
            .unwrap()
    }

    #[test]
    fn a_pod_is_pending_until_every_container_has_started_once() {
        let running = || container(State::Running { since: at(1) }, None);
        assert_eq!(
            pod(vec![running(), container(waiting(), None)]).phase(),
            "Pending"
        );
        assert_eq!(pod(vec![running(), running()]).phase(), "Running");
    }

    #[test]
    fn a_crash_loop_is_running() {
        assert_eq!(
            pod(vec![container(waiting(), Some(ended(1)))]).phase(),
            "Running"
        );
        assert_eq!(
            pod(vec![container(State::Terminated(ended(1)), None)]).phase(),
            "Running"
        );
    }

    #[test]
    fn while_it_waits_a_container_is_its_last_run() {
        let mut view = container(waiting(), Some(Ended { run: 3, ..ended(1) }));
        view.restarts = 4;
        let status = pod(Vec::new()).container_status(&view);
        let last = status.last_state.unwrap().terminated.unwrap();
        assert_eq!(status.container_id, last.container_id);
        assert_eq!(run_of(&last.container_id.unwrap()), Some(3));
        assert_eq!(run_of("containerd://u1/c/3"), None);
    }

    #[test]
    fn init_containers_come_first() {
        let mut view = pod(vec![container(waiting(), None)]);
        view.init_containers = vec![container(State::Terminated(ended(1)), None)];
        assert_eq!(view.phase(), "Pending");
        let status = view.status(PodStatus::default(), at(2));
        assert_eq!(condition(&status, "Initialized").status, "False");
    }

    #[test]
    fn exit_codes_decide_how_it_was_when_it_is_over() {
        let mut view = pod(vec![container(State::Terminated(ended(0)), None)]);
        view.over = true;
        assert_eq!(view.phase(), "Succeeded");
        view.containers
            .push(container(State::Terminated(ended(137)), None));
        assert_eq!(view.phase(), "Failed");
        let status = view.status(PodStatus::default(), at(2));
        assert_eq!(condition(&status, "Ready").status, "False");
        view.containers = vec![container(waiting(), None)];
        assert_eq!(view.phase(), "Failed", "it never ran");
    }

    #[test]
    fn transition_times_change_only_with_the_condition() {
        let mut view = pod(vec![container(State::Running { since: at(1) }, None)]);
        let first = view.status(PodStatus::default(), at(2));
        let same = view.status(first.clone(), at(9));
        assert_eq!(first, same);
        view.containers[0].ready = false;
        let unready = view.status(same, at(20));
        assert_eq!(
            condition(&unready, "Ready").last_transition_time,
            Some(Time(at(20)))
        );
        assert_eq!(
            condition(&unready, "Initialized").last_transition_time,
            Some(Time(at(2)))
        );
    }
}
