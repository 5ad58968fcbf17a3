//! A small experiment on the reference services, written to a temporary folder.

use std::path::PathBuf;
use std::sync::RwLockReadGuard;

use crate::holdfast::{a_share_of_the_machine, holdfast};
use crate::system::System;

/// An experiment file of one test, with its report folder.
pub(crate) struct Scenario {
    pub(crate) folder: tempfile::TempDir,
    /// In the environment of every process of the run.
    pub(crate) marker: String,
    pub(crate) system: System,
    _machine: RwLockReadGuard<'static, ()>,
}

/// What the variable parts of the file are.
pub(crate) struct Parts {
    pub(crate) duration: &'static str,
    pub(crate) users: u32,
    /// Lines below `spec:`, e.g. a method.
    pub(crate) rest: &'static str,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            duration: "4s",
            users: 2,
            rest: "  steadyState: [{metric: availability, min: 99}]\n",
        }
    }
}

impl Scenario {
    pub(crate) fn new(parts: &Parts) -> Self {
        let system = System::new();
        let folder = tempfile::tempdir().unwrap();
        let marker = format!("marker-{}", folder.path().file_name().unwrap().display());
        let environment = format!(
            "[{{name: HOLDFAST_TEST_MARKER, value: {marker}}}, {{name: PAY_BREAKER_SLEEP, value: 1s}}]"
        );
        let text = format!(
            "apiVersion: holdfast.dev/v1alpha1
kind: Experiment
metadata: {{name: scenario}}
spec:
  title: A small run
  params: {{users: {users}, latency: 20ms}}
  system:
    namespace: food-delivery
    manifests: [{manifests}]
    patches:
      - target: {{kind: Deployment, name: app}}
        patch: {{spec: {{template: {{spec: {{containers: [{{name: app, env: {environment}}}]}}}}}}}}
      - target: {{kind: Deployment, name: pay}}
        patch:
          spec:
            template:
              spec:
                containers:
                  - name: pay
                    lifecycle: null
                    env:
                      - {{name: HOLDFAST_TEST_MARKER, value: {marker}}}
                      - {{name: PAY_LATENCY_BASE, value: \"${{latency}}\"}}
                      - {{name: PAY_LATENCY_JITTER, value: 0ms}}
  load:
    target: {{service: app}}
    stages: [{{users: \"${{users}}\", duration: {duration}}}]
    thinkTime: 50ms
    timeout: 5s
    prober: {{rate: 5/s}}
    requests: [{{post: /orders, json: {{item: chicken}}, expect: [201]}}]
{rest}",
            users = parts.users,
            manifests = system.services().display(),
            duration = parts.duration,
            rest = parts.rest,
        );
        std::fs::write(folder.path().join("scenario.yaml"), text).unwrap();
        Self {
            folder,
            marker,
            system,
            _machine: a_share_of_the_machine(),
        }
    }

    /// `holdfast run` of this scenario with its own report folder.
    pub(crate) fn run(&self) -> std::process::Command {
        let mut command = holdfast(&self.marker);
        command
            .arg("run")
            .arg(self.folder.path().join("scenario.yaml"))
            .arg("--out")
            .arg(self.reports());
        command
    }

    pub(crate) fn reports(&self) -> PathBuf {
        self.folder.path().join("reports")
    }
}
