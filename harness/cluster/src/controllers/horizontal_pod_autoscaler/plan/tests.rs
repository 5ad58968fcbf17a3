use serde_json::{Value, json};

use super::*;
use crate::metrics::Usage;

const START: i64 = 10_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// An autoscaler of one workload, tick by tick.
struct Story {
    autoscaler: Value,
    replicas: i32,
    history: History,
    request: Option<&'static str>,
    phase: &'static str,
    now: i64,
}

impl Story {
    fn new(replicas: i32, spec: Value) -> Self {
        let mut spec = spec;
        if spec["metrics"].is_null() {
            spec["metrics"] = json!([cpu(50)]);
        }
        Self {
            autoscaler: json!({"metadata": {"name": "web"}, "spec": spec}),
            replicas,
            history: History::default(),
            request: Some("100m"),
            phase: "Running",
            now: START,
        }
    }

    fn pods(&self) -> Vec<Arc<Pod>> {
        let requests = self
            .request
            .map_or(json!({}), |request| json!({"requests": {"cpu": request}}));
        let old = crate::clock::rfc3339(at(START - 1000));
        let pod = |index: i32| {
            serde_json::from_value(json!({
                "metadata": {"name": format!("web-{index}")},
                "spec": {"containers": [{"name": "main", "resources": requests}]},
                "status": {
                    "phase": self.phase, "startTime": old,
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": old}],
                },
            }))
        };
        (0..self.replicas)
            .map(|index| Arc::new(pod(index).unwrap()))
            .collect()
    }

    /// A quarter of a minute passes; each pod uses this many thousandths of a core.
    fn tick(&mut self, milli: Option<u64>) -> Plan {
        self.now += 15;
        let pods = self.pods();
        let sample = |milli: u64| PodSample {
            timestamp: at(self.now),
            window: Duration::from_secs(15),
            containers: BTreeMap::from([(
                "main".to_owned(),
                Usage {
                    cpu_nanocores: milli * 1_000_000,
                    memory_bytes: 0,
                },
            )]),
        };
        let samples = pods
            .iter()
            .filter_map(|pod| Some((pod.metadata.name.clone()?, sample(milli?))))
            .collect();
        self.turn(Ok(self.replicas), Ok(pods), samples)
    }

    fn turn(
        &mut self,
        replicas: Result<i32, String>,
        pods: Result<Vec<Arc<Pod>>, NoPods>,
        samples: BTreeMap<String, PodSample>,
    ) -> Plan {
        let autoscaler = serde_json::from_value(self.autoscaler.clone()).unwrap();
        let situation = Situation {
            autoscaler: &autoscaler,
            replicas,
            pods,
            samples,
            options: &AutoscalingOptions::default(),
            now: at(self.now),
        };
        let mut plan = plan(&situation, &mut self.history);
        if let Some(rescale) = plan.rescale.clone() {
            self.replicas = rescale.to;
            if let Some(period) = longest_period(&autoscaler) {
                self.history
                    .scaled(rescale.from, rescale.to, at(self.now), period);
            }
            plan.conclude(&rescale, Ok(()), 0, at(self.now));
        }
        self.autoscaler["status"] = serde_json::to_value(&plan.status).unwrap();
        plan
    }

    fn condition(&self, type_: &str) -> (&str, &str) {
        let conditions = self.autoscaler["status"]["conditions"].as_array().unwrap();
        let condition = conditions
            .iter()
            .find(|known| known["type"] == type_)
            .unwrap();
        let text = |field: &str| condition[field].as_str().unwrap();
        (text("status"), text("reason"))
    }
}

fn cpu(percent: i32) -> Value {
    json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent},
    }})
}

fn reasons(plan: &Plan) -> Vec<&'static str> {
    plan.events.iter().map(|event| event.reason).collect()
}

