//! Pods that do harm inside the cluster and end by themselves: the agent (`harness/docs/agent.md`).

use serde_json::{Value, json};

use crate::action::{Action, Condition, Create, Wait};
use crate::blueprint::Context;
use crate::object::Resource;

/// Where the agent says how it is.
pub(super) const STATUS_PORT: u16 = 8099;

/// An agent to be made.
#[derive(Clone, Debug, Default)]
pub(super) struct Agent {
    /// Tells the agents of one fault apart.
    pub(super) suffix: String,
    /// The mode and its parameters.
    pub(super) arguments: Vec<String>,
    /// The node it must be on; `None`: any.
    pub(super) node: Option<String>,
    /// What it may do as root to the processes of its node, in the kernel's words; none: it sees its
    /// own processes alone.
    pub(super) capabilities: &'static [&'static str],
    /// The ports it listens on besides the status port, by name.
    pub(super) ports: Vec<(String, u16)>,
    /// Labels by which a Service finds it.
    pub(super) labels: Vec<(String, String)>,
}

impl Agent {
    fn name(&self, context: Context<'_>) -> String {
        format!("holdfast-{}{}", context.name, self.suffix)
    }

    /// It is made, and in effect when it is ready.
    pub(super) fn actions(&self, context: Context<'_>) -> [Action; 2] {
        let name = self.name(context);
        [
            Action::Create(Create {
                resource: Resource::Pod,
                name: name.clone(),
                manifest: self.manifest(context),
            }),
            Action::Wait(Wait::for_evidence(Condition::PodReady(name))),
        ]
    }

    fn manifest(&self, context: Context<'_>) -> Value {
        let own = [
            "--until".to_owned(),
            context.not_after.to_string(),
            "--status-port".to_owned(),
            STATUS_PORT.to_string(),
        ];
        let arguments: Vec<_> = self.arguments.iter().cloned().chain(own).collect();
        let ports = self.ports.iter();
        let ports = ports.map(|(name, port)| json!({"name": name, "containerPort": port}));
        let status = json!({"name": "status", "containerPort": STATUS_PORT});
        let ports: Vec<_> = ports.chain([status]).collect();
        let labels: serde_json::Map<_, _> = self
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .chain([("app.kubernetes.io/name".to_owned(), json!("holdfast-agent"))])
            .collect();
        let mut spec = json!({
            // What it has undone must not be done again.
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 3,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "agent",
                "image": context.agent_image,
                "args": arguments,
                "ports": ports,
                "readinessProbe": {
                    "httpGet": {"path": "/healthz", "port": "status"},
                    "periodSeconds": 1,
                },
            }],
        });
        if let Some(node) = &self.node {
            spec["nodeName"] = json!(node);
        }
        if !self.capabilities.is_empty() {
            spec["hostPID"] = json!(true);
            let capabilities = json!({"drop": ["ALL"], "add": self.capabilities});
            spec["containers"][0]["securityContext"] = json!({"capabilities": capabilities});
        }
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name(context), "labels": labels},
            "spec": spec,
        })
    }
}
