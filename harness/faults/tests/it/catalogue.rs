//! Every kind of fault with targets of its own, so that all of them can be in effect at once.

use holdfast_core::fault::Fault;
use holdfast_core::plan::PlannedFault;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Service};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::cluster::{TestCluster, fault_of, state};

/// Faults by the name of all their targets.
pub(crate) fn catalogue() -> Vec<(&'static str, Value)> {
    vec![
        (
            "kill",
            json!({"podKill": {"deployment": "kill", "count": 1}}),
        ),
        (
            "kill-on",
            json!({"podKill": {"deployment": "kill-on", "count": 1, "grace": "0s", "every": "1s"}}),
        ),
        (
            "freeze",
            json!({"podFreeze": {"deployment": "freeze", "count": 1}}),
        ),
        (
            "flap",
            json!({"probeFlap": {"deployment": "flap", "count": 1, "down": "1s", "up": "1s"}}),
        ),
        (
            "scale",
            json!({"scale": {"deployment": "scale", "replicas": 1}}),
        ),
        (
            "rollout",
            json!({"rollout": {"deployment": "rollout", "setEnv": {"VERSION": "v2"}}}),
        ),
        (
            "restart",
            json!({"rollout": {"deployment": "restart", "restart": true}}),
        ),
        (
            "hpa-made",
            json!({"hpa": {"create": {"deployment": "hpa-made", "minReplicas": 1, "maxReplicas": 3, "cpu": 50}}}),
        ),
        ("hpa-gone", json!({"hpa": {"remove": "hpa-gone"}})),
        ("down", json!({"serviceDown": {"service": "down"}})),
        (
            "throttle",
            json!({"throttle": {"service": "throttle", "delay": "100ms"}}),
        ),
        (
            "one-caller",
            json!({"throttle": {
                "service": "one-caller",
                "from": {"deployment": "one-caller", "env": "PAY_URL"},
                "blackhole": true,
            }}),
        ),
        (
            "outage",
            json!({"dependencyOutage": {"deployment": "outage"}}),
        ),
        (
            "cpu",
            json!({"cpuPressure": {"deployment": "cpu", "workers": 1, "load": 50}}),
        ),
        (
            "memory",
            json!({"memoryPressure": {"deployment": "memory", "bytes": "1Mi"}}),
        ),
        (
            "disk",
            json!({"diskFull": {"deployment": "disk", "count": 1, "path": "/data", "leave": "1Mi"}}),
        ),
        (
            "config",
            json!({"configChange": {"configMap": "config", "set": {"PRICE": "0"}, "restart": ["config"]}}),
        ),
        ("drain", json!({"nodeDrain": {"node": "drain"}})),
    ]
}

/// The step of this name.
pub(crate) fn step((name, fault): &(&'static str, Value)) -> PlannedFault {
    let fault: Fault = serde_json::from_value(fault.clone()).unwrap();
    PlannedFault {
        name: (*name).to_owned(),
        ..fault_of(fault)
    }
}

impl TestCluster {
    /// What a fault needs: a Deployment with two ready pods on a node, a Service before it, a
    /// ConfigMap, and an autoscaler where one is to be removed. A kubelet must be at work.
    pub(crate) async fn create_targets(&self, name: &str) {
        let node = json!({"metadata": {"name": name}});
        Api::<Node>::all(self.client.clone())
            .create(
                &PostParams::default(),
                &serde_json::from_value(node).unwrap(),
            )
            .await
            .unwrap();
        self.create::<Deployment>(json!({
            "metadata": {"name": name},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {
                        "nodeName": name,
                        "containers": [{
                            "name": "main",
                            "image": "pay:1",
                            "resources": {"requests": {"cpu": "100m"}},
                            "readinessProbe": {"httpGet": {"port": 80}},
                        }],
                    },
                },
            },
        }))
        .await;
        self.create_service(name).await;
        self.create::<ConfigMap>(json!({
            "metadata": {"name": name}, "data": {"PRICE": "10000"},
        }))
        .await;
        if name == "hpa-gone" {
            self.create::<HorizontalPodAutoscaler>(json!({
                "metadata": {"name": name},
                "spec": {
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                    "minReplicas": 2,
                    "maxReplicas": 2,
                },
            }))
            .await;
        }
        self.settled(name, 2).await;
    }

    /// What a fault must leave as it was, as far as it is there.
    pub(crate) async fn targets(&self, name: &str) -> Vec<Value> {
        let mut found = Vec::new();
        found.extend(self.target::<Deployment>(name).await);
        found.extend(self.target::<Service>(name).await);
        found.extend(self.target::<ConfigMap>(name).await);
        found.extend(self.target::<HorizontalPodAutoscaler>(name).await);
        for object in &mut found {
            // A restart leaves its time, as a person's would.
            let template = object.pointer_mut("/spec/template/metadata");
            if let Some(template) = template.and_then(Value::as_object_mut) {
                template.remove("annotations");
            }
        }
        let nodes = Api::<Node>::all(self.client.clone());
        let node = nodes.get_opt(name).await.unwrap();
        let spec = node.map(|node| node.spec.unwrap_or_default());
        found.extend(spec.map(|spec| json!({"kind": "Node", "spec": spec})));
        found
    }

    async fn target<K>(&self, name: &str) -> Option<Value>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + serde::Serialize,
        K::DynamicType: Default,
    {
        self.api::<K>().get_opt(name).await.unwrap()?;
        Some(state::<K>(self, name).await)
    }
}
