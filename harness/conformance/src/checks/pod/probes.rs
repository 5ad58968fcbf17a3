//! What the kubelet asks of a container, and what it makes of the answers.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Probe, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::stage::{NEWS, PATIENCE, Subject, in_seconds, line, restarts};
use crate::check::{Finding, failed, verdict};
use crate::context::{Context, is_ready, readiness_probe};
use crate::journal::Journal;
use crate::victim::PORT;

/// Long enough for a probe each second to have said the same several times.
const SEVERAL_PROBES: Duration = Duration::from_secs(6);

/// Of the victim, each second.
fn probe(path: &str) -> Value {
    json!({"httpGet": {"path": path, "port": PORT}, "periodSeconds": 1})
}

pub(super) async fn defaults(context: Context) -> Finding {
    let mut container = context.victim(&[]);
    for name in ["readinessProbe", "livenessProbe", "startupProbe"] {
        container[name] = json!({"httpGet": {"path": "/ready", "port": PORT}});
    }
    let changes = json!({"terminationGracePeriodSeconds": null});
    let pod = context
        .create::<Pod>(context.pod("app", container, changes))
        .await?;
    let spec = pod.spec.ok_or_else(|| failed("the pod has no spec"))?;
    let grace = spec.termination_grace_period_seconds;
    let container = spec.containers.first();
    let probes = container.map(|container| {
        [
            &container.readiness_probe,
            &container.liveness_probe,
            &container.startup_probe,
        ]
    });
    let of = |probe: &Probe| {
        [
            probe.initial_delay_seconds.or(Some(0)),
            probe.timeout_seconds,
            probe.period_seconds,
            probe.success_threshold,
            probe.failure_threshold,
        ]
        .map(|field| field.map_or_else(|| "unset".to_owned(), |number| number.to_string()))
        .join("/")
    };
    let told: Vec<String> = probes
        .into_iter()
        .flatten()
        .map(|probe| probe.as_ref().map_or_else(|| "lost".to_owned(), of))
        .collect();
    verdict(
        told.len() == 3 && told.iter().all(|probe| probe == "0/1/10/1/3") && grace == Some(30),
        format!(
            "probes {}, grace {}",
            told.join(" "),
            grace.unwrap_or_default()
        ),
    )
}

pub(super) async fn first_readiness(context: Context) -> Finding {
    let mut container = context.victim(&[]);
    container["readinessProbe"] = json!({"httpGet": {"path": "/ready", "port": PORT}});
    let pod = Subject::create(&context, "app", container, json!({})).await?;
    let running = pod.until_running().await?;
    let after = pod.until_ready().await?.duration_since(running);
    verdict(
        after <= Duration::from_secs(12) + context.bounds.epsilon,
        format!("ready {} after it ran", in_seconds(after)),
    )
}

pub(super) async fn unready(context: Context) -> Finding {
    let mut container = context.victim(&["--ready", "0s..6s"]);
    container["readinessProbe"] = probe("/ready");
    let pod = Subject::create(&context, "app", container, json!({})).await?;
    let transcript = pod.transcript();
    let ready = pod.until_ready().await?;
    let first_failure = line(&transcript, "get /ready 503").await?.at;
    let unready = pod
        .journal
        .until("the pod is unready", PATIENCE, |entries| {
            let mut later = entries.iter().skip_while(|entry| entry.at <= ready);
            Some(later.find(|entry| !is_ready(&entry.object))?.at)
        })
        .await?;
    let after = unready.saturating_duration_since(first_failure);
    let earliest = Duration::from_secs(2).saturating_sub(NEWS);
    let latest = Duration::from_secs(4) + context.bounds.epsilon;
    let restarts = restarts(&*pod.latest()?);
    verdict(
        (earliest..=latest).contains(&after) && restarts == 0,
        format!(
            "unready {} after the first failure, {restarts} restarts",
            in_seconds(after)
        ),
    )
}

