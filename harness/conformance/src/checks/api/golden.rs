//! The commands that people use, each with the columns or words that it must show.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::check::{Finding, Shortfall, verdict};
use crate::context::{Context, readiness_probe};
use crate::kubectl;
use crate::value::merged;

/// Metrics appear when a pod was measured twice.
const METRICS_WITHIN: Duration = Duration::from_secs(75);
const RETRY: Duration = Duration::from_secs(2);

/// `$app` stands for the Deployment's name and that of its Service, `$pod` for one of its pods,
/// `$pods` for a selector of them, `$image` for its image. `|` separates the words that must be
/// shown, in this order.
const COMMANDS: &[(&str, &str)] = &[
    (
        "rollout status deploy/$app --timeout=60s",
        "successfully rolled out",
    ),
    (
        "wait --for=condition=available deploy/$app --timeout=60s",
        "condition met",
    ),
    (
        "get pods -l $pods",
        "NAME|READY|STATUS|RESTARTS|AGE|1/1|Running|0",
    ),
    (
        "get pods -l $pods -o wide",
        "NAME|READY|STATUS|RESTARTS|AGE|IP|NODE|NOMINATED NODE|READINESS GATES",
    ),
    (
        "get pod $pod -o yaml",
        "apiVersion: v1|kind: Pod|phase: Running",
    ),
    ("get deploy $app", "NAME|READY|UP-TO-DATE|AVAILABLE|AGE|2/2"),
    (
        "get deploy $app -o wide",
        "NAME|READY|UP-TO-DATE|AVAILABLE|AGE|CONTAINERS|IMAGES|SELECTOR",
    ),
    ("get deploy $app -o jsonpath={.spec.replicas}", "2"),
    ("get rs -l $pods", "NAME|DESIRED|CURRENT|READY|AGE"),
    (
        "get rs -l $pods -o wide",
        "NAME|DESIRED|CURRENT|READY|AGE|CONTAINERS|IMAGES|SELECTOR",
    ),
    (
        "get svc $app -o wide",
        "NAME|TYPE|CLUSTER-IP|EXTERNAL-IP|PORT(S)|AGE|SELECTOR|ClusterIP|<none>|80/TCP",
    ),
    (
        "get endpointslices",
        "NAME|ADDRESSTYPE|PORTS|ENDPOINTS|AGE|IPv4",
    ),
    ("get nodes", "NAME|STATUS|ROLES|AGE|VERSION|Ready"),
    (
        "get nodes -o wide",
        "INTERNAL-IP|EXTERNAL-IP|OS-IMAGE|KERNEL-VERSION|CONTAINER-RUNTIME",
    ),
    ("get namespaces", "NAME|STATUS|AGE|Active"),
    ("get leases -A", "NAMESPACE|NAME|HOLDER|AGE"),
    ("get configmap $app", "NAME|DATA|AGE"),
    (
        "get pdb $app",
        "NAME|MIN AVAILABLE|MAX UNAVAILABLE|ALLOWED DISRUPTIONS|AGE",
    ),
    ("get events", "LAST SEEN|TYPE|REASON|OBJECT|MESSAGE"),
    (
        "get events -o wide",
        "LAST SEEN|TYPE|REASON|OBJECT|SUBOBJECT|SOURCE|MESSAGE|FIRST SEEN|COUNT|NAME",
    ),
    (
        "describe deploy $app",
        "Name:|Selector:|Replicas:|StrategyType:|Conditions:|Events:",
    ),
    (
        "describe pod $pod",
        "Name:|Node:|IP:|Containers:|Conditions:|Events:",
    ),
    ("logs $pod", "start"),
    ("logs deploy/$app --tail=2", "get"),
    ("label deploy $app a=b", "labeled"),
    ("annotate deploy $app a=b", "annotated"),
    (
        "patch svc $app -p {\"metadata\":{\"labels\":{\"z\":\"1\"}}}",
        "patched",
    ),
    ("scale deploy/$app --replicas=3", "scaled"),
    ("set env deploy/$app A=1", "env updated"),
    (
        "set resources deploy/$app --requests=cpu=60m",
        "resource requirements updated",
    ),
    ("set image deploy/$app victim=$image", ""),
    (
        "rollout status deploy/$app --timeout=60s",
        "successfully rolled out",
    ),
    ("rollout pause deploy/$app", "paused"),
    ("rollout resume deploy/$app", "resumed"),
    ("rollout restart deploy/$app", "restarted"),
    (
        "rollout status deploy/$app --timeout=60s",
        "successfully rolled out",
    ),
    ("rollout history deploy/$app", "REVISION|CHANGE-CAUSE|1"),
    ("rollout undo deploy/$app", "rolled back"),
    (
        "rollout status deploy/$app --timeout=60s",
        "successfully rolled out",
    ),
    (
        "autoscale deploy/$app --min=1 --max=3 --cpu-percent=50",
        "autoscaled",
    ),
    (
        "get hpa $app",
        "NAME|REFERENCE|TARGETS|MINPODS|MAXPODS|REPLICAS|AGE|Deployment/",
    ),
    (
        "describe hpa $app",
        "Name:|Reference:|Metrics:|Min replicas:|Max replicas:",
    ),
    ("label hpa $app $run", "labeled"),
    (
        "api-resources",
        "NAME|SHORTNAMES|APIVERSION|NAMESPACED|KIND|deployments",
    ),
    ("auth can-i create pods", "yes"),
    ("version", "Server Version:"),
    ("top pods -l $pods", "NAME|CPU(cores)|MEMORY(bytes)"),
    ("top nodes", "NAME|CPU(cores)|MEMORY(bytes)"),
    ("create configmap $app-made --from-literal=a=b", "created"),
    ("delete configmap $app-made", "deleted"),
    ("delete hpa $app", "deleted"),
    ("delete pod $pod --ignore-not-found", ""),
    ("delete deploy $app", "deleted"),
];

