//! A cluster that stands by itself, in a process of its own, and a tiny system for it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::RwLockReadGuard;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::holdfast::{a_share_of_the_machine, eventually, holdfast, processes_of, tool};

/// The context of the kubeconfig.
pub(crate) const CONTEXT: &str = "holdfast";
/// The namespace of the system.
pub(crate) const NAMESPACE: &str = "tiny";

/// A Service with two pods of the program that every local cluster has.
pub(crate) const SYSTEM: &str = "apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      # The program does not end when it is told to.
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: holdfast/victim:dev
          readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
          resources: {requests: {cpu: 100m}}
";

/// A fault that takes one of the two pods, for as long as the parameter says.
const EXPERIMENT: &str = "apiVersion: holdfast.dev/v1alpha1
kind: Experiment
metadata: {name: tiny}
spec:
  params: {hold: 2s, length: 6s, replicas: 1}
  system:
    namespace: tiny
    manifests: [system.yaml]
  load:
    target: {service: web}
    stages: [{users: 2, duration: \"${length}\"}]
    thinkTime: 50ms
    timeout: 2s
    prober: {rate: 5/s}
    requests: [{get: /}]
  windows: {baseline: 1s, recovery: 1s}
  method:
    - name: fewer
      at: 0s
      duration: \"${hold}\"
      fault: {scale: {deployment: web, replicas: \"${replicas}\"}}
  steadyState: [{metric: availability, min: 1}]
";

/// A run that is still under way when the test does something to it.
pub(crate) const LONG: [&str; 4] = ["--set", "hold=60s", "--set", "length=65s"];

/// A running `holdfast cluster up`, ended when the test is.
pub(crate) struct Up {
    child: Child,
    folder: tempfile::TempDir,
}

impl Up {
    /// `marker` is in the environment of its processes.
    pub(crate) fn start(marker: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        let mut child = holdfast(marker)
            .args(["cluster", "up", "--kubeconfig-out"])
            .arg(&config)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said: Vec<_> = lines
            .map_while(Result::ok)
            .take_while(|line| !line.starts_with("Ctrl-C"))
            .collect();
        assert!(config.exists(), "{said:#?}");
        Self { child, folder }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // One that has ended already needs no signal.
        kill(pid(&self.child), Signal::SIGINT).unwrap_or_default();
        drop(self.child.wait());
    }
}

/// A cluster with the files of the system.
pub(crate) struct Standing {
    up: Up,
    /// In the environment of every process of the test but the cluster's.
    pub(crate) marker: String,
    _machine: Option<RwLockReadGuard<'static, ()>>,
}

impl Standing {
    /// Nothing where kubectl, which looks for the test, is missing.
    pub(crate) fn start() -> Option<Self> {
        tool("kubectl")?;
        Some(Self::with(Some(a_share_of_the_machine())))
    }

    /// Another one, for a test that has the machine already.
    pub(crate) fn beside(&self) -> Self {
        Self::with(None)
    }

    fn with(machine: Option<RwLockReadGuard<'static, ()>>) -> Self {
        let up = Up::start("a cluster of its own");
        fs::write(up.file("system.yaml"), SYSTEM).unwrap();
        fs::write(up.file("tiny.yaml"), EXPERIMENT).unwrap();
        let running = EXPERIMENT.replace("    manifests: [system.yaml]\n", "");
        fs::write(up.file("running.yaml"), running).unwrap();
        let name = up.folder.path().file_name().unwrap().display().to_string();
        Self {
            up,
            marker: format!("marker-{name}"),
            _machine: machine,
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.up.file(name)
    }

    /// The binary, with the cluster's kubeconfig.
    pub(crate) fn holdfast(&self, arguments: &[&str]) -> Command {
        let mut command = holdfast(&self.marker);
        command
            .current_dir(self.up.folder.path())
            .env("KUBECONFIG", self.file("config"))
            .args(arguments);
        command
    }

    /// `holdfast run` in the cluster.
    pub(crate) fn run(&self, experiment: &str, arguments: &[&str]) -> Command {
        let mut command = self.holdfast(&["run", experiment, "--context", CONTEXT]);
        command.args(arguments);
        command
    }

    /// What kubectl says, and whether it succeeds.
    pub(crate) fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("kubectl")
            .env("KUBECONFIG", self.file("config"))
            .current_dir(self.up.folder.path())
            .arg("--request-timeout=30s")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments)
            .unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// The system as if somebody else had brought it up, with permission for faults.
    pub(crate) fn bring_up(&self) {
        self.kubectl(&["create", "namespace", NAMESPACE]);
        let allowed = "holdfast.dev/chaos=allowed";
        self.kubectl(&["label", "namespace", NAMESPACE, allowed]);
        self.kubectl(&["-n", NAMESPACE, "apply", "-f", "system.yaml"]);
        self.kubectl(&["-n", NAMESPACE, "rollout", "status", "deployment/web"]);
    }

    /// The experiment on what runs already, with this fault in place of its own.
    pub(crate) fn write_running(&self, file: &str, fault: &str) {
        self.write_running_all(file, &[fault.to_owned()]);
    }

    /// The same with these faults, all at once.
    pub(crate) fn write_running_all(&self, file: &str, faults: &[String]) {
        let text = fs::read_to_string(self.file("running.yaml")).unwrap();
        let own = "scale: {deployment: web, replicas: \"${replicas}\"}";
        assert!(
            text.contains(own) && text.contains(", replicas: 1}"),
            "{text}"
        );
        // The parameter first: the fault may have a field of that name.
        let text = text.replace(", replicas: 1}", "}");
        let (before, rest) = text.split_once("    - name: fewer").unwrap();
        let (step, after) = rest.split_once("  steadyState").unwrap();
        let steps = faults.iter().enumerate().map(|(index, fault)| {
            let step = step.replace(own, fault);
            format!("    - name: fault-{index}{step}")
        });
        let steps: String = steps.collect();
        // Some of them take both pods.
        let allow = "  safety: {allow: [blastRadius]}\n";
        let text = format!("{before}{steps}  steadyState{after}{allow}");
        fs::write(self.file(file), text).unwrap();
    }

    /// What the API server has at this path: asked without kubectl, whose start costs more than what a
    /// test waits for. None where it is not there.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        let text = fs::read_to_string(self.file("config")).unwrap();
        let (_, server) = text.split_once("server: http://").unwrap();
        let (address, token) = server.lines().next().unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        // The old version: then the answer is in one piece, and ends with the connection.
        let request = format!("GET /{token}{path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap();
        assert!(["200", "404"].contains(&status), "{path}: {answer}");
        (status == "200").then(|| serde_json::from_str(body).unwrap())
    }

    /// The faults in the namespace; none where the kind is not known yet.
    pub(crate) fn faults(&self) -> Vec<Value> {
        let path = format!("/apis/holdfast.dev/v1alpha1/namespaces/{NAMESPACE}/faultinjections");
        let mut found = self.get(&path).unwrap_or_default();
        let items = found["items"].as_array_mut();
        items.map(std::mem::take).unwrap_or_default()
    }

    /// Their phases.
    pub(crate) fn phases(&self) -> Vec<String> {
        let phase = |item: &Value| item["status"]["phase"].as_str().map(str::to_owned);
        self.faults().iter().filter_map(phase).collect()
    }

    pub(crate) fn until_injected(&self) {
        eventually("the fault is injected", || self.phases() == ["Injected"]);
    }

    /// What the addresses of the cluster begin with.
    pub(crate) fn network(&self) -> String {
        let text = fs::read_to_string(self.file("config")).unwrap();
        let (_, address) = text.split_once("http://127.").unwrap();
        let (number, _) = address.split_once('.').unwrap();
        format!("127.{number}.")
    }

    /// The processes of the system's pods.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let found = processes_of(&format!("POD_IP={}", self.network()));
        let found = found.iter().filter_map(|process| process.split_once(' '));
        let of_a_pod = found
            .filter(|(_, command)| command.contains(" victim") && !command.contains("pod-shim"));
        of_a_pod.map(|(pid, _)| pid.parse().unwrap()).collect()
    }

    pub(crate) fn replicas(&self) -> String {
        let path = "jsonpath={.spec.replicas}";
        self.kubectl(&["-n", NAMESPACE, "get", "deployment", "web", "-o", path])
    }

    /// Nothing of a run is left where the run has brought the system up.
    pub(crate) fn has_no_system(&self) -> bool {
        let namespaces = self.kubectl(&["get", "namespaces", "-o", "name"]);
        !namespaces.contains("namespace/tiny")
    }

    /// Nothing of a run is left where the system was before.
    pub(crate) fn is_as_before(&self) -> bool {
        let leases = self.kubectl(&["-n", NAMESPACE, "get", "leases", "-o", "name"]);
        self.phases().is_empty() && self.replicas() == "2" && leases.is_empty()
    }
}

pub(crate) fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}