#[test]
fn use_above_target_adds_replicas_and_says_why() {
    let mut story = Story::new(1, json!({"minReplicas": 1, "maxReplicas": 10}));
    let plan = story.tick(Some(100));
    assert_eq!(story.replicas, 2);
    assert_eq!(
        plan.events,
        [Note {
            severity: Severity::Normal,
            reason: "SuccessfulRescale",
            message:
                "New size: 2; reason: cpu resource utilization (percentage of request) above target"
                    .to_owned(),
        }]
    );
    let status = &story.autoscaler["status"];
    assert_eq!(
        (&status["currentReplicas"], &status["desiredReplicas"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        status["lastScaleTime"],
        crate::clock::rfc3339(at(START + 15))
    );
    assert_eq!(
        status["currentMetrics"],
        json!([{"type": "Resource", "resource": {
            "name": "cpu", "current": {"averageUtilization": 100, "averageValue": "100m"},
        }}])
    );
    assert_eq!(story.condition("AbleToScale"), ("True", "SucceededRescale"));
    assert_eq!(
        story.condition("ScalingActive"),
        ("True", "ValidMetricFound")
    );
    assert_eq!(
        story.condition("ScalingLimited"),
        ("False", "DesiredWithinRange")
    );
}

#[test]
fn a_small_deviation_changes_nothing() {
    let mut story = Story::new(10, json!({"maxReplicas": 20, "metrics": [cpu(100)]}));
    story.tick(Some(109));
    assert_eq!(story.replicas, 10);
    assert_eq!(story.condition("AbleToScale"), ("True", "ReadyForNewScale"));
    story.tick(Some(111));
    assert_eq!(story.replicas, 12);
}

#[test]
fn replicas_stay_for_five_minutes_when_the_load_stops() {
    let mut story = Story::new(1, json!({"maxReplicas": 10}));
    story.tick(Some(150));
    story.tick(Some(50));
    assert_eq!(story.replicas, 3);
    let idle_since = story.now;
    story.tick(Some(0));
    assert_eq!(
        story.condition("AbleToScale"),
        ("True", "ScaleDownStabilized")
    );
    while story.replicas == 3 {
        story.tick(Some(0));
    }
    assert_eq!(story.now - idle_since, 300);
    assert_eq!(story.replicas, 1);
    assert_eq!(
        story.condition("ScalingLimited"),
        ("True", "TooFewReplicas")
    );
}

#[test]
fn new_pods_that_are_not_measured_do_not_overshoot() {
    let mut story = Story::new(1, json!({"maxReplicas": 100}));
    story.tick(Some(10_000));
    assert_eq!(story.replicas, 4, "four at first");
    assert_eq!(story.condition("ScalingLimited"), ("True", "ScaleUpLimit"));
    story.tick(Some(10_000));
    assert_eq!(story.replicas, 8, "then twice as many");
}

#[test]
fn without_a_request_nothing_is_decided() {
    let mut story = Story::new(2, json!({"maxReplicas": 10}));
    story.request = None;
    let plan = story.tick(Some(100));
    assert_eq!(plan.rescale, None);
    assert_eq!(
        story.condition("AbleToScale"),
        ("True", "SucceededGetScale")
    );
    assert_eq!(
        story.condition("ScalingActive"),
        ("False", "FailedGetResourceMetric")
    );
    assert_eq!(
        reasons(&plan),
        ["FailedGetResourceMetric", "FailedComputeMetricsReplicas"]
    );
    assert_eq!(
        plan.events[1].message,
        "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: missing request for cpu in container main of Pod web-0"
    );
    assert_eq!(
        story.autoscaler["status"]["currentMetrics"],
        json!([{"type": ""}])
    );
}

#[test]
fn nothing_is_decided_before_the_first_measurements() {
    let mut story = Story::new(1, json!({"maxReplicas": 10}));
    let plan = story.tick(None);
    assert_eq!((plan.rescale, story.replicas), (None, 1));
    assert_eq!(
        story.condition("ScalingActive"),
        ("False", "FailedGetResourceMetric")
    );
    story.tick(Some(100));
    assert_eq!(
        story.condition("ScalingActive"),
        ("True", "ValidMetricFound")
    );
}

#[test]
fn the_highest_metric_wins_and_a_failed_one_permits_only_more() {
    let memory = json!({"type": "Resource", "resource": {
        "name": "memory", "target": {"type": "Utilization", "averageUtilization": 50},
    }});
    let metrics = json!([memory, cpu(50), cpu(25)]);
    let mut story = Story::new(2, json!({"maxReplicas": 10, "metrics": metrics}));
    let plan = story.tick(Some(50));
    assert_eq!(story.replicas, 4, "half a request is twice 25 %");
    assert_eq!(
        reasons(&plan),
        ["FailedGetResourceMetric", "SuccessfulRescale"]
    );
    assert_eq!(
        story.autoscaler["status"]["currentMetrics"][0],
        json!({"type": ""})
    );
    let plan = story.tick(Some(1));
    assert_eq!((plan.rescale, story.replicas), (None, 4));
    assert_eq!(
        story.condition("ScalingActive"),
        ("False", "FailedGetResourceMetric")
    );
}

#[test]
fn a_container_metric_acts_and_fails_under_its_own_name() {
    let of = |container| {
        let target = json!({"type": "Utilization", "averageUtilization": 50});
        let source = json!({"name": "cpu", "container": container, "target": target});
        let metric = json!({"type": "ContainerResource", "containerResource": source});
        Story::new(2, json!({"maxReplicas": 10, "metrics": [metric]}))
    };
    let mut story = of("main");
    let plan = story.tick(Some(100));
    let message = "New size: 4; reason: cpu container resource utilization (percentage of request) above target";
    assert_eq!(plan.events[0].message, message);
    let mut story = of("other");
    let plan = story.tick(Some(50));
    let expected = ("False", "FailedGetContainerResourceMetric");
    assert_eq!(story.condition("ScalingActive"), expected);
    assert_eq!(
        plan.events[1].message,
        "invalid metrics (1 invalid out of 1), first error is: failed to get other container metric value: failed to get cpu utilization: did not receive metrics for targeted pods (pods might be unready)"
    );
}

#[test]
fn an_earlier_recommendation_brings_replicas_back_without_a_reason() {
    let mut story = Story::new(2, json!({"maxReplicas": 10}));
    story.tick(Some(100));
    assert_eq!(story.replicas, 4);
    // Somebody else scales it in; what is left is as busy as it should be.
    story.replicas = 2;
    let plan = story.tick(Some(50));
    assert_eq!(story.replicas, 4);
    assert_eq!(plan.events[0].message, "New size: 4; reason: ");
}

#[test]
fn replicas_out_of_range_are_brought_back_without_metrics() {
    let mut story = Story::new(20, json!({"minReplicas": 2, "maxReplicas": 10}));
    let plan = story.tick(None);
    assert_eq!(story.replicas, 10);
    let message = "New size: 10; reason: Current number of replicas above Spec.MaxReplicas";
    assert_eq!(plan.events[0].message, message);
    let mut story = Story::new(1, json!({"minReplicas": 2, "maxReplicas": 10}));
    story.tick(None);
    assert_eq!(story.replicas, 2);
}

#[test]
fn zero_replicas_switch_an_autoscaler_off() {
    let mut story = Story::new(0, json!({"minReplicas": 1, "maxReplicas": 10}));
    let plan = story.tick(None);
    assert_eq!((reasons(&plan), plan.rescale), (vec![], None));
    assert_eq!(
        story.condition("ScalingActive"),
        ("False", "ScalingDisabled")
    );
}

#[test]
fn a_target_that_is_not_there_is_told() {
    let mut story = Story::new(1, json!({"maxReplicas": 10}));
    let missing = Err("deployments.apps \"web\" not found".to_owned());
    let plan = story.turn(missing, Ok(Vec::new()), BTreeMap::new());
    assert_eq!(story.condition("AbleToScale"), ("False", "FailedGetScale"));
    assert_eq!(reasons(&plan), ["FailedGetScale"]);
}

#[test]
fn pods_of_two_autoscalers_are_left_alone() {
    let mut story = Story::new(1, json!({"maxReplicas": 10}));
    story.tick(Some(50));
    let message = "pods by selector app=web are controlled by multiple HPAs".to_owned();
    let problem = NoPods {
        condition: ("AmbiguousSelector", message.clone()),
        event: ("AmbiguousSelector", message),
    };
    let plan = story.turn(Ok(1), Err(problem), BTreeMap::new());
    assert_eq!(
        (&plan.rescale, &plan.status.current_metrics),
        (&None, &None)
    );
    assert_eq!(
        story.condition("ScalingActive"),
        ("False", "AmbiguousSelector")
    );
    assert_eq!(
        reasons(&plan),
        ["AmbiguousSelector", "FailedComputeMetricsReplicas"]
    );
}

#[test]
fn a_refused_change_is_told_and_not_counted() {
    let mut story = Story::new(1, json!({"maxReplicas": 10}));
    let mut plan = story.tick(Some(100));
    let rescale = Rescale {
        from: 1,
        to: 2,
        reason: "because".to_owned(),
    };
    plan.events.clear();
    plan.conclude(&rescale, Err("conflict".to_owned()), 1, at(START));
    assert_eq!(plan.status.desired_replicas, 1);
    assert_eq!(reasons(&plan), ["FailedRescale"]);
}

#[test]
fn a_behavior_sets_windows_and_rates() {
    let behavior = json!({
        "scaleUp": {
            "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 30, "selectPolicy": "Max",
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        },
    });
    let mut story = Story::new(
        1,
        json!({"minReplicas": 1, "maxReplicas": 10, "behavior": behavior}),
    );
    let mut after = |milli: u64| {
        story.tick(Some(milli));
        story.replicas
    };
    let ups: Vec<i32> = (0..6).map(|_| after(1000)).collect();
    assert_eq!(ups, [2, 2, 2, 2, 3, 3], "one a minute");
    let downs: Vec<i32> = (0..3).map(|_| after(0)).collect();
    assert_eq!(
        downs,
        [3, 1, 1],
        "half a minute after the last high recommendation"
    );
}

#[test]
fn the_transition_time_changes_with_the_status_only() {
    let mut story = Story::new(1, json!({"maxReplicas": 10}));
    story.tick(Some(50));
    let since =
        |story: &Story| story.autoscaler["status"]["conditions"][0]["lastTransitionTime"].clone();
    let first = since(&story);
    story.tick(Some(100));
    assert_eq!(story.condition("AbleToScale"), ("True", "SucceededRescale"));
    assert_eq!(since(&story), first);
}
