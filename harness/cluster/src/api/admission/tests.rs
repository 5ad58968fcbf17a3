use super::*;

fn deployment(change: impl FnOnce(&mut Value)) -> Value {
    let mut deployment = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "web:1"}]},
            },
        },
    });
    change(&mut deployment);
    set_defaults(&Resource::Deployments, &mut deployment);
    deployment
}

fn service(change: impl FnOnce(&mut Value)) -> Value {
    let mut service = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    change(&mut service);
    set_defaults(&Resource::Services, &mut service);
    service
}

fn fields(outcome: Result<(), ApiError>) -> Vec<String> {
    match outcome {
        Ok(()) => Vec::new(),
        Err(ApiError::Invalid { causes, .. }) => {
            causes.into_iter().map(|cause| cause.field).collect()
        }
        Err(other) => panic!("{other}"),
    }
}

fn problems_of_deployment(change: impl FnOnce(&mut Value)) -> Vec<String> {
    fields(check(&Resource::Deployments, &deployment(change), None))
}

fn problems_of_service(change: impl FnOnce(&mut Value)) -> Vec<String> {
    fields(check(&Resource::Services, &service(change), None))
}

#[test]
fn a_deployment_gets_its_defaults() {
    let deployment = deployment(|deployment| {
        let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
        container["readinessProbe"] = json!({"httpGet": {"port": 80}});
        container["resources"] = json!({"limits": {"cpu": "1"}});
    });
    let spec = &deployment["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["progressDeadlineSeconds"], 600);
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
    assert_eq!(spec["strategy"], strategy);
    assert_eq!(
        spec["template"]["spec"]["terminationGracePeriodSeconds"],
        30
    );
    let container = &spec["template"]["spec"]["containers"][0];
    let probe = json!({
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    });
    assert_eq!(container["readinessProbe"], probe);
    assert_eq!(container["resources"]["requests"]["cpu"], "1");
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(
        fields(check(&Resource::Deployments, &deployment, None)),
        Vec::<String>::new()
    );
}

#[test]
fn defaults_are_idempotent() {
    let once = deployment(|_| {});
    let mut twice = once.clone();
    set_defaults(&Resource::Deployments, &mut twice);
    assert_eq!(once, twice);
}

#[test]
fn a_rollout_must_be_able_to_move() {
    let problems = problems_of_deployment(|deployment| {
        deployment["spec"]["strategy"] =
            json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}});
        deployment["spec"]["progressDeadlineSeconds"] = 5.into();
        deployment["spec"]["minReadySeconds"] = 5.into();
    });
    assert_eq!(
        problems,
        [
            "spec.progressDeadlineSeconds",
            "spec.strategy.rollingUpdate.maxUnavailable"
        ]
    );
}

#[test]
fn a_selector_must_match_its_template_and_stay() {
    let other = problems_of_deployment(|deployment| {
        deployment["spec"]["template"]["metadata"]["labels"]["app"] = "other".into();
    });
    assert_eq!(other, ["spec.template.metadata.labels"]);
    let changed = deployment(|deployment| {
        deployment["spec"]["selector"]["matchLabels"]["x"] = "y".into();
        deployment["spec"]["template"]["metadata"]["labels"]["x"] = "y".into();
    });
    assert_eq!(
        fields(check(
            &Resource::Deployments,
            &changed,
            Some(&deployment(|_| {}))
        )),
        ["spec.selector"]
    );
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let problems = problems_of_deployment(|deployment| {
        let spec = &mut deployment["spec"]["template"]["spec"];
        spec["hostNetwork"] = true.into();
        spec["volumes"] =
            json!([{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}]);
        spec["containers"][0]["ports"] = json!([{"containerPort": 80, "protocol": "UDP"}]);
        spec["containers"][0]["securityContext"] =
            json!({"runAsUser": 1, "runAsNonRoot": true, "privileged": true});
    });
    assert_eq!(
        problems,
        [
            "spec.template.spec.hostNetwork",
            "spec.template.spec.volumes[0].hostPath",
            "spec.template.spec.containers[0].securityContext.runAsUser",
            "spec.template.spec.containers[0].ports[0].protocol",
        ]
    );
    assert_eq!(
        problems_of_service(|service| service["spec"]["type"] = "NodePort".into()),
        ["spec.type"]
    );
    let sticky =
        problems_of_service(|service| service["spec"]["sessionAffinity"] = "ClientIP".into());
    assert_eq!(sticky, ["spec.sessionAffinity"]);
    let udp = problems_of_service(|service| service["spec"]["ports"][0]["protocol"] = "UDP".into());
    assert_eq!(udp, ["spec.ports[0].protocol"]);
}

