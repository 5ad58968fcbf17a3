//! A Service with pods behind it, and probers that use it from within the cluster.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::check::{Shortfall, failed};
use crate::context::Context;
use crate::transcript::{Line, Transcript};
use crate::victim::Counts;

/// Every part of a check is over by then.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// Creates a Service; `address:port` of it.
pub(super) async fn service(context: &Context, part: &str) -> Result<String, Shortfall> {
    let service = context.create::<Service>(context.service(part)).await?;
    let address = service.spec.and_then(|spec| spec.cluster_ip);
    let address = address.ok_or_else(|| failed("the Service has no clusterIP"))?;
    Ok(format!("{address}:80"))
}

/// Creates a Deployment and waits until it is rolled out.
pub(super) async fn deploy(
    context: &Context,
    part: &str,
    container: Value,
    spec: Value,
) -> Result<(), Shortfall> {
    let object = context.deployment(part, container, spec);
    context.create::<Deployment>(object).await?;
    until_rolled_out(context, part).await
}

/// Replaces the pods by such with another version in their environment, and waits for the end of
/// the rollout.
pub(super) async fn roll(context: &Context, part: &str, version: u32) -> Result<(), Shortfall> {
    let variable = json!({"name": "VERSION", "value": version.to_string()});
    let pod = json!({"spec": {"containers": [{"name": "victim", "env": [variable]}]}});
    let change = json!({"spec": {"template": pod}});
    context
        .patch_strategically::<Deployment>(&context.name(part), change)
        .await?;
    until_rolled_out(context, part).await
}

async fn until_rolled_out(context: &Context, part: &str) -> Result<(), Shortfall> {
    let name = context.name(part);
    let done = |deployment: Option<&Deployment>| {
        deployment.is_some_and(|deployment| {
            let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
            deployment.status.as_ref().is_some_and(|status| {
                status.observed_generation >= deployment.metadata.generation
                    && status.updated_replicas == wanted
                    && status.replicas == wanted
                    && status.available_replicas == wanted
            })
        })
    };
    let what = "the Deployment is rolled out";
    context
        .until::<Deployment>(&name, what, PATIENCE, done)
        .await?;
    Ok(())
}

/// A client in the cluster, which tells what becomes of its connections.
#[derive(Debug)]
pub(super) struct Prober {
    transcript: Transcript,
    pod: String,
    /// What it counted before it was asked for anything.
    before: Counts,
}

impl Prober {
    /// Starts one.
    pub(super) async fn launch(
        context: &Context,
        part: &str,
        target: &str,
        arguments: &[&str],
    ) -> Result<Self, Shortfall> {
        let words = [&["probe", "--target", target], arguments].concat();
        let changes = json!({"restartPolicy": "Never"});
        let object = context.pod(part, context.victim(&words), changes);
        let pod = context.create::<Pod>(object).await?.name_any();
        Ok(Self {
            transcript: context.transcript(&pod),
            pod,
            before: Counts::default(),
        })
    }

    /// Starts one, and waits until it is answered: what it counts begins there.
    pub(super) async fn start(
        context: &Context,
        part: &str,
        target: &str,
        arguments: &[&str],
    ) -> Result<Self, Shortfall> {
        let mut prober = Self::launch(context, part, target, arguments).await?;
        let answered = |counts: &Counts| counts.answers() > 0;
        prober.before = prober.until("the prober is answered", answered).await?;
        Ok(prober)
    }

    /// The counts so far.
    pub(super) fn counts(&self) -> Counts {
        let counts = last(&self.transcript.lines());
        counts.map_or_else(Counts::default, |counts| counts.since(&self.before))
    }

    /// Waits until the counts are as wanted.
    pub(super) async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&Counts) -> bool,
    ) -> Result<Counts, Shortfall> {
        let find = |lines: &[Line]| {
            let counts = last(lines)?.since(&self.before);
            wanted(&counts).then_some(counts)
        };
        self.transcript.until(what, PATIENCE, find).await
    }

    /// Ends the prober (if it does not end by itself), and returns all it counted.
    pub(super) async fn finish(self, context: &Context) -> Result<Counts, Shortfall> {
        context.delete::<Pod>(&self.pod).await?;
        self.finished().await
    }

    /// Waits until the prober has ended, and returns all it counted.
    pub(super) async fn finished(self) -> Result<Counts, Shortfall> {
        let lines = self.transcript.to_end(PATIENCE).await?;
        let counts = last(&lines).ok_or_else(|| failed("the prober counted nothing"))?;
        Ok(counts.since(&self.before))
    }
}

fn last(lines: &[Line]) -> Option<Counts> {
    let mut counts = lines.iter().rev();
    counts.find_map(|line| serde_json::from_str(line.words.strip_prefix("counts ")?).ok())
}

/// The failures, in words.
pub(super) fn failures(counts: &Counts) -> String {
    if counts.failed.is_empty() {
        return "no failure".to_owned();
    }
    let kinds = counts.failed.iter();
    let kinds: Vec<String> = kinds.map(|(kind, n)| format!("{n} {kind}")).collect();
    kinds.join(", ")
}
