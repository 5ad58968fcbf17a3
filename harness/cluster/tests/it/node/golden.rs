//! Every kubectl command which the cluster is meant for, in one story: each
//! ends well and prints the columns or the words that users know.

use std::time::Duration;

use holdfast_cluster::{AutoscalingOptions, Options};

use super::stage::Stage;
use crate::kubectl::Kubectl;

/// What a command prints.
enum Prints {
    /// These words as its first line, however wide the gaps.
    Columns(&'static str),
    /// This text somewhere.
    Text(&'static str),
}
use Prints::{Columns, Text};

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: shell
        args: ["-c", "while :; do echo tick; sleep 0.2; done"]
        resources: {requests: {cpu: 10m}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"#;

/// Applying and looking.
const LOOK: &[(&str, Prints)] = &[
    ("apply -f web.yaml", Text("deployment.apps/web created")),
    (
        "rollout status deploy/web --timeout=60s",
        Text("successfully rolled out"),
    ),
    ("apply -f web.yaml", Text("deployment.apps/web unchanged")),
    (
        "apply --server-side -f web.yaml",
        Text("deployment.apps/web serverside-applied"),
    ),
    ("diff -f web.yaml", Text("")),
    ("get deploy", Columns("NAME READY UP-TO-DATE AVAILABLE AGE")),
    (
        "get deploy -o wide",
        Columns("NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR"),
    ),
    (
        "get rs -o wide",
        Columns("NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR"),
    ),
    ("get po", Columns("NAME READY STATUS RESTARTS AGE")),
    (
        "get po -o wide",
        Columns("NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"),
    ),
    (
        "get svc -o wide",
        Columns("NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR"),
    ),
    (
        "get endpointslices",
        Columns("NAME ADDRESSTYPE PORTS ENDPOINTS AGE"),
    ),
    (
        "get events",
        Columns("LAST SEEN TYPE REASON OBJECT MESSAGE"),
    ),
    (
        "get events -o wide",
        Columns("LAST SEEN TYPE REASON OBJECT SUBOBJECT SOURCE MESSAGE FIRST SEEN COUNT NAME"),
    ),
    ("get ns", Columns("NAME STATUS AGE")),
    (
        "get no -o wide",
        Columns(
            "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME",
        ),
    ),
    ("get all", Text("deployment.apps/web")),
    ("get deploy web -o yaml", Text("kind: Deployment")),
    ("get po -l app=web -o name", Text("pod/web-")),
    (
        "get po -A --field-selector=status.phase=Running",
        Columns("NAMESPACE NAME READY STATUS RESTARTS AGE"),
    ),
    ("describe deploy web", Text("NewReplicaSet:")),
    ("describe rs", Text("Controlled By:")),
    ("describe po", Text("Scheduled")),
    ("describe svc web", Text("TargetPort:")),
    ("describe no", Text("Allocated resources:")),
    ("describe ns default", Text("Status:")),
    ("logs deploy/web --tail=1", Text("tick")),
    ("version", Text("Server Version: v1.33")),
    (
        "api-resources",
        Columns("NAME SHORTNAMES APIVERSION NAMESPACED KIND"),
    ),
    ("api-versions", Text("apps/v1")),
    ("cluster-info", Text("is running at")),
    ("auth can-i create deployments", Text("yes")),
    ("auth can-i get pods --subresource=log", Text("yes")),
    (
        "auth can-i --list",
        Columns("Resources Non-Resource URLs Resource Names Verbs"),
    ),
];

/// Changing what is there.
const CHANGE: &[(&str, Prints)] = &[
    (
        "set env deploy/web A=1",
        Text("deployment.apps/web env updated"),
    ),
    (
        "set resources deploy/web --requests=cpu=20m",
        Text("resource requirements updated"),
    ),
    ("set image deploy/web main=victim", Text("image updated")),
    ("rollout undo deploy/web", Text("rolled back")),
    ("rollout restart deploy/web", Text("restarted")),
    ("rollout pause deploy/web", Text("paused")),
    ("rollout resume deploy/web", Text("resumed")),
    ("rollout history deploy/web", Text("REVISION")),
    (
        "rollout status deploy/web --timeout=60s",
        Text("successfully rolled out"),
    ),
    ("scale deploy/web --replicas=3", Text("scaled")),
    (
        "wait deploy/web --for=condition=Available --timeout=60s",
        Text("condition met"),
    ),
    (
        "wait deploy/web --for=jsonpath={.status.readyReplicas}=3 --timeout=60s",
        Text("condition met"),
    ),
    ("label deploy/web team=a", Text("labeled")),
    ("annotate deploy/web note=b", Text("annotated")),
    (
        "patch deploy/web -p {\"spec\":{\"minReadySeconds\":1}}",
        Text("patched"),
    ),
    (
        "patch deploy/web --type=merge -p {\"spec\":{\"minReadySeconds\":0}}",
        Text("patched"),
    ),
    (
        "patch deploy/web --type=json -p [{\"op\":\"remove\",\"path\":\"/metadata/annotations/note\"}]",
        Text("patched"),
    ),
    ("top pods", Columns("NAME CPU(cores) MEMORY(bytes)")),
    (
        "top nodes",
        Columns("NAME CPU(cores) CPU(%) MEMORY(bytes) MEMORY(%)"),
    ),
    (
        "autoscale deploy/web --min=1 --max=3 --cpu-percent=80",
        Text("autoscaled"),
    ),
    (
        "get hpa",
        Columns("NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE"),
    ),
    ("describe hpa web", Text("Deployment/web")),
    ("cordon local", Text("cordoned")),
    ("uncordon local", Text("uncordoned")),
];

/// Making and removing.
const MAKE: &[(&str, Prints)] = &[
    ("drain local --timeout=25s --force", Text("drained")),
    ("uncordon local", Text("uncordoned")),
    (
        "create deployment pay --image=shell -- sleep 100",
        Text("deployment.apps/pay created"),
    ),
    (
        "create pdb web --selector=app=web --min-available=1",
        Text("poddisruptionbudget.policy/web created"),
    ),
    (
        "get pdb",
        Columns("NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE"),
    ),
    (
        "expose deploy/pay --port=81 --target-port=8081",
        Text("service/pay exposed"),
    ),
    (
        "create configmap settings --from-literal=a=1",
        Text("configmap/settings created"),
    ),
    ("get cm", Columns("NAME DATA AGE")),
    ("create namespace shop", Text("namespace/shop created")),
    (
        "create job once --image=shell -- /bin/sh -c true",
        Text("job.batch/once created"),
    ),
    ("get jobs", Columns("NAME STATUS COMPLETIONS DURATION AGE")),
    ("describe job once", Text("Completions:")),
    (
        "wait job/once --for=condition=Complete --timeout=60s",
        Text("condition met"),
    ),
    (
        "run one --image=shell --restart=Never --command -- sleep 100",
        Text("pod/one created"),
    ),
    (
        "delete po one --force --grace-period=0",
        Text("force deleted"),
    ),
    (
        "delete deploy pay --cascade=foreground --wait=false",
        Text("deleted"),
    ),
    ("delete ns shop", Text("deleted")),
    (
        "delete -f web.yaml",
        Text("deployment.apps \"web\" deleted"),
    ),
    (
        "delete hpa,jobs,cm --all",
        Text("job.batch \"once\" deleted"),
    ),
    ("wait po -l app=web --for=delete --timeout=60s", Text("")),
];

/// Runs the commands and returns what is wrong with any of them.
async fn tell(kubectl: &Kubectl, story: &[(&str, Prints)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (command, prints) in story {
        let words: Vec<_> = command.split(' ').collect();
        let output = kubectl.output(&words).await;
        let printed = String::from_utf8_lossy(&output.stdout);
        let is_as_expected = match prints {
            Columns(columns) => {
                let first = printed.lines().next().unwrap_or_default();
                let words: Vec<_> = first.split_whitespace().collect();
                words.join(" ") == *columns
            }
            Text(text) => printed.contains(text),
        };
        if !output.status.success() || !is_as_expected {
            let errors = String::from_utf8_lossy(&output.stderr);
            wrong.push(format!("kubectl {command}: {errors}{printed}"));
        }
    }
    wrong
}

#[tokio::test]
async fn every_command_ends_well() {
    let stage = Stage::with(Options {
        autoscaling: AutoscalingOptions {
            metric_resolution: Duration::from_secs(1),
            ..AutoscalingOptions::default()
        },
        ..Options::default()
    })
    .await;
    let Some(kubectl) = Kubectl::find(&stage.kubeconfig()).await else {
        return stage.shutdown().await;
    };
    kubectl.write("web.yaml", MANIFEST);
    let mut wrong = tell(&kubectl, LOOK).await;
    wrong.extend(tell(&kubectl, CHANGE).await);
    wrong.extend(tell(&kubectl, MAKE).await);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stage.shutdown().await;
}

/// What cannot be done is said plainly.
#[tokio::test]
async fn what_is_not_served_is_said_plainly() {
    let stage = Stage::new().await;
    let Some(kubectl) = Kubectl::find(&stage.kubeconfig()).await else {
        return stage.shutdown().await;
    };
    let secrets = kubectl.output(&["auth", "can-i", "get", "secrets"]).await;
    assert!(!secrets.status.success());
    let said = String::from_utf8_lossy(&secrets.stdout);
    assert!(
        said.starts_with("no - the local cluster does not serve"),
        "{said}"
    );
    let secrets = kubectl.fail(&["get", "secrets"]).await;
    assert!(
        secrets.contains("doesn't have a resource type \"secrets\""),
        "{secrets}"
    );
    let explained = kubectl.fail(&["explain", "deployment"]).await;
    assert!(
        explained.contains("not found in OpenAPI schema"),
        "{explained}"
    );
    stage.shutdown().await;
}