pub(super) async fn http_statuses(context: Context) -> Finding {
    let start = async |part: &'static str, path: &'static str| {
        let mut container = context.victim(&[]);
        container["readinessProbe"] = probe(path);
        Subject::create(&context, part, container, json!({})).await
    };
    let elsewhere = start("elsewhere", "/redirect?http://holdfast.invalid/").await?;
    let last_good = start("last-good", "/status/399").await?;
    let first_bad = start("first-bad", "/status/400").await?;
    elsewhere.until_ready().await?;
    elsewhere.event("ProbeWarning").await?;
    last_good.until_ready().await?;
    first_bad.event("Unhealthy").await?;
    sleep(SEVERAL_PROBES).await;
    let bad_is_ready = is_ready(&*first_bad.latest()?);
    verdict(
        !bad_is_ready,
        format!(
            "302 elsewhere ready with ProbeWarning, 399 ready, 400 {}",
            if bad_is_ready { "ready" } else { "not ready" }
        ),
    )
}

pub(super) async fn timeouts(context: Context) -> Finding {
    let start = async |part: &'static str, timeout: u32| {
        let mut container = context.victim(&["--answer-delay", "1.5s"]);
        container["readinessProbe"] = probe("/ready");
        container["readinessProbe"]["timeoutSeconds"] = timeout.into();
        Subject::create(&context, part, container, json!({})).await
    };
    let patient = start("patient", 5).await?;
    let impatient = start("impatient", 1).await?;
    patient.until_ready().await?;
    impatient.event("Unhealthy").await?;
    sleep(SEVERAL_PROBES).await;
    let in_time = is_ready(&*impatient.latest()?);
    let observed = match in_time {
        true => "an answer after 1.5 s counted within a timeout of 1 s",
        false => "not ready with a timeout of 1 s, ready with 5 s",
    };
    verdict(!in_time, observed)
}

pub(super) async fn startup_comes_first(context: Context) -> Finding {
    let mut container = context.victim(&["--boot-delay", "3s"]);
    container["startupProbe"] = probe("/status/200");
    container["startupProbe"]["failureThreshold"] = 5.into();
    container["livenessProbe"] = probe("/live");
    container["livenessProbe"]["failureThreshold"] = 1.into();
    let pod = Subject::create(&context, "app", container, json!({})).await?;
    let transcript = pod.transcript();
    let alive = line(&transcript, "get /live 200").await?.written;
    let started = line(&transcript, "get /status/200 200").await?.written;
    let restarts = restarts(&*pod.latest()?);
    verdict(
        started <= alive && restarts == 0,
        format!(
            "started at {}, first liveness probe at {}, {restarts} restarts",
            in_seconds(started),
            in_seconds(alive)
        ),
    )
}

pub(super) async fn liveness(context: Context) -> Finding {
    // It ignores SIGTERM: between the failure and its end pass the three seconds of grace.
    let mut container = context.victim(&["--live", "0s..5s", "--on-term", "ignore"]);
    container["livenessProbe"] = probe("/live");
    container["livenessProbe"]["failureThreshold"] = 1.into();
    container["readinessProbe"] = readiness_probe();
    context.create::<Service>(context.service("app")).await?;
    let of_service = format!("kubernetes.io/service-name={}", context.name("app"));
    let slices = Journal::<EndpointSlice>::of(context.api(), &of_service).await?;
    let changes = json!({"terminationGracePeriodSeconds": 3});
    let pod = Subject::create(&context, "app", container, changes).await?;
    let transcript = pod.transcript();
    let ready = slices
        .until("the endpoint is ready", PATIENCE, |entries| {
            let entry = entries.iter().find(|entry| has_ready(&entry.object));
            Some(entry?.at)
        })
        .await?;
    let uid = pod.latest()?.metadata.uid.clone();
    let sigterm = line(&transcript, "sigterm").await?.at;
    pod.event("Killing").await?;
    pod.moment("it is restarted", |pod| restarts(pod) == 1)
        .await?;
    let unready = slices
        .until("the endpoint is unready", PATIENCE, |entries| {
            let mut later = entries.iter().skip_while(|entry| entry.at <= ready);
            Some(later.find(|entry| !has_ready(&entry.object))?.at)
        })
        .await?;
    let after = unready.saturating_duration_since(sigterm);
    let same = pod.latest()?.metadata.uid == uid;
    verdict(
        same && after >= Duration::from_secs(3).saturating_sub(NEWS),
        format!(
            "Killing, restarted in {} pod, endpoint unready {} after SIGTERM",
            if same { "the same" } else { "another" },
            in_seconds(after)
        ),
    )
}

fn has_ready(slice: &EndpointSlice) -> bool {
    let mut conditions = slice
        .endpoints
        .iter()
        .filter_map(|endpoint| endpoint.conditions.as_ref());
    conditions.any(|conditions| conditions.ready == Some(true))
}
