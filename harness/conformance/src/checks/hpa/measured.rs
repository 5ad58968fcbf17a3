//! What the metrics API tells of the processor time that pods use.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt as _};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::stage::PATIENCE;
use crate::check::{Shortfall, failed};
use crate::context::Context;

/// Between two looks, since the metrics API cannot be watched: far less than its 15 s.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What is told of one pod.
#[derive(Debug, PartialEq, Eq)]
struct Sample {
    /// Thousandths of a core; each container's are rounded up, as an autoscaler does.
    milli: u64,
    timestamp: Timestamp,
    /// Over which time it is an average.
    window: SignedDuration,
}

/// Skips the check on a cluster that measures nothing.
pub(super) async fn needed(context: &Context) -> Result<(), Shortfall> {
    match samples(context, "any").await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let reason = "the cluster has no metrics API (metrics.k8s.io)";
            Err(Shortfall::Skipped(reason.to_owned()))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Waits until this many pods of a part are ready and were then measured for a whole window: none
/// of them counts as unready or missing to an autoscaler.
pub(super) async fn until_settled(
    context: &Context,
    part: &str,
    count: usize,
) -> Result<(), Shortfall> {
    let settled = async {
        loop {
            let samples = samples(context, part).await?;
            let pods = context.list::<Pod>(part).await?;
            if pods.iter().filter(|pod| is_settled(pod, &samples)).count() == count {
                return Ok(());
            }
            sleep(LOOK_AGAIN).await;
        }
    };
    let what = "every pod is ready and measured";
    timeout(PATIENCE, settled).await.unwrap_or_else(|_| {
        let within = PATIENCE.as_secs();
        Err(failed(format!("not within {within} s: {what}")))
    })
}

fn is_settled(pod: &Pod, samples: &BTreeMap<String, Sample>) -> bool {
    let conditions = pod.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions
        .flatten()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True");
    let since = ready.and_then(|ready| Some(ready.last_transition_time.as_ref()?.0));
    match (since, samples.get(&pod.name_any())) {
        (Some(since), Some(sample)) => sample.timestamp.duration_since(since) >= sample.window,
        _ => false,
    }
}

/// The utilizations that are told of a part's pods, looked at again and again until it is dropped.
#[derive(Debug)]
pub(super) struct Told {
    percents: watch::Receiver<BTreeSet<u64>>,
    _task: AbortOnDropHandle<()>,
}

impl Told {
    /// Of pods that ask for `request` millicores each.
    pub(super) fn of(context: &Context, part: &'static str, request: u32) -> Self {
        let (sender, percents) = watch::channel(BTreeSet::new());
        let context = context.clone();
        let task = tokio::spawn(async move {
            loop {
                // What was not answered now will be the next time.
                if let Ok(samples) = samples(&context, part).await {
                    let told = utilization(samples.values(), request);
                    sender.send_modify(|percents| percents.extend(told));
                }
                sleep(LOOK_AGAIN).await;
            }
        });
        Self {
            percents,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// All so far, in percent.
    pub(super) fn percents(&self) -> BTreeSet<u64> {
        self.percents.borrow().clone()
    }
}

/// In whole percents of what the pods ask for, as an autoscaler counts it.
fn utilization<'a>(samples: impl Iterator<Item = &'a Sample>, request: u32) -> Option<u64> {
    let (used, requested) = samples.fold((0, 0), |sum, sample| {
        (sum.0 + sample.milli, sum.1 + u64::from(request))
    });
    (used * 100).checked_div(requested)
}

async fn samples(context: &Context, part: &str) -> Result<BTreeMap<String, Sample>, kube::Error> {
    let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
    let resource = ApiResource::from_gvk_with_plural(&kind, "pods");
    let client = context.client.clone();
    let api = Api::<DynamicObject>::namespaced_with(client, &context.namespace, &resource);
    let of_part = ListParams::default().labels(&context.selector(part));
    let list = api.list(&of_part).await?;
    let of_pod = |pod: &DynamicObject| Some((pod.name_any(), sample(&pod.data)?));
    Ok(list.iter().filter_map(of_pod).collect())
}

fn sample(data: &Value) -> Option<Sample> {
    let milli = |container: &Value| millicores(container["usage"]["cpu"].as_str()?);
    let containers = data["containers"].as_array()?;
    Some(Sample {
        milli: containers.iter().map(milli).sum::<Option<u64>>()?,
        timestamp: data["timestamp"].as_str()?.parse().ok()?,
        window: data["window"].as_str()?.parse().ok()?,
    })
}

/// The quantities of the metrics API are whole numbers with a suffix.
fn millicores(quantity: &str) -> Option<u64> {
    let digits = quantity.trim_end_matches(['n', 'u', 'm']);
    let number: u64 = digits.parse().ok()?;
    match &quantity[digits.len()..] {
        "n" => Some(number.div_ceil(1_000_000)),
        "u" => Some(number.div_ceil(1_000)),
        "m" => Some(number),
        "" => number.checked_mul(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sample_is_read_as_an_autoscaler_does() {
        let container = |cpu: &str| json!({"name": "c", "usage": {"cpu": cpu, "memory": "1Ki"}});
        let containers = ["30002374n", "29994814n", "1", "2500u", "7m", "0"].map(container);
        let told = json!({
            "timestamp": "2026-11-29T08:38:13Z",
            "window": "1m0.501s",
            "containers": containers,
        });
        let expected = Sample {
            milli: 31 + 30 + 1000 + 3 + 7,
            timestamp: "2026-11-29T08:38:13Z".parse().unwrap(),
            window: SignedDuration::from_millis(60_501),
        };
        assert_eq!(sample(&told), Some(expected));
        assert_eq!(millicores("1k"), None);
        assert_eq!(millicores("1nm"), None);
    }

    #[test]
    fn utilization_is_a_whole_number() {
        let sample = |milli| Sample {
            milli,
            timestamp: Timestamp::UNIX_EPOCH,
            window: SignedDuration::from_secs(15),
        };
        let samples = [sample(31), sample(30), sample(30)];
        assert_eq!(utilization(samples.iter(), 28), Some(108), "91 of 84");
        assert_eq!(utilization([].iter(), 28), None);
    }
}
