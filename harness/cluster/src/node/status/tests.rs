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
        address: Some(Ipv4Addr::new(127, 80, 128, 1)),
        start_time: at(0),
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
fn a_pod_without_a_sandbox_has_no_address() {
    let mut view = pod(vec![container(waiting(), None)]);
    let ready_to_start = |view: &PodView| {
        let status = view.status(PodStatus::default(), at(1));
        let condition = condition(&status, "PodReadyToStartContainers")
            .status
            .clone();
        (status.pod_ip, condition)
    };
    let address = "127.80.128.1".to_owned();
    assert_eq!(ready_to_start(&view), (Some(address), "True".to_owned()));
    view.address = None;
    assert_eq!(ready_to_start(&view), (None, "False".to_owned()));
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