/// The problems of the only container of a pod, without the path to it.
fn problems_of_container(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let problems = problems_of_deployment(|deployment| {
        change(&mut deployment["spec"]["template"]["spec"]["containers"][0]);
    });
    let container = "spec.template.spec.containers[0].";
    let inside = problems
        .iter()
        .map(|problem| problem.strip_prefix(container));
    inside
        .map(|problem| problem.unwrap_or("elsewhere").to_owned())
        .collect()
}

#[test]
fn every_way_to_ask_a_container_is_known() {
    for handler in [
        json!({"grpc": {"port": 80, "service": "shop"}}),
        json!({"httpGet": {"port": "https", "scheme": "HTTPS"}}),
        json!({"tcpSocket": {"port": 80}}),
        json!({"exec": {"command": ["true"]}}),
    ] {
        let problems = problems_of_container(|container| {
            for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
                container[probe] = handler.clone();
            }
        });
        assert_eq!(problems, Vec::<String>::new(), "{handler}");
    }
}

#[test]
fn probes_that_make_no_sense_are_refused() {
    for (probe, field) in [
        (json!({}), ""),
        (json!({"grpc": {"port": 0}}), ".grpc.port"),
        (json!({"tcpSocket": {"port": "No_Name"}}), ".tcpSocket.port"),
        (json!({"exec": {"command": []}}), ".exec.command"),
        (
            json!({"httpGet": {"port": 1, "scheme": "FTP"}}),
            ".httpGet.scheme",
        ),
        (
            json!({"httpGet": {"port": 1, "httpHeaders": [{"name": "a b", "value": ""}]}}),
            ".httpGet.httpHeaders[0].name",
        ),
        (
            json!({"tcpSocket": {"port": 1}, "periodSeconds": -1}),
            ".periodSeconds",
        ),
        (
            json!({"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 0}),
            ".terminationGracePeriodSeconds",
        ),
        (
            json!({"tcpSocket": {"port": 1}, "successThreshold": 2}),
            ".successThreshold",
        ),
    ] {
        let problems =
            problems_of_container(|container| container["livenessProbe"] = probe.clone());
        assert_eq!(problems, [format!("livenessProbe{field}")], "{probe}");
    }
    let of_liveness = json!({"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 5});
    let problems = problems_of_container(|container| {
        container["livenessProbe"] = of_liveness.clone();
        container["readinessProbe"] = of_liveness;
    });
    assert_eq!(problems, ["readinessProbe.terminationGracePeriodSeconds"]);
}

#[test]
fn zero_seconds_of_a_probe_are_no_seconds_given() {
    let deployment = deployment(|deployment| {
        let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
        container["readinessProbe"] =
            json!({"tcpSocket": {"port": 1}, "periodSeconds": 0, "timeoutSeconds": 0});
    });
    let probe = &deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"];
    assert_eq!(probe["periodSeconds"], 10);
    assert_eq!(probe["timeoutSeconds"], 1);
}

#[test]
fn a_hook_may_sleep_for_as_long_as_the_grace_period() {
    let problems = |seconds: i64| {
        problems_of_container(|container| {
            container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": seconds}}});
        })
    };
    assert!(problems(0).is_empty() && problems(30).is_empty());
    for seconds in [-1, 31] {
        assert_eq!(problems(seconds), ["lifecycle.preStop.sleep"]);
    }
}

#[test]
fn nothing_is_asked_of_init_containers() {
    let problems = problems_of_deployment(|deployment| {
        deployment["spec"]["template"]["spec"]["initContainers"] = json!([{
            "name": "i", "image": "web:1",
            "readinessProbe": {"tcpSocket": {"port": 1}},
            "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
        }]);
    });
    let container = "spec.template.spec.initContainers[0]";
    assert_eq!(
        problems,
        [
            format!("{container}.readinessProbe"),
            format!("{container}.lifecycle"),
        ]
    );
}

fn pod(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "web:1"}]},
    });
    change(&mut pod["spec"]);
    set_defaults(&Resource::Pods, &mut pod);
    pod
}

