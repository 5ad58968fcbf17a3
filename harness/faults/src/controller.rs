//! Brings the cluster to what FaultInjections want: records how to undo each, injects it, and undoes
//! it when that is wanted, when its time is over, when whoever wanted it is gone, and when everything
//! is halted.
//!
//! The CLI runs one in its own process, `holdfast controller` one in a cluster. Of several, one acts
//! in a namespace at a time: the one that holds the lease there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::controller::{Action as Next, Controller as Runtime};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{FaultError, one_line};
use crate::halt;
use crate::injection::{FaultInjection, FaultInjectionSpec, Phase};
use crate::lease::{self, Kept, Watch};
use crate::object::Cluster;
use crate::recover::objects;

mod ages;
mod work;

use ages::Ages;
use work::Work;

/// How often it is looked whether a fault in effect must end.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// The pause after a failure.
const AGAIN: Duration = Duration::from_millis(500);
/// How long what is under way may take after the end was asked for: the next one carries on.
const END_WITHIN: Duration = Duration::from_secs(10);

/// The lease of the controller that acts in a namespace.
const LEADER: &str = "holdfast-controller";

/// A controller of faults.
pub struct Controller {
    client: Client,
    /// `None` is all.
    namespace: Option<String>,
    duty: Duty,
    /// The lease of the run whose process this is: that one is alive.
    own_run: Option<String>,
    /// Tells controllers apart.
    identity: String,
    watch: Watch,
    ages: Arc<Ages>,
    /// What time it is.
    clock: fn() -> jiff::Timestamp,
    /// Held while a fault is worked out and recorded: the next one counts what it takes.
    preparing: tokio::sync::Mutex<()>,
    /// The lease of each namespace with a fault.
    leading: Mutex<HashMap<String, Kept>>,
    /// What renews them.
    renewing: TaskTracker,
    /// Gives them up: when nothing is worked on any more.
    done: CancellationToken,
    stop: CancellationToken,
}

/// What a controller does.
enum Duty {
    /// Brings faults about, with this image of what does harm inside the cluster, and undoes them.
    All { agent_image: String },
    /// Undoes faults, whoever wanted them, and brings none about.
    Undo,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Controller")
            .field("namespace", &self.namespace)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Controller {
    /// A controller for one namespace, or for all; `stop` ends it, and leaves what is in effect to
    /// the next one.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: Option<String>,
        agent_image: String,
        stop: CancellationToken,
    ) -> Self {
        Self::with(client, namespace, Duty::All { agent_image }, stop)
    }

    /// One in the process of a run that has this lease, for its namespace.
    pub(crate) fn of_run(
        client: Client,
        namespace: &str,
        agent_image: String,
        lease: String,
        stop: CancellationToken,
    ) -> Self {
        Self {
            own_run: Some(lease),
            ..Self::new(client, Some(namespace.to_owned()), agent_image, stop)
        }
    }

    /// One that brings no fault about, and undoes those of a namespace that are to be undone.
    pub(crate) fn undoing(client: Client, namespace: &str, stop: CancellationToken) -> Self {
        Self::with(client, Some(namespace.to_owned()), Duty::Undo, stop)
    }

    /// Another one that only undoes, and knows when each fault is over as this one does.
    pub(crate) fn beside(&self, stop: CancellationToken) -> Self {
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        Self {
            ages: Arc::clone(&self.ages),
            clock: self.clock,
            ..Self::with(client, namespace, Duty::Undo, stop)
        }
    }

    fn with(
        client: Client,
        namespace: Option<String>,
        duty: Duty,
        stop: CancellationToken,
    ) -> Self {
        Self {
            client,
            namespace,
            duty,
            own_run: None,
            identity: format!("{}-{:08x}", std::process::id(), rand::random::<u32>()),
            watch: Watch::default(),
            ages: Arc::default(),
            clock: jiff::Timestamp::now,
            preparing: tokio::sync::Mutex::default(),
            leading: Mutex::default(),
            renewing: TaskTracker::new(),
            done: CancellationToken::new(),
            stop,
        }
    }

    /// Reconciles until it is stopped; then others may act at once.
    pub async fn run(self) {
        let api: Api<FaultInjection> = match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let (stop, renewing) = (self.stop.clone(), self.renewing.clone());
        let done = self.done.clone().drop_guard();
        let stopped = stop.clone();
        let working = Runtime::new(api, watcher::Config::default())
            .graceful_shutdown_on(async move { stopped.cancelled().await })
            .run(reconcile, on_error, Arc::new(self))
            .for_each(|done| async {
                if let Err(error) = done {
                    tracing::debug!("{}", one_line(&error));
                }
            });
        let over = async {
            stop.cancelled().await;
            tokio::time::sleep(END_WITHIN).await;
        };
        tokio::select! {
            () = working => {}
            () = over => tracing::debug!("work on a fault is broken off"),
        }
        drop(done);
        renewing.close();
        renewing.wait().await;
    }

    /// Whether this controller is the one that acts in a namespace.
    async fn leads(&self, namespace: &str) -> bool {
        let kept = {
            let mut leading = self.leading.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = leading.entry(namespace.to_owned());
            kept.or_insert_with(|| self.keep(namespace)).clone()
        };
        kept.is_held().await
    }

    fn keep(&self, namespace: &str) -> Kept {
        let (client, done) = (self.client.clone(), self.done.clone());
        let (lease, identity) = (LEADER.to_owned(), self.identity.clone());
        let (kept, renewing) = lease::keep(client, namespace, lease, identity, done);
        self.renewing.spawn(renewing);
        kept
    }

