use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::metrics::Usage;

const NOW: i64 = 10_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn time(second: i64) -> String {
    crate::clock::rfc3339(at(second))
}

/// A pod started long ago, ready since, with one container that requests `request`.
fn pod(name: &str, request: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": request, "memory": "1Mi"}}}]},
        "status": {
            "phase": "Running",
            "startTime": time(NOW - 1000),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time(NOW - 990)}],
        },
    })
}

fn starting(name: &str, started_before: i64, ready: &str, since: i64) -> Value {
    let mut pod = pod(name, "100m");
    pod["status"]["startTime"] = time(NOW - started_before).into();
    pod["status"]["conditions"][0]["status"] = ready.into();
    pod["status"]["conditions"][0]["lastTransitionTime"] = time(NOW - since).into();
    pod
}

/// Of the last quarter of a minute.
fn sample(cpu_nanocores: u64, memory_bytes: u64) -> PodSample {
    let usage = Usage {
        cpu_nanocores,
        memory_bytes,
    };
    PodSample {
        timestamp: at(NOW),
        window: Duration::from_secs(15),
        containers: BTreeMap::from([("main".to_owned(), usage)]),
    }
}

/// Samples of thousandths of a core, and of as many bytes.
fn samples(used: &[(&str, u64)]) -> BTreeMap<String, PodSample> {
    let used = used.iter();
    used.map(|(name, milli)| ((*name).to_owned(), sample(milli * 1_000_000, *milli)))
        .collect()
}

const CPU_UTILIZATION: fn(i32) -> Metric<'static> = |percent| Metric {
    resource: CPU,
    container: None,
    target: Target::Utilization(percent),
};

fn proposed(
    metric: Metric<'_>,
    pods: &[Value],
    used: &[(&str, u64)],
    current: i32,
) -> Result<Proposal, String> {
    proposed_for(metric, pods, &samples(used), current)
}

fn proposed_for(
    metric: Metric<'_>,
    pods: &[Value],
    samples: &BTreeMap<String, PodSample>,
    current: i32,
) -> Result<Proposal, String> {
    let pods: Vec<Arc<Pod>> = pods
        .iter()
        .map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap()))
        .collect();
    let measured = Measured {
        pods: &pods,
        samples,
        options: &AutoscalingOptions::default(),
        now: at(NOW),
    };
    propose(metric, &measured, current).map_err(|error| error.to_string())
}

fn replicas(percent: i32, pods: &[Value], used: &[(&str, u64)], current: i32) -> i32 {
    proposed(CPU_UTILIZATION(percent), pods, used, current)
        .unwrap()
        .replicas
}

fn ten(used: u64) -> (Vec<Value>, Vec<(&'static str, u64)>) {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    (
        names.iter().map(|name| pod(name, "100m")).collect(),
        names.iter().map(|name| (*name, used)).collect(),
    )
}

#[test]
fn twice_the_target_doubles_the_replicas() {
    let pods = [pod("a", "100m")];
    let proposal = proposed(CPU_UTILIZATION(50), &pods, &[("a", 100)], 1).unwrap();
    let expected = Proposal {
        replicas: 2,
        utilization: Some(100),
        average_milli: 100,
    };
    assert_eq!(proposal, expected);
}

#[test]
fn within_the_tolerance_nothing_changes() {
    for (used, expected) in [(109, 10), (110, 10), (111, 12), (90, 10), (89, 9)] {
        let (pods, used) = ten(used);
        assert_eq!(replicas(100, &pods, &used, 10), expected, "{used:?}");
    }
}

#[test]
fn each_pod_counts_in_whole_thousandths_rounded_up() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let pods: Vec<Value> = names.iter().map(|name| pod(name, "28m")).collect();
    let proposal = |cpu_nanocores| {
        let samples = names.map(|name| (name.to_owned(), sample(cpu_nanocores, 0)));
        proposed_for(CPU_UTILIZATION(100), &pods, &samples.into(), 10).unwrap()
    };
    // Forty-five hundredths of a second in a little more or less than a quarter of a minute.
    let (less, more) = (proposal(29_994_814), proposal(30_002_374));
    assert_eq!((less.utilization, less.replicas), (Some(107), 10));
    assert_eq!((more.utilization, more.replicas), (Some(110), 10));
}