pub(super) async fn commands(context: Context) -> Finding {
    let version = kubectl::run(&context, &["version", "--client"]).await?;
    let manifests = manifests(&context);
    let budget = budget(&context).to_string();
    let inputs = [
        ("apply -f -", &manifests),
        ("apply -f - --server-side --force-conflicts", &manifests),
        ("create -f -", &budget),
    ];
    let mut problems = Vec::new();
    for (command, input) in inputs {
        let arguments: Vec<&str> = command.split(' ').collect();
        let ended = kubectl::run_with(&context, &arguments, input).await?;
        problems.extend(problem(command, &ended, "app"));
    }
    for (command, shows) in COMMANDS {
        problems.extend(try_command(&context, command, shows).await?);
    }
    let client = version.out.lines().next().unwrap_or_default();
    let count = COMMANDS.len() + inputs.len();
    if problems.is_empty() {
        return Ok(format!("{count} commands; {client}"));
    }
    let list = problems.join("; ");
    verdict(
        false,
        format!("{} of {count} commands: {list}", problems.len()),
    )
}

/// What is wrong with a command, if anything is.
async fn try_command(
    context: &Context,
    command: &str,
    shows: &str,
) -> Result<Option<String>, Shortfall> {
    let begun = Instant::now();
    let pod = if command.contains("$pod ") || command.ends_with("$pod") {
        a_pod(context).await?
    } else {
        String::new()
    };
    let words = command.split(' ').map(|word| {
        word.replace("$pods", &context.selector("app"))
            .replace("$pod", &pod)
            .replace("$app", &context.name("app"))
            .replace("$image", &context.victim_image)
            .replace(
                "$run",
                &format!("{}={}", crate::context::RUN_LABEL, context.run),
            )
    });
    let words: Vec<String> = words.collect();
    let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
    loop {
        let ended = kubectl::run(context, &arguments).await?;
        let problem = problem(command, &ended, shows);
        let may_come = command.starts_with("top ") && begun.elapsed() < METRICS_WITHIN;
        if problem.is_none() || !may_come {
            return Ok(problem);
        }
        sleep(RETRY).await;
    }
}

fn problem(command: &str, ended: &kubectl::Ended, shows: &str) -> Option<String> {
    if ended.code != 0 {
        let said = ended.err.lines().last().unwrap_or_default();
        return Some(format!("`{command}` exits {}: {said}", ended.code));
    }
    let mut rest = ended.out.as_str();
    for word in shows.split('|') {
        match rest.find(word) {
            Some(position) => rest = &rest[position + word.len()..],
            None => return Some(format!("`{command}` does not show {word:?}")),
        }
    }
    None
}

/// A pod of the Deployment that is running.
async fn a_pod(context: &Context) -> Result<String, Shortfall> {
    let pods = context
        .list::<k8s_openapi::api::core::v1::Pod>("app")
        .await?;
    let running = pods
        .into_iter()
        .find(|pod| pod.metadata.deletion_timestamp.is_none() && crate::context::is_ready(pod));
    let name = running.and_then(|pod| pod.metadata.name);
    Ok(name.unwrap_or_else(|| "none-is-ready".to_owned()))
}

/// As the documents of a YAML file.
fn manifests(context: &Context) -> String {
    let container = merged(
        context.victim(&[]),
        json!({
            "readinessProbe": readiness_probe(),
            "resources": {"requests": {"cpu": "50m"}},
        }),
    );
    let deployment: Value = context.deployment("app", container, json!({"replicas": 2}));
    let metadata = json!({"name": context.name("app"), "labels": context.labels("app")});
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"},
    });
    let documents = [map, context.service("app"), deployment].map(|object| object.to_string());
    documents.join("\n---\n")
}

fn budget(context: &Context) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": context.name("app"), "labels": context.labels("app")},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": context.labels("app")}},
    })
}
