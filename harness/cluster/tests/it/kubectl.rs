//! The API through the real kubectl, when there is one.

use std::process::{Output, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::cluster::{DEADLINE, TestCluster, deployment};

/// kubectl for one cluster, each call with a deadline.
pub(crate) struct Kubectl {
    home: TempDir,
}

impl Kubectl {
    /// `None`, with a message, when kubectl is not installed. With
    /// `HOLDFAST_REQUIRE_TOOLS=1` its absence is a failure.
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    pub(crate) async fn find(kubeconfig: &str) -> Option<Self> {
        let found = Command::new("kubectl")
            .args(["version", "--client"])
            .output()
            .await;
        if found.is_ok_and(|output| output.status.success()) {
            let home = tempfile::tempdir().unwrap();
            std::fs::write(home.path().join("kubeconfig"), kubeconfig).unwrap();
            return Some(Self { home });
        }
        let required = std::env::var_os("HOLDFAST_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        assert!(
            !required,
            "kubectl is required by HOLDFAST_REQUIRE_TOOLS=1 and was not found"
        );
        eprintln!("skipped: kubectl was not found");
        None
    }

    /// Puts a file where kubectl is run.
    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.home.path().join(name), content).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(arguments)
            .env("KUBECONFIG", self.home.path().join("kubeconfig"))
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn output(&self, arguments: &[&str]) -> Output {
        let output = tokio::time::timeout(DEADLINE, self.command(arguments).output()).await;
        output
            .unwrap_or_else(|_| panic!("kubectl {arguments:?} took too long"))
            .unwrap()
    }

    /// What a call prints. The call must succeed.
    pub(crate) async fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {errors}{text}"
        );
        text
    }

    /// The lines of a call that goes on, as they come. It ends when it is dropped.
    pub(crate) fn lines(&self, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
        let mut command = self.command(arguments);
        let mut call = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = call.stdout.take().unwrap();
        (call, BufReader::new(output).lines())
    }

    /// What a call says when it fails. The call must fail.
    pub(crate) async fn fail(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments).await;
        assert!(!output.status.success(), "kubectl {arguments:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
";

/// A cluster with an applied and available Deployment and its Service.
async fn applied() -> Option<(TestCluster, Kubectl)> {
    let test = TestCluster::start().await;
    let Some(kubectl) = Kubectl::find(&test.cluster.kubeconfig()).await else {
        test.cluster.shutdown().await;
        return None;
    };
    let manifest = format!("{}\n---{SERVICE}", deployment("web", 2));
    let manifest = test.write("web.yaml", &manifest);
    let printed = kubectl
        .run(&["apply", "-f", manifest.to_str().unwrap()])
        .await;
    assert_eq!(
        printed,
        "deployment.apps/web created\nservice/web created\n"
    );
    test.wait_for_deployment("web", |web| {
        web.status
            .as_ref()
            .is_some_and(|status| status.replicas == Some(2))
    })
    .await;
    test.make_ready("app=web").await;
    Some((test, kubectl))
}

/// The first words of the first line.
pub(crate) fn header(printed: &str) -> Vec<&str> {
    printed
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect()
}

#[tokio::test]
async fn applied_manifests_are_shown_in_columns() {
    let Some((test, kubectl)) = applied().await else {
        return;
    };
    let status = kubectl
        .run(&["rollout", "status", "deploy/web", "--timeout=20s"])
        .await;
    assert!(
        status.ends_with("deployment \"web\" successfully rolled out\n"),
        "{status}"
    );

    let deployments = kubectl.run(&["get", "deploy"]).await;
    assert_eq!(
        header(&deployments),
        ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    );
    assert!(deployments.contains("2/2"), "{deployments}");
    let pods = kubectl.run(&["get", "po", "-o", "wide"]).await;
    let columns = "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES";
    assert_eq!(header(&pods).join(" "), columns);
    assert_eq!(pods.lines().count(), 3, "{pods}");
    let services = kubectl.run(&["get", "svc"]).await;
    assert_eq!(
        header(&services),
        [
            "NAME",
            "TYPE",
            "CLUSTER-IP",
            "EXTERNAL-IP",
            "PORT(S)",
            "AGE"
        ]
    );
    let slices = kubectl.run(&["get", "endpointslices"]).await;
    assert_eq!(
        header(&slices),
        ["NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"]
    );
    assert!(slices.contains("127.1.128.1"), "{slices}");
    let events = kubectl.run(&["get", "events"]).await;
    assert!(events.contains("ScalingReplicaSet"), "{events}");
    let described = kubectl.run(&["describe", "deploy", "web"]).await;
    assert!(
        described.contains("RollingUpdateStrategy:  25% max unavailable, 25% max surge"),
        "{described}"
    );
    for other in ["ns", "nodes", "rs", "cm", "leases", "all"] {
        kubectl.run(&["get", other]).await;
    }
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn applying_again_changes_only_what_differs() {
    let Some((test, kubectl)) = applied().await else {
        return;
    };
    let file = test.write("again.yaml", &deployment("web", 2).to_string());
    let apply = ["apply", "-f", file.to_str().unwrap()];
    assert_eq!(kubectl.run(&apply).await, "deployment.apps/web unchanged\n");
    let mut changed = deployment("web", 2);
    let container = &mut changed["spec"]["template"]["spec"]["containers"][0];
    container.as_object_mut().unwrap().remove("env");
    test.write("again.yaml", &changed.to_string());
    assert_eq!(
        kubectl.run(&apply).await,
        "deployment.apps/web configured\n"
    );
    let env = "jsonpath={.spec.template.spec.containers[0].env}";
    assert_eq!(kubectl.run(&["get", "deploy", "web", "-o", env]).await, "");

    changed["spec"]["replcas"] = 3.into();
    test.write("again.yaml", &changed.to_string());
    let refused = kubectl.fail(&apply).await;
    assert!(
        refused.contains("strict decoding error: unknown field \"spec.replcas\""),
        "{refused}"
    );
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn what_has_no_effect_is_warned_of_and_what_cannot_be_done_is_refused() {
    let Some((test, kubectl)) = applied().await else {
        return;
    };
    let mut changed = deployment("web", 2);
    let container = &mut changed["spec"]["template"]["spec"]["containers"][0];
    container["workingDir"] = "/srv".into();
    let file = test.write("changed.yaml", &changed.to_string());
    let apply = ["apply", "-f", file.to_str().unwrap()];
    let output = kubectl.output(&apply).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let container = "spec.template.spec.containers[0]";
    let warning = format!("Warning: {container}.workingDir: ignored by the local cluster");
    assert!(output.status.success() && told.contains(&warning), "{told}");

    changed["spec"]["template"]["spec"]["containers"][0]["tty"] = true.into();
    test.write("changed.yaml", &changed.to_string());
    let refused = kubectl.fail(&apply).await;
    let cause = format!("{container}.tty: Forbidden: not supported");
    assert!(refused.contains(&cause), "{refused}");
    test.cluster.shutdown().await;
}

/// These commands send protobuf.
#[tokio::test]
async fn objects_are_created_from_the_command_line() {
    let Some((test, kubectl)) = applied().await else {
        return;
    };
    for (command, created) in [
        ("namespace shop", "namespace/shop"),
        (
            "configmap settings --from-literal=a=1",
            "configmap/settings",
        ),
        (
            "deployment pay --image=pay:1 --replicas=2 --port=8080",
            "deployment.apps/pay",
        ),
        ("job once --image=pay:1", "job.batch/once"),
    ] {
        let words: Vec<_> = ["create"].into_iter().chain(command.split(' ')).collect();
        let printed = kubectl.run(&words).await;
        assert_eq!(printed, format!("{created} created\n"));
    }
    let data = ["get", "cm", "settings", "-o", "jsonpath={.data.a}"];
    assert_eq!(kubectl.run(&data).await, "1");
    let port = "jsonpath={.spec.replicas} {..containers[0].image} {..containerPort}";
    let deployment = ["get", "deploy", "pay", "-o", port];
    assert_eq!(kubectl.run(&deployment).await, "2 pay:1 8080");
    let again = kubectl.fail(&["create", "namespace", "shop"]).await;
    assert!(again.contains("already exists"), "{again}");
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn server_side_apply_takes_over_from_client_side_apply() {
    let Some((test, kubectl)) = applied().await else {
        return;
    };
    let file = test.write("again.yaml", &deployment("web", 2).to_string());
    let apply = ["apply", "--server-side", "-f", file.to_str().unwrap()];
    for _ in 0..2 {
        assert_eq!(
            kubectl.run(&apply).await,
            "deployment.apps/web serverside-applied\n"
        );
    }
    let fresh = test.write("fresh.yaml", &deployment("fresh", 1).to_string());
    kubectl
        .run(&["apply", "--server-side", "-f", fresh.to_str().unwrap()])
        .await;
    kubectl.run(&["diff", "-f", fresh.to_str().unwrap()]).await;
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn a_deployment_is_scaled_changed_and_undone() {
    let Some((test, kubectl)) = applied().await else {
        return;
    };
    kubectl
        .run(&["rollout", "status", "deploy/web", "--timeout=20s"])
        .await;
    kubectl.run(&["scale", "deploy/web", "--replicas=1"]).await;
    kubectl
        .run(&[
            "wait",
            "deploy/web",
            "--for=jsonpath={.status.replicas}=1",
            "--timeout=20s",
        ])
        .await;
    kubectl.run(&["set", "env", "deploy/web", "A=2"]).await;
    kubectl
        .run(&[
            "wait",
            "deploy/web",
            "--for=jsonpath={.status.replicas}=2",
            "--timeout=20s",
        ])
        .await;
    let waiting = kubectl
        .fail(&["rollout", "status", "deploy/web", "--timeout=1s"])
        .await;
    assert!(waiting.contains("timed out"), "{waiting}");
    let history = kubectl.run(&["rollout", "history", "deploy/web"]).await;
    assert_eq!(
        history
            .lines()
            .filter(|line| line.starts_with(['1', '2']))
            .count(),
        2,
        "{history}"
    );
    kubectl.run(&["rollout", "undo", "deploy/web"]).await;
    kubectl
        .run(&["rollout", "status", "deploy/web", "--timeout=20s"])
        .await;
    let value = "jsonpath={.spec.template.spec.containers[0].env[0].value}";
    assert_eq!(
        kubectl.run(&["get", "deploy", "web", "-o", value]).await,
        "1"
    );
    kubectl.run(&["label", "deploy/web", "team=a"]).await;
    kubectl.run(&["annotate", "deploy/web", "note=b"]).await;
    kubectl.run(&["rollout", "pause", "deploy/web"]).await;
    kubectl.run(&["rollout", "resume", "deploy/web"]).await;
    kubectl.run(&["rollout", "restart", "deploy/web"]).await;
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn deleting_waits_until_the_object_is_gone() {
    let Some((test, kubectl)) = applied().await else {
        return;
    };
    let pods = kubectl.run(&["get", "po", "-o", "name"]).await;
    let pod = pods.lines().next().unwrap();
    kubectl.run(&["delete", pod]).await;
    let gone = kubectl.fail(&["get", pod]).await;
    assert!(gone.contains("NotFound"), "{gone}");
    kubectl.run(&["delete", "deploy/web", "svc/web"]).await;
    kubectl
        .run(&[
            "wait",
            "--for=delete",
            "po",
            "-l",
            "app=web",
            "--timeout=20s",
        ])
        .await;
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn a_watch_prints_rows_as_things_change() {
    use tokio::io::{AsyncBufReadExt, BufReader};

    let Some((test, kubectl)) = applied().await else {
        return;
    };
    kubectl
        .run(&["rollout", "status", "deploy/web", "--timeout=20s"])
        .await;
    let mut watching = kubectl
        .command(&["get", "deploy", "-w"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = async || {
        tokio::time::timeout(DEADLINE, lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    };
    assert!(next().await.starts_with("NAME"));
    assert!(next().await.contains("2/2"));
    kubectl.run(&["scale", "deploy/web", "--replicas=3"]).await;
    while !next().await.contains("2/3") {}
    watching.kill().await.unwrap();
    test.cluster.shutdown().await;
}