#[test]
fn utilization_is_a_whole_number_over_all_pods() {
    // 1199 of 1000 thousandths: 119 percent, not 120.
    let (pods, mut used) = ten(120);
    used[0].1 = 119;
    let proposal = proposed(CPU_UTILIZATION(100), &pods, &used, 10).unwrap();
    assert_eq!((proposal.utilization, proposal.replicas), (Some(119), 12));
    // A large pod weighs more than a small one.
    let pods = [pod("large", "900m"), pod("small", "100m")];
    let used = [("large", 900), ("small", 0)];
    assert_eq!(
        proposed(CPU_UTILIZATION(90), &pods, &used, 2)
            .unwrap()
            .utilization,
        Some(90)
    );
}

#[test]
fn pods_on_their_way_out_do_not_count() {
    let mut leaving = pod("b", "100m");
    leaving["metadata"]["deletionTimestamp"] = time(NOW).into();
    let mut failed = pod("c", "100m");
    failed["status"]["phase"] = "Failed".into();
    let pods = [pod("a", "100m"), leaving, failed];
    assert_eq!(
        replicas(50, &pods, &[("a", 100), ("b", 900), ("c", 900)], 1),
        2
    );
}

#[test]
fn the_request_of_every_pod_must_be_known() {
    let mut leaving = pod("b", "100m");
    leaving["metadata"]["deletionTimestamp"] = time(NOW).into();
    leaving["spec"]["containers"][0] = json!({"name": "main"});
    let error = proposed(
        CPU_UTILIZATION(50),
        &[pod("a", "100m"), leaving],
        &[("a", 100)],
        1,
    );
    assert_eq!(
        error.unwrap_err(),
        "missing request for cpu in container main of Pod b",
        "terminating pods included"
    );
}

#[test]
fn without_measurements_there_is_no_proposal() {
    let error = |pods: &[Value], used| proposed(CPU_UTILIZATION(50), pods, used, 1).unwrap_err();
    let pods = [pod("a", "100m")];
    assert_eq!(
        error(&pods, &[]),
        "unable to get metrics for resource cpu: no metrics returned from resource metrics API"
    );
    let no_pods = "no pods returned by selector while calculating replica count";
    assert_eq!(error(&[], &[("a", 1)]), no_pods);
    let mut pending = pod("a", "100m");
    pending["status"]["phase"] = "Pending".into();
    let none_ready = "did not receive metrics for targeted pods (pods might be unready)";
    assert_eq!(error(&[pending], &[("a", 1)]), none_ready);
}

#[test]
fn a_missing_pod_dampens_both_ways() {
    let pods = [pod("a", "100m"), pod("b", "100m")];
    // Up: as if it used nothing. 200 of 200 instead of 200 of 100.
    assert_eq!(replicas(50, &pods, &[("a", 200)], 2), 4);
    assert_eq!(
        replicas(100, &pods, &[("a", 200)], 2),
        2,
        "within tolerance"
    );
    assert_eq!(
        replicas(150, &pods, &[("a", 200)], 2),
        2,
        "the direction turned"
    );
    // Down: as if it used all of its request, or the target if that is more.
    assert_eq!(replicas(100, &pods, &[("a", 10)], 2), 2, "ceil(0.55 × 2)");
    assert_eq!(replicas(200, &pods, &[("a", 10)], 3), 2, "ceil(0.52 × 2)");
}

#[test]
fn an_unready_pod_counts_as_idle_when_there_is_more_to_do() {
    let pods = [pod("a", "100m"), starting("b", 20, "False", 20)];
    let used = [("a", 200), ("b", 1000)];
    assert_eq!(
        replicas(50, &pods, &used, 2),
        4,
        "(200 + 0) of 200, not 1200"
    );
    // With less to do its use is left out, and so is the pod.
    assert_eq!(replicas(100, &pods, &[("a", 40), ("b", 1000)], 2), 1);
}