    /// Whether the run that wanted a fault no longer renews its lease.
    async fn is_abandoned(&self, injection: &FaultInjection) -> Result<bool, FaultError> {
        let Some(name) = &injection.spec.lease else {
            return Ok(false);
        };
        // After a time without the cluster it would be found before it is renewed.
        if self.own_run.as_ref() == Some(name) {
            return Ok(false);
        }
        let namespace = injection.namespace().unwrap_or_default();
        let leases = Api::<Lease>::namespaced(self.client.clone(), &namespace);
        let found = leases.get_opt(name).await;
        let found = found.map_err(FaultError::during(format!("read the lease {name}")))?;
        Ok(found.is_none_or(|lease| !self.watch.is_alive(&lease)))
    }

    /// The faults of its namespace that must end although nobody has said so, with the reasons.
    pub(crate) async fn overdue(&self) -> Result<Vec<String>, FaultError> {
        let mut overdue = Vec::new();
        for injection in objects(&self.client, self.namespace.as_deref()).await? {
            if matches!(injection.phase(), Phase::Reverted | Phase::Refused) {
                continue;
            }
            let abandoned = self.is_abandoned(&injection).await;
            if let Some(why) = self.must_end(&injection, abandoned).await? {
                let FaultInjectionSpec { run, step, .. } = &injection.spec;
                overdue.push(format!("the fault {step} of run {run}: {why}"));
            }
        }
        Ok(overdue)
    }

    /// Why a fault must end although nobody has said so.
    async fn must_end(
        &self,
        injection: &FaultInjection,
        abandoned: Result<bool, FaultError>,
    ) -> Result<Option<String>, FaultError> {
        if self.is_over(injection)? {
            return Ok(Some("its time is over".to_owned()));
        }
        if let Some(why) = halt::halted(&self.client).await? {
            return Ok(Some(format!("everything is halted: {why}")));
        }
        Ok(abandoned?.then(|| "the run that wanted it is gone".to_owned()))
    }

    /// Whether its time is over by either clock: one may be set back, the other one stands still while the
    /// machine is asleep.
    fn is_over(&self, injection: &FaultInjection) -> Result<bool, FaultError> {
        let (not_after, now) = (injection.not_after()?, (self.clock)());
        let over = self.ages.over(injection, not_after, now);
        Ok(now >= not_after || Instant::now() >= over)
    }
}

fn on_error(_: Arc<FaultInjection>, _: &FaultError, _: Arc<Controller>) -> Next {
    Next::requeue(AGAIN)
}

/// Takes a fault one step further.
async fn reconcile(
    injection: Arc<FaultInjection>,
    controller: Arc<Controller>,
) -> Result<Next, FaultError> {
    let namespace = injection.namespace().unwrap_or_default();
    // Also where another one acts: a run and its controller may be dead since the same moment.
    let abandoned = controller.is_abandoned(&injection).await;
    if !controller.leads(&namespace).await {
        return Ok(Next::requeue(LOOK));
    }
    let api: Api<FaultInjection> = Api::namespaced(controller.client.clone(), &namespace);
    let name = injection.name_any();
    // What was watched may be old: after an outage of the API server, for example.
    let found = api.get_opt(&name).await;
    let found = found.map_err(FaultError::during(format!("read faultinjection {name}")))?;
    let Some(injection) = found else {
        return Ok(Next::await_change());
    };
    let cluster = Cluster {
        client: controller.client.clone(),
        namespace,
    };
    Work::on(injection, cluster, &controller)
        .step(abandoned)
        .await
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use tokio::time::advance;

    use super::*;

    /// A cluster in which nothing is.
    fn empty() -> Client {
        let answering = tower::service_fn(|_: Request<Body>| async {
            let status = serde_json::json!({"code": 404, "reason": "NotFound"});
            let body = Body::from(status.to_string().into_bytes());
            Ok::<_, tower::BoxError>(Response::builder().status(404).body(body).unwrap())
        });
        Client::new(answering, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_delays_the_end_of_no_fault() {
        let fault: FaultInjection = serde_json::from_value(serde_json::json!({
            "apiVersion": "holdfast.dev/v1alpha1",
            "kind": "FaultInjection",
            "metadata": {"name": "outage", "uid": "a", "creationTimestamp": "2026-01-01T10:00:00Z"},
            "spec": {
                "run": "run",
                "step": "outage",
                "fault": {"scale": {"deployment": "pay", "replicas": 1}},
                "notAfter": "2026-01-01T10:00:40Z",
                "lease": "lease-of-run",
            },
        }))
        .unwrap();
        let stop = CancellationToken::new();
        // As if it were set back again and again.
        let clock = || jiff::Timestamp::constant(1_767_261_600, 0);
        let alone = Controller {
            clock,
            ..Controller::undoing(empty(), "default", stop.clone())
        };
        // A machine whose clock is an hour behind the API server's.
        let behind = Controller {
            clock: || jiff::Timestamp::constant(1_767_261_600 - 3600, 0),
            ..Controller::undoing(empty(), "default", stop.clone())
        };
        let why = async |controller: &Controller| {
            let why = controller.must_end(&fault, Ok(false)).await;
            why.unwrap()
        };
        assert_eq!(why(&alone).await, None);
        assert_eq!(why(&behind).await, None);
        advance(Duration::from_secs(39)).await;
        assert_eq!(why(&alone).await, None);
        advance(Duration::from_secs(1)).await;
        let over = Some("its time is over".to_owned());
        assert_eq!(why(&alone).await, over);
        // Whoever takes over knows it, too.
        assert_eq!(why(&alone.beside(stop)).await, over);
        assert_eq!(why(&behind).await, None);
    }
}
