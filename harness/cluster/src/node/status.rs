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
            if initialized && !matches!(view.state, State::Terminated(_)) {
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
        let address = self.address.to_string();
        let host = Ipv4Addr::LOCALHOST.to_string();
        PodStatus {
            phase: Some(phase.to_owned()),
            conditions: Some(conditions),
            reason: failed_by_deadline.then(|| "DeadlineExceeded".to_owned()),
            message: failed_by_deadline.then(|| DEADLINE_MESSAGE.to_owned()),
            container_statuses: Some(statuses.collect()),
            init_container_statuses: (!self.init_containers.is_empty())
                .then(|| init_statuses.collect()),
            pod_ip: Some(address.clone()),
            pod_ips: Some(vec![PodIP { ip: address }]),
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
        let sandbox = if self.over {
            Verdict::no("", None)
        } else {
            Verdict::YES
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
            readiness_gates: Vec::new(),
            past_deadline: false,
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

    #[test]
    fn readiness_gates_wait_for_conditions_that_others_set() {
        let mut view = pod(vec![container(State::Running { since: at(1) }, None)]);
        view.readiness_gates = vec!["shop.test/warm".to_owned()];
        let mut status = view.status(PodStatus::default(), at(2));
        assert_eq!(condition(&status, "ContainersReady").status, "True");
        let ready = condition(&status, "Ready");
        assert_eq!(ready.status, "False");
        assert_eq!(ready.reason.as_deref(), Some("ReadinessGatesNotReady"));
        let mut set = |value: &str| {
            let conditions = status.conditions.get_or_insert_default();
            conditions.retain(|condition| condition.type_ != "shop.test/warm");
            conditions.push(PodCondition {
                type_: "shop.test/warm".to_owned(),
                status: value.to_owned(),
                ..PodCondition::default()
            });
            view.status(status.clone(), at(3))
        };
        assert_eq!(condition(&set("False"), "Ready").status, "False");
        let open = set("True");
        assert_eq!(condition(&open, "Ready").status, "True");
        assert_eq!(condition(&open, "shop.test/warm").status, "True");
    }

    #[test]
    fn an_init_container_is_ready_when_it_has_succeeded() {
        let mut view = pod(vec![container(waiting(), None)]);
        view.init_containers = vec![
            container(State::Terminated(ended(0)), None),
            container(State::Running { since: at(1) }, None),
        ];
        let status = view.status(PodStatus::default(), at(2));
        let ready: Vec<bool> = status
            .init_container_statuses
            .as_ref()
            .unwrap()
            .iter()
            .map(|status| status.ready)
            .collect();
        assert_eq!(ready, [true, false]);
        let initialized = condition(&status, "Initialized");
        assert_eq!(
            initialized.message.as_deref(),
            Some("containers with incomplete status: [c]")
        );
    }

    #[test]
    fn what_waits_when_all_is_over_is_what_it_last_was_or_lost() {
        let mut view = pod(vec![
            container(waiting(), Some(ended(0))),
            container(waiting(), None),
        ]);
        view.settle(at(9));
        let codes: Vec<i32> = view
            .containers
            .iter()
            .map(|view| view.ended().unwrap().exit_code)
            .collect();
        assert_eq!(codes, [0, 137]);
        assert_eq!(view.phase(), "Failed");
        let mut uninitialized = pod(vec![container(waiting(), None)]);
        uninitialized.init_containers = vec![container(State::Terminated(ended(1)), None)];
        uninitialized.settle(at(9));
        assert!(matches!(
            uninitialized.containers[0].state,
            State::Waiting { .. }
        ));
    }

    #[test]
    fn a_pod_that_was_active_for_too_long_has_failed() {
        let mut view = pod(vec![container(State::Terminated(ended(0)), None)]);
        view.past_deadline = true;
        assert_eq!(view.phase(), "Running", "it is still ending");
        view.settle(at(9));
        let status = view.status(PodStatus::default(), at(9));
        assert_eq!(status.phase.as_deref(), Some("Failed"));
        assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    }

    #[test]
    fn a_completed_pod_says_so() {
        let mut view = pod(vec![container(State::Terminated(ended(0)), None)]);
        view.settle(at(2));
        let status = view.status(PodStatus::default(), at(2));
        for (type_, value) in [("Initialized", "True"), ("Ready", "False")] {
            let condition = condition(&status, type_);
            assert_eq!(condition.status, value);
            assert_eq!(condition.reason.as_deref(), Some("PodCompleted"));
        }
    }
}
