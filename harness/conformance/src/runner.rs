//! Carries checks out: several at a time, longest first, and nothing of theirs is left behind.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};
use rand::Rng as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::check::{Check, Load, Shortfall, in_one_line};
use crate::context::{Bounds, Context, Kubectl};
use crate::report::{Report, Row, Verdict};

mod cleanup;

/// How many checks run at once, as shares: a heavy one takes several.
const SHARES: u32 = 12;
const HEAVY: u32 = 6;
/// A check is given up after this many times the time it should take, and some more.
const GIVE_UP_FACTOR: u32 = 4;
const GIVE_UP_EXTRA: Duration = Duration::from_secs(120);

/// What the checks run against.
#[derive(Clone)]
pub struct Target {
    /// Talks to the cluster.
    pub client: Client,
    /// Where the checks make their objects. It is made if it does not exist.
    pub namespace: String,
    /// The image of the [`crate::victim`].
    pub victim_image: String,
    /// How exactly the cluster is measured.
    pub bounds: Bounds,
    /// The kubectl to check with; without one, such checks are skipped.
    pub kubectl: Option<Kubectl>,
}

impl Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Target");
        shown.field("namespace", &self.namespace);
        shown.field("victim_image", &self.victim_image);
        shown.field("bounds", &self.bounds);
        shown.field("kubectl", &self.kubectl);
        shown.finish_non_exhaustive()
    }
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A check started.
    Started(&'a Check),
    /// A check ended and was cleaned up.
    Ended(&'a Row),
}

/// Why no check could be carried out.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cluster does not answer.
    #[error("cannot reach the cluster: {0}")]
    Unreachable(String),
    /// The namespace cannot be read or made.
    #[error("cannot use namespace {namespace}: {reason}")]
    Namespace {
        /// Its name.
        namespace: String,
        /// In the cluster's words.
        reason: String,
    },
}

/// Runs `checks` until all have ended or `stop` is cancelled, and removes whatever they made.
pub async fn run(
    target: &Target,
    checks: &[&'static Check],
    progress: &(dyn Fn(Progress<'_>) + Sync),
    stop: &CancellationToken,
) -> Result<Report, RunError> {
    let begun = Instant::now();
    let version = target.client.apiserver_version().await;
    let version = version.map_err(|error| RunError::Unreachable(in_one_line(&error)))?;
    let made_namespace = make_namespace(target).await?;
    let run = random_name();
    let shares = Arc::new(Semaphore::new(SHARES as usize));
    let mut longest_first = checks.to_vec();
    longest_first.sort_by_key(|check| std::cmp::Reverse(check.about));
    let mut running: FuturesUnordered<_> = longest_first
        .into_iter()
        .map(|check| one(check, context(target, &run, check), &shares, progress))
        .collect();
    let mut rows = Vec::new();
    loop {
        let ended = tokio::select! {
            ended = running.next() => ended,
            () = stop.cancelled() => None,
        };
        let Some(row) = ended else { break };
        progress(Progress::Ended(&row));
        rows.push(row);
    }
    drop(running);
    let mut left_behind = cleanup::remove(&target.client, &target.namespace, &run, None).await;
    if made_namespace {
        left_behind.extend(cleanup::remove_namespace(&target.client, &target.namespace).await);
    }
    rows.sort_by_key(|row| row.check);
    let ended = |check: &&&Check| rows.iter().any(|row| row.check == check.number);
    let unfinished = checks.iter().filter(|check| !ended(check));
    let mut unfinished: Vec<u16> = unfinished.map(|check| check.number).collect();
    unfinished.sort_unstable();
    Ok(Report {
        server_version: version.git_version,
        bounds: target.bounds,
        emulations: Vec::new(),
        rows,
        unfinished,
        left_behind,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// One check from its turn to its last object's removal.
async fn one(
    check: &'static Check,
    context: Context,
    shares: &Semaphore,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Row {
    let needed = match check.load {
        Load::Light => 1,
        Load::Heavy => HEAVY,
    };
    let _turn = shares.acquire_many(needed).await;
    progress(Progress::Started(check));
    let begun = Instant::now();
    let limit = check.about * GIVE_UP_FACTOR + GIVE_UP_EXTRA;
    let finding = timeout(limit, (check.run)(context.clone())).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (verdict, observed) = match finding {
        Ok(Ok(observed)) => (Verdict::Passed, observed),
        Ok(Err(Shortfall::Failed(observed))) => (Verdict::Failed, observed),
        Ok(Err(Shortfall::Skipped(reason))) => (Verdict::Skipped, reason),
        Err(_) => (
            Verdict::Failed,
            format!("did not end within {} s", limit.as_secs()),
        ),
    };
    // What this leaves is tried again, and told, at the end of the run.
    cleanup::remove(
        &context.client,
        &context.namespace,
        &context.run,
        Some(check.number),
    )
    .await;
    Row::new(check, verdict, observed, seconds)
}

fn context(target: &Target, run: &str, check: &Check) -> Context {
    Context {
        client: target.client.clone(),
        namespace: target.namespace.clone(),
        bounds: target.bounds,
        victim_image: target.victim_image.clone(),
        kubectl: target.kubectl.clone(),
        run: run.to_owned(),
        number: check.number,
    }
}

/// Whether the namespace had to be made.
async fn make_namespace(target: &Target) -> Result<bool, RunError> {
    let api = Api::<Namespace>::all(target.client.clone());
    let refused = |error: &kube::Error| RunError::Namespace {
        namespace: target.namespace.clone(),
        reason: in_one_line(error),
    };
    let found = api.get_opt(&target.namespace).await;
    if found.map_err(|error| refused(&error))?.is_some() {
        return Ok(false);
    }
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(target.namespace.clone());
    let created = api.create(&PostParams::default(), &namespace).await;
    created.map_err(|error| refused(&error))?;
    Ok(true)
}

/// Letters and digits that no other run has, by all likelihood.
fn random_name() -> String {
    format!("{:05x}", rand::rng().random_range(0..0x10_0000))
}
