//! What the cluster costs while the reference system (k8s/services) is deployed and idle, and what a
//! probe costs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use holdfast_cluster::{ImageMap, Program};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::wait::await_condition;
use serde_json::{Value, from_value};

use crate::measure::{Idle, children, megabytes, memory, microseconds};
use crate::site::{DEADLINE, Site};

/// How long the idle system is looked at: two measurements of what pods use are in it.
const LOOK: Duration = Duration::from_secs(30);

/// The images of the system, which are packages of this workspace.
const PACKAGES: [(&str, &str); 2] = [("holdfast/app:dev", "app"), ("holdfast/pay:dev", "pay")];

pub(crate) async fn run() {
    println!("\n## Reference system, idle for {} s\n", LOOK.as_secs());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let programs = build(&root);
    let objects = manifests(&root.join("k8s/services"));
    println!(
        "| k8s/services | idle CPU, % of a core | own memory, MB | of it private, MB | shims: private memory together, MB |\n|---|---|---|---|---|"
    );
    let (with, probes) = row("as it is", &programs, &objects).await;
    let bare: Vec<Value> = objects.into_iter().map(without_probes).collect();
    let (without, _) = row("without its probes", &programs, &bare).await;
    let cost = with.saturating_sub(without).as_secs_f64() / (probes * LOOK.as_secs_f64());
    println!(
        "\nA probe costs {} µs ({probes:.1} of them in a second).",
        microseconds(Duration::from_secs_f64(cost))
    );
}

/// Builds the services as `holdfast up` does, and returns their programs by image.
fn build(root: &Path) -> BTreeMap<&'static str, PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        .args(["build", "--release", "--workspace"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    for (_, package) in PACKAGES {
        command.args(["--bin", package]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "cargo's own words are above");
    let messages = String::from_utf8(output.stdout).unwrap();
    let executables: BTreeMap<String, PathBuf> = messages.lines().filter_map(executable).collect();
    let images = PACKAGES.into_iter();
    images
        .map(|(image, package)| (image, executables[package].clone()))
        .collect()
}

/// The target's name and its program, if a line of cargo's tells of one.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let name = message["target"]["name"].as_str()?;
    Some((name.to_owned(), message["executable"].as_str()?.into()))
}

fn manifests(folder: &Path) -> Vec<Value> {
    let files = std::fs::read_dir(folder).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    texts
        .flat_map(|text| serde_saphyr::from_multiple::<Value>(&text).unwrap())
        .collect()
}

const PROBES: [&str; 3] = ["startupProbe", "readinessProbe", "livenessProbe"];

fn containers(object: &mut Value) -> impl Iterator<Item = &mut Value> {
    let containers = object.pointer_mut("/spec/template/spec/containers");
    containers
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

fn without_probes(mut object: Value) -> Value {
    for container in containers(&mut object) {
        let container = container.as_object_mut().unwrap();
        container.retain(|field, _| !PROBES.contains(&field.as_str()));
    }
    object
}

/// How many probes a ready pod of this object is asked in a second.
fn probes_per_second(object: &Value) -> f64 {
    let mut object = object.clone();
    let period = |probe: &Value| probe["periodSeconds"].as_f64().unwrap_or(10.0);
    containers(&mut object)
        .flat_map(|container| PROBES[1..].iter().filter_map(|&probe| container.get(probe)))
        .map(|probe| 1.0 / period(probe))
        .sum()
}

/// Prints a row, and returns the processor time and the number of probes in a second.
async fn row(
    way: &str,
    programs: &BTreeMap<&'static str, PathBuf>,
    objects: &[Value],
) -> (Duration, f64) {
    let images = programs
        .iter()
        .map(|(image, program)| ((*image).to_owned(), Program::new(program)));
    let site = Site::with_images(images.collect::<ImageMap>()).await;
    deploy(&site, objects).await;
    let idle = Idle::look(LOOK).await;
    let (private, resident) = memory(std::process::id());
    let shims: u64 = children().into_iter().map(|shim| memory(shim).0).sum();
    println!(
        "| {way} | {} | {} | {} | {} |",
        idle.percent(),
        megabytes(resident),
        megabytes(private),
        megabytes(shims)
    );
    site.end().await;
    (idle.used, objects.iter().map(probes_per_second).sum())
}

async fn deploy(site: &Site, objects: &[Value]) {
    let services: Api<Service> = Api::default_namespaced(site.client.clone());
    let deployments: Api<Deployment> = Api::default_namespaced(site.client.clone());
    let parameters = PostParams::default();
    let mut names = Vec::new();
    for object in objects {
        match object["kind"].as_str() {
            Some("Service") => {
                let service = from_value(object.clone()).unwrap();
                services.create(&parameters, &service).await.unwrap();
            }
            Some("Deployment") => {
                let deployment = from_value(object.clone()).unwrap();
                deployments.create(&parameters, &deployment).await.unwrap();
                names.push(object["metadata"]["name"].as_str().unwrap());
            }
            // Asked only when a pod is to be evicted.
            Some("PodDisruptionBudget") => {}
            kind => panic!("k8s/services has a {kind:?}, which is not deployed here"),
        }
    }
    for name in names {
        let is_available = |found: Option<&Deployment>| {
            let status = found.and_then(|deployment| deployment.status.as_ref());
            status.is_some_and(|status| status.available_replicas >= Some(1))
        };
        let available = await_condition(deployments.clone(), name, is_available);
        tokio::time::timeout(DEADLINE, available)
            .await
            .unwrap()
            .unwrap();
    }
}
