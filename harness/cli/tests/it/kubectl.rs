//! The real kubectl against `holdfast up`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::RwLockWriteGuard;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::holdfast::{eventually, holdfast, processes_of, the_machine, tool};
use crate::system::System;

/// A running `holdfast up`, ended and checked when the test is done.
pub(crate) struct Up {
    child: Child,
    kubeconfig: tempfile::TempDir,
    _machine: RwLockWriteGuard<'static, ()>,
}

impl Up {
    /// Starts it with the given manifests and waits until it says that all is ready.
    pub(crate) fn start(marker: &str, manifests: &std::path::Path) -> Self {
        let machine = the_machine();
        let kubeconfig = tempfile::tempdir().unwrap();
        let mut child = holdfast(marker)
            .arg("up")
            .arg(manifests)
            .arg("--kubeconfig-out")
            .arg(kubeconfig.path().join("config"))
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        for line in lines.map_while(Result::ok) {
            let ready = line.starts_with("Ctrl-C");
            said.push(line);
            if ready {
                return Self {
                    child,
                    kubeconfig,
                    _machine: machine,
                };
            }
        }
        child.wait().unwrap();
        panic!("holdfast up ended: {}", said.join("\n"));
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let output = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.kubeconfig.path().join("config"))
            .arg("--request-timeout=30s")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {error}{text}"
        );
        text
    }

    /// Ctrl-C; it must end with success and leave nothing.
    pub(crate) fn end(mut self) {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            Signal::SIGINT,
        )
        .unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        assert!(!self.kubeconfig.path().join("config").exists());
    }
}

impl Drop for Up {
    /// A test that failed half-way must not keep the ports.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One test, because `up` publishes fixed ports on 127.0.0.1: two at once are in each other's way.
#[test]
fn kubectl_sees_changes_and_the_seeds_siege_command_works() {
    if tool("kubectl").is_none() {
        return;
    }
    let marker = format!("up-{}", std::process::id());
    let system = System::new();
    let up = Up::start(&marker, &system.services());

    let all = up.kubectl(&["get", "deploy,po,svc,endpointslices"]);
    for column in [
        "READY",
        "UP-TO-DATE",
        "AVAILABLE",
        "CLUSTER-IP",
        "ENDPOINTS",
        "RESTARTS",
    ] {
        assert!(all.contains(column), "{all}");
    }
    assert!(
        all.contains("deployment.apps/app") && all.contains("service/pay"),
        "{all}"
    );

    let watched = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(up.kubeconfig.path().join("config"))
        .args(["get", "deploy", "pay", "-w", "--request-timeout=60s"])
        .stdout(Stdio::piped())
        .spawn();
    let mut watch = watched.unwrap();
    let mut rows = BufReader::new(watch.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(rows.next().unwrap().starts_with("NAME"));
    up.kubectl(&["scale", "deploy", "pay", "--replicas=2"]);
    assert!(
        rows.any(|row| row.contains("2/2")),
        "the watch shows both pods ready"
    );
    watch.kill().unwrap();
    watch.wait().unwrap();

    up.kubectl(&["rollout", "status", "deploy", "pay"]);
    let before = up.kubectl(&[
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/name=app",
        "-o",
        "name",
    ]);
    if tool("siege").is_some() {
        crate::siege::the_seeds_command();
    }
    up.kubectl(&["delete", before.trim(), "--wait=false"]);
    eventually("another pod takes its place", || {
        let now = up.kubectl(&[
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/name=app",
            "-o",
            "name",
        ]);
        now.lines().any(|name| name != before.trim())
    });
    up.kubectl(&["rollout", "status", "deploy", "app"]);
    assert!(!up.kubectl(&["logs", "deploy/app"]).is_empty());

    up.end();
    eventually("no process is left", || processes_of(&marker).is_empty());
}