#[test]
fn a_starting_pod_counts_once_it_was_measured_while_ready() {
    let other = pod("a", "100m");
    let used = [("a", 100), ("b", 100)];
    let utilization = |pod| {
        let proposal = proposed(CPU_UTILIZATION(50), &[other.clone(), pod], &used, 2).unwrap();
        proposal.replicas
    };
    // Ready with a whole window since: 100 % of both pods, twice the target.
    assert_eq!(utilization(starting("b", 60, "True", 16)), 4);
    // The window began before it was ready: counts as idle.
    assert_eq!(utilization(starting("b", 60, "True", 14)), 2);
    // Unready in its first five minutes.
    assert_eq!(utilization(starting("b", 299, "False", 200)), 2);
    // Later it counts, though unready, unless it never was ready.
    assert_eq!(utilization(starting("b", 301, "False", 100)), 4);
    assert_eq!(utilization(starting("b", 301, "False", 275)), 2);
    let mut without_condition = pod("b", "100m");
    without_condition["status"]["conditions"] = json!([]);
    assert_eq!(utilization(without_condition), 2);
}

#[test]
fn a_sample_is_as_old_as_the_metrics_api_tells() {
    let pods = [starting("a", 60, "True", 15)];
    let used_at = |milliseconds| {
        let mut sample = sample(100_000_000, 0);
        sample.timestamp = Timestamp::from_millisecond(NOW * 1000 + milliseconds).unwrap();
        sample.window = Duration::from_millis(15_001);
        let samples = BTreeMap::from([("a".to_owned(), sample)]);
        proposed_for(CPU_UTILIZATION(50), &pods, &samples, 1)
    };
    // Its end is told in whole seconds, its length is not.
    assert!(used_at(999).is_err());
    assert_eq!(used_at(1000).unwrap().replicas, 2);
}

#[test]
fn readiness_matters_to_the_processor_only() {
    let memory = Metric {
        resource: "memory",
        container: None,
        target: Target::AverageMilli(50_000),
    };
    let pods = [starting("a", 20, "False", 20)];
    let expected = Proposal {
        replicas: 2,
        utilization: None,
        average_milli: 100_000,
    };
    assert_eq!(proposed(memory, &pods, &[("a", 100)], 1), Ok(expected));
}

#[test]
fn one_container_can_be_looked_at() {
    let mut pod = pod("a", "100m");
    let sidecar = json!({"name": "sidecar"});
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(sidecar);
    let main = Metric {
        container: Some("main"),
        ..CPU_UTILIZATION(50)
    };
    let pods = [pod];
    assert_eq!(proposed(main, &pods, &[("a", 100)], 1).unwrap().replicas, 2);
    assert!(proposed(CPU_UTILIZATION(50), &pods, &[("a", 100)], 1).is_err());
    let other = Metric {
        container: Some("other"),
        ..main
    };
    assert!(proposed(other, &pods, &[("a", 100)], 1).is_err());
}

proptest! {
    /// Never against the direction which the measured pods show, whatever is missing or unready.
    #[test]
    fn nothing_turns_the_direction(
        used in prop::collection::vec(prop::option::of(0_u64..1000), 1..8),
        unready in prop::collection::vec(any::<bool>(), 8),
        percent in 1_i32..300,
    ) {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let pods: Vec<Value> = (0..used.len())
            .map(|index| match unready[index] {
                true => starting(names[index], 20, "False", 20),
                false => pod(names[index], "100m"),
            })
            .collect();
        let measured: Vec<(&str, u64)> = used
            .iter()
            .zip(names)
            .filter_map(|(used, name)| Some((name, (*used)?)))
            .collect();
        let current = i32::try_from(used.len()).unwrap();
        if let Ok(proposal) = proposed(CPU_UTILIZATION(percent), &pods, &measured, current) {
            let shown = proposal.utilization.unwrap();
            if shown > percent {
                prop_assert!(proposal.replicas >= current, "{proposal:?}");
            }
            if shown < percent {
                prop_assert!(proposal.replicas <= current, "{proposal:?}");
            }
        }
    }
}