#[test]
fn times_and_policies_of_pods_are_checked() {
    let problems = |change: &dyn Fn(&mut Value)| fields(check(&Resource::Pods, &pod(change), None));
    let none = Vec::<String>::new();
    assert_eq!(
        problems(&|spec| spec["activeDeadlineSeconds"] = 1.into()),
        none
    );
    let gate = json!([{"conditionType": "shop.test/warm"}]);
    assert_eq!(
        problems(&|spec| spec["readinessGates"] = gate.clone()),
        none
    );
    for (field, value) in [
        ("activeDeadlineSeconds", json!(0)),
        ("activeDeadlineSeconds", json!(1_i64 << 31)),
        ("terminationGracePeriodSeconds", json!(-1)),
        ("restartPolicy", json!("Sometimes")),
    ] {
        assert_eq!(
            problems(&|spec| spec[field] = value.clone()),
            [format!("spec.{field}")]
        );
    }
}

#[test]
fn pods_get_the_class_that_a_real_node_would_give_them() {
    let class = |resources: Value| {
        let mut pod = json!({"spec": {"containers": [{"resources": resources}]}});
        prepare_new(&Resource::Pods, &mut pod);
        object::text(&pod, "/status/qosClass").to_owned()
    };
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1"}})), "Burstable");
    let whole = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
    assert_eq!(class(whole), "Guaranteed");
    let less = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "0.5"}});
    assert_eq!(class(less), "Burstable");
}

#[test]
fn mounts_are_refused_and_volumes_without_them_told() {
    let with_volume = |container: Value| {
        move |deployment: &mut Value| {
            let spec = &mut deployment["spec"]["template"]["spec"];
            spec["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
            spec["containers"][0] = container;
        }
    };
    let mounting =
        json!({"name": "c", "image": "web:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    assert_eq!(
        problems_of_deployment(with_volume(mounting)),
        ["spec.template.spec.containers[0].volumeMounts"]
    );
    let elsewhere = json!({"name": "c", "image": "web:1", "workingDir": "/srv"});
    let accepted = deployment(with_volume(elsewhere));
    assert_eq!(
        fields(check(&Resource::Deployments, &accepted, None)),
        Vec::<String>::new()
    );
    let told = warnings(&Resource::Deployments, &accepted);
    for field in ["volumes", "containers[0].workingDir"] {
        let warning = format!("spec.template.spec.{field}: ignored by the local cluster");
        assert!(told.contains(&warning), "{told:?}");
    }
}

#[test]
fn names_are_checked() {
    for name in ["Web", "-web", "web-", "1web", "a.b", ""] {
        let problems = problems_of_service(|service| service["metadata"]["name"] = name.into());
        assert_eq!(problems, ["metadata.name"], "{name}");
    }
    assert!(
        problems_of_deployment(|deployment| deployment["metadata"]["name"] = "1.web".into())
            .is_empty()
    );
}

#[test]
fn a_pod_stays_what_it_is() {
    let pod = |image: &str, tolerations: &Value| {
        let mut pod = json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "image": image}], "tolerations": tolerations},
        });
        set_defaults(&Resource::Pods, &mut pod);
        pod
    };
    let old = pod("web:1", &json!([]));
    let outcome = |new: &Value| fields(check(&Resource::Pods, new, Some(&old)));
    let tolerating = pod("web:1", &json!([{"operator": "Exists"}]));
    assert_eq!(outcome(&tolerating), Vec::<String>::new());
    assert_eq!(outcome(&pod("web:2", &json!([]))), ["spec"]);
}

#[test]
fn what_is_ignored_is_told() {
    let mut deployment = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "c", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}},
    ]}}}});
    let told: Vec<_> = warnings(&Resource::Deployments, &deployment)
        .into_iter()
        .collect();
    assert_eq!(
        told,
        ["spec.template.spec.containers[0].resources.limits: not enforced by the local cluster"]
    );
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({});
    assert!(warnings(&Resource::Deployments, &deployment).is_empty());
    let node = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
    let told: Vec<_> = warnings(&Resource::Nodes, &node).into_iter().collect();
    assert_eq!(told, ["spec.taints: ignored by the local cluster"]);
}

#[test]
fn what_a_pod_says_without_effect_is_told() {
    let silent = json!({"spec": {
        "automountServiceAccountToken": false,
        "schedulerName": "default-scheduler",
        "containers": [{"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
    }});
    assert!(warnings(&Resource::Pods, &silent).is_empty());
    let loud = json!({"spec": {
        "automountServiceAccountToken": true,
        "hostUsers": false,
        "imagePullSecrets": [{"name": "s"}],
        "schedulerName": "mine",
        "containers": [{"terminationMessagePolicy": "FallbackToLogsOnError"}],
    }});
    let told = warnings(&Resource::Pods, &loud);
    assert_eq!(told.len(), 5, "{told:?}");
}
