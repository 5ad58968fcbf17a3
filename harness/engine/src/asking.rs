//! Asks services over HTTP: for invariants until the system has settled, and for stop conditions
//! as long as it is well. For stop conditions the cluster is asked as well.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::experiment::{Address, Invariant, StopCondition};
use holdfast_core::invariant::{self, Answer, Checked};
use holdfast_core::promql;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::drivers::{ConditionReaderError, Drivers, HttpAnswer, HttpClient};
use crate::guard::guarded;

/// A single answer takes no longer than this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two questions about the same invariant.
const PAUSE: Duration = Duration::from_millis(500);

/// Asks about every invariant, all at the same time.
pub(crate) fn check_all(
    invariants: &[Invariant],
    client: &Arc<dyn HttpClient>,
) -> JoinSet<Checked> {
    let mut asking = JoinSet::new();
    for invariant in invariants {
        asking.spawn(check(Arc::clone(client), invariant.clone()));
    }
    asking
}

/// Asks until the system has settled, something is wrong for good, or the time is over. The last
/// answer counts; one that came too late settles nothing.
async fn check(client: Arc<dyn HttpClient>, invariant: Invariant) -> Checked {
    let began = Instant::now();
    loop {
        let answer = question(&client, &invariant.get).await;
        let after = began.elapsed();
        let final_answer = match &answer {
            Ok(answer) => answer.settled || !answer.violations.is_empty(),
            // A service may be on its way back.
            Err(_) => false,
        };
        if final_answer || after + PAUSE > invariant.within {
            return checked(invariant, after, answer);
        }
        sleep(PAUSE).await;
    }
}

fn checked(invariant: Invariant, after: Duration, answer: Result<Answer, String>) -> Checked {
    let (answer, error) = match answer {
        Ok(answer) => (Some(answer), None),
        Err(words) => (None, Some(words)),
    };
    let in_time = after <= invariant.within;
    Checked {
        name: invariant.name,
        after,
        settled: in_time && answer.as_ref().is_some_and(|answer| answer.settled),
        violations: answer
            .as_ref()
            .map_or(Vec::new(), |answer| answer.violations.clone()),
        due: answer.map_or(Vec::new(), |answer| answer.due),
        error,
    }
}

async fn question(client: &Arc<dyn HttpClient>, address: &Address) -> Result<Answer, String> {
    let answer = get(client, address).await?;
    if answer.status != 200 {
        return Err(format!("status {}", answer.status));
    }
    invariant::read(&answer.body).map_err(|error| error.to_string())
}

/// Watches the stop conditions that ask somebody. A task ends when its condition trips, with the
/// words.
pub(crate) fn watch_all(conditions: &[StopCondition], drivers: &Drivers) -> JoinSet<String> {
    let mut watching = JoinSet::new();
    for condition in conditions {
        let client = Arc::clone(&drivers.http);
        match condition.clone() {
            StopCondition::Http { get, every } => {
                let trips = |answer: &HttpAnswer| {
                    let well = (200..300).contains(&answer.status);
                    (!well).then(|| format!("answered {}", answer.status))
                };
                watching.spawn(watch(client, get.to_string(), get, every, trips));
            }
            StopCondition::Promql {
                query,
                get,
                min,
                max,
                every,
            } => {
                let trips = move |answer: &HttpAnswer| match promql::read(&answer.body) {
                    Ok(numbers) => promql::out_of_bounds(&numbers, min, max),
                    Err(error) => {
                        Some(format!("has no answer (status {}): {error}", answer.status))
                    }
                };
                watching.spawn(watch(client, format!("`{query}`"), get, every, trips));
            }
            StopCondition::K8sCondition { required, every } => {
                let reader = Arc::clone(&drivers.conditions);
                let what = required.object();
                let read = move || {
                    let (reader, required) = (Arc::clone(&reader), required.clone());
                    async move {
                        let shown = reader.conditions(required.kind, &required.name).await?;
                        Ok(required.unmet(shown.as_deref()))
                    }
                };
                watching.spawn(watch_cluster(what, every, read));
            }
            StopCondition::ClusterHealth { every } => {
                let reader = Arc::clone(&drivers.conditions);
                let what = "the health of the cluster".to_owned();
                let read = move || {
                    let reader = Arc::clone(&reader);
                    async move { Ok(reader.cluster_health().await?.unmet()) }
                };
                watching.spawn(watch_cluster(what, every, read));
            }
            StopCondition::Availability { .. }
            | StopCondition::P99 { .. }
            | StopCondition::FailedSeconds { .. } => {}
        }
    }
    watching
}

/// Asks until nobody answers or an answer trips; returns the words, `what` first.
async fn watch(
    client: Arc<dyn HttpClient>,
    what: String,
    address: Address,
    every: Duration,
    trips: impl Fn(&HttpAnswer) -> Option<String> + Send,
) -> String {
    loop {
        sleep(every).await;
        match get(&client, &address).await {
            Ok(answer) => {
                if let Some(words) = trips(&answer) {
                    return format!("{what} {words}");
                }
            }
            Err(words) => return format!("{what} does not answer: {words}"),
        }
    }
}

/// Reads in the cluster until something is not as it must be, or cannot be read; returns the words.
async fn watch_cluster<Reading>(
    what: String,
    every: Duration,
    read: impl Fn() -> Reading + Send,
) -> String
where
    Reading: Future<Output = Result<Option<String>, ConditionReaderError>> + Send + 'static,
{
    loop {
        sleep(every).await;
        match guarded("condition reader", ANSWER_TIMEOUT, read()).await {
            Ok(None) => {}
            Ok(Some(words)) => return words,
            Err(words) => return format!("{what} cannot be read: {words}"),
        }
    }
}

async fn get(client: &Arc<dyn HttpClient>, address: &Address) -> Result<HttpAnswer, String> {
    let (client, address) = (Arc::clone(client), address.clone());
    guarded("HTTP client", ANSWER_TIMEOUT, async move {
        client.get(&address).await
    })
    .await
}
