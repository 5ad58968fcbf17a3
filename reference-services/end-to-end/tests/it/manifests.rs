//! The manifests of the services tell a cluster of each what it needs to keep it going, and operators
//! where to ask.

use std::path::{Path, PathBuf};

use serde_json::Value;

const SERVICES: [&str; 7] = [
    "app",
    "auditor",
    "customer",
    "gateway",
    "marketing",
    "pay",
    "store",
];

fn manifests(place: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../k8s")
        .join(place)
}

fn read(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// The objects of this kind, of all services.
fn objects(kind: &str) -> Vec<Value> {
    let folders = ["services", "food-delivery"].map(manifests);
    let files = folders.iter().map(|it| std::fs::read_dir(it).unwrap());
    let objects = files.flatten().flat_map(|it| read(&it.unwrap().path()));
    objects.filter(|it| it["kind"] == kind).collect()
}

/// The Deployment of each service.
fn deployments() -> Vec<Value> {
    let mut deployments = objects("Deployment");
    deployments.sort_by(|a, b| name(a).cmp(name(b)));
    let names: Vec<_> = deployments.iter().map(name).collect();
    assert_eq!(names, SERVICES);
    deployments
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// The one container of a Deployment's pods.
fn container(deployment: &Value) -> &Value {
    let containers = &deployment["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().unwrap().len(), 1);
    &containers[0]
}

/// Whether `selector` is that of pods with the labels of a Deployment's.
fn selects(selector: &Value, deployment: &Value) -> bool {
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let selector = selector.as_object().unwrap();
    !selector.is_empty() && selector.iter().all(|(name, value)| labels[name] == *value)
}

/// The number of the port that a container has by this name.
fn port(container: &Value, name: &Value) -> Option<u64> {
    let mut ports = container["ports"].as_array().unwrap().iter();
    ports.find(|it| it["name"] == *name)?["containerPort"].as_u64()
}

fn is_asked(container: &Value, probe: &str, path: &str) -> bool {
    let question = &container[probe]["httpGet"];
    question["path"] == path && port(container, &question["port"]).is_some()
}

#[test]
fn a_cluster_is_told_of_each_service_what_it_needs_and_how_to_part_with_it() {
    let budgets = objects("PodDisruptionBudget");
    for deployment in deployments() {
        let name = name(&deployment);
        let container = container(&deployment);
        let resources = &container["resources"];
        let is_told = |kind: &str, resource: &str| !resources[kind][resource].is_null();
        let is_its_own = |it: &&Value| selects(&it["spec"]["selector"]["matchLabels"], &deployment);
        for (what, is_there) in [
            (
                "readiness probe",
                is_asked(container, "readinessProbe", "/readyz"),
            ),
            (
                "liveness probe",
                is_asked(container, "livenessProbe", "/livez"),
            ),
            (
                "pause before it stops",
                container["lifecycle"]["preStop"].is_object(),
            ),
            ("request of processors", is_told("requests", "cpu")),
            ("request of memory", is_told("requests", "memory")),
            // What leaks is to end itself, and not its neighbours.
            ("limit of memory", is_told("limits", "memory")),
            // Of two, none would count: a pod that has two cannot be evicted.
            (
                "disruption budget that is the only one",
                budgets.iter().filter(is_its_own).count() == 1,
            ),
        ] {
            assert!(is_there, "{name} has no {what}");
        }
        // A container that has used up its share of the processors stands still for the rest of every
        // tenth of a second. Under load that would be measured as slowness of the service.
        let is_limited = is_told("limits", "cpu");
        assert!(!is_limited, "{name} has a limit of processors");
    }
}

#[test]
fn prometheus_asks_each_service_at_the_port_that_its_probes_ask() {
    let config = read(&manifests("monitoring/prometheus.yaml"));
    let jobs = config[0]["scrape_configs"].as_array().unwrap();
    let services = objects("Service");
    for deployment in deployments() {
        let name = name(&deployment);
        let probed = &container(&deployment)["readinessProbe"]["httpGet"]["port"];
        let job = jobs.iter().find(|it| it["job_name"] == name);
        let job = job.unwrap_or_else(|| panic!("{name} is not asked"));
        let mut ports = services
            .iter()
            .filter(|it| selects(&it["spec"]["selector"], &deployment))
            .flat_map(|it| it["spec"]["ports"].as_array().unwrap());
        let port = &ports.find(|it| it["targetPort"] == *probed).unwrap()["port"];
        assert_eq!(
            job["static_configs"][0]["targets"][0],
            format!("localhost:{port}"),
            "{name}"
        );
    }
}

#[test]
fn clients_of_the_gateway_are_not_led_to_what_is_for_operators() {
    let deployments = deployments();
    let gateway = deployments.iter().find(|it| name(it) == "gateway").unwrap();
    let container = container(gateway);
    let mut env = container["env"].as_array().unwrap().iter();
    let admin = &env.find(|it| it["name"] == "ADMIN_PORT").unwrap()["value"];
    let named = port(container, &"admin".into()).unwrap();
    assert_eq!(*admin, named.to_string());

    let services = objects("Service");
    let entry = services.iter().find(|it| name(it) == "gateway").unwrap();
    for port in entry["spec"]["ports"].as_array().unwrap() {
        assert_eq!(port["targetPort"], "http");
    }
}
