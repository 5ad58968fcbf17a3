//! The ports of the loop: what carries out load, faults and observation.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_core::condition::{ClusterHealth, Condition, ObjectKind};
use holdfast_core::event::Event;
use holdfast_core::experiment::Address;
use holdfast_core::plan::{LoadPlan, PlannedFault};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

/// Where drivers send what happens. Sending never blocks and never fails visibly: when the loop
/// is gone there is nobody left to tell.
#[derive(Clone, Debug)]
pub struct Events(UnboundedSender<Event>);

impl Events {
    /// Events that arrive at the other end of `sender`'s channel.
    #[must_use]
    pub fn new(sender: UnboundedSender<Event>) -> Self {
        Self(sender)
    }

    /// Sends one event.
    pub fn send(&self, event: Event) {
        // A closed channel means that the run is over.
        drop(self.0.send(event));
    }
}

/// Why the load could not be carried out (not: why requests failed).
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadDriverError(pub String);

/// Why a fault could not be checked, injected or undone: in words, and who says so.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FaultDriverError(pub String, pub Because);

/// What a fault failed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// It cannot be done as it is wanted, or may not.
    Refused,
    /// The cluster did not answer, or could not: it may be possible another time.
    Unanswered,
}

/// Sends requests according to a plan.
#[async_trait]
pub trait LoadDriver: Send + Sync {
    /// Carries out the whole load. Sends `LoadStarted` when the first request is about to be sent,
    /// then one `Tick` per source and second (another one for what a process told too late to be
    /// waited for), `RequestFailed` for the first failures (a bound per run), `LoadStopped` when no
    /// further request will be sent, the drain's ticks, and `LoadFinished` last. When `stop` is
    /// cancelled it stops sending at once, drains within the plan's limit as at a regular end, and
    /// returns.
    async fn run(
        &self,
        plan: &LoadPlan,
        events: Events,
        stop: CancellationToken,
    ) -> Result<(), LoadDriverError>;
}

/// Brings faults about and undoes them.
#[async_trait]
pub trait FaultDriver: Send + Sync {
    /// Before anything runs: the target exists, is available, and the safety nets permit the
    /// fault beside `earlier` ones, those of the run that begin no later.
    async fn check(
        &self,
        fault: &PlannedFault,
        earlier: &[PlannedFault],
    ) -> Result<(), FaultDriverError>;

    /// Stores how to undo the fault where it outlives this process. Nothing is broken yet.
    /// Returns one line about the undo.
    async fn prepare(&self, fault: &PlannedFault) -> Result<String, FaultDriverError>;

    /// Brings the fault about and returns what proves it. Called only after `prepare`.
    async fn inject(&self, fault: &PlannedFault) -> Result<String, FaultDriverError>;

    /// Undoes the fault and returns what proves it. Idempotent, and valid after a failed or
    /// interrupted `prepare` or `inject`: what is already clean is success. Of a fault that ends by
    /// itself it waits until the effect is over.
    async fn recover(&self, fault: &PlannedFault) -> Result<String, FaultDriverError>;

    /// What this run changed and is not as before; empty when all is well.
    async fn residue(&self) -> Vec<String>;

    /// Ends what the driver does in the background; the last call of a run.
    async fn end(&self) {}
}

/// Watches the system under test.
#[async_trait]
pub trait Observer: Send + Sync {
    /// Sends `Observed` events until `stop` is cancelled.
    async fn run(&self, events: Events, stop: CancellationToken);
}

/// What somebody answered over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Why nobody answered.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HttpClientError(pub String);

/// Asks over HTTP, apart from the load: for invariants and stop conditions.
#[async_trait]
pub trait HttpClient: Send + Sync {
    /// One `GET`, on a connection of its own: whoever was replaced meanwhile must not answer. Any
    /// status is an answer, a redirect too.
    async fn get(&self, address: &Address) -> Result<HttpAnswer, HttpClientError>;
}

/// Why an object's conditions, or the cluster's health, could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConditionReaderError(pub String);

/// Reads what the cluster and the system's objects show of themselves, for stop conditions.
#[async_trait]
pub trait ConditionReader: Send + Sync {
    /// Every condition of the object as it is now; `None` when there is no such object.
    async fn conditions(
        &self,
        kind: ObjectKind,
        name: &str,
    ) -> Result<Option<Vec<Condition>>, ConditionReaderError>;

    /// What the cluster says of its own health now.
    async fn cluster_health(&self) -> Result<ClusterHealth, ConditionReaderError>;
}

/// Everything a run needs from outside.
#[derive(Clone)]
pub struct Drivers {
    /// Sends the requests.
    pub load: Arc<dyn LoadDriver>,
    /// Breaks and mends.
    pub faults: Arc<dyn FaultDriver>,
    /// Watches.
    pub observer: Arc<dyn Observer>,
    /// Asks.
    pub http: Arc<dyn HttpClient>,
    /// Looks at single objects.
    pub conditions: Arc<dyn ConditionReader>,
}

impl std::fmt::Debug for Drivers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Drivers").finish_non_exhaustive()
    }
}

/// For runs that break nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoFaults;

#[async_trait]
impl FaultDriver for NoFaults {
    async fn check(
        &self,
        fault: &PlannedFault,
        _: &[PlannedFault],
    ) -> Result<(), FaultDriverError> {
        let words = format!(
            "{} needs a system in a cluster, and this run has none",
            fault.fault.describe()
        );
        Err(FaultDriverError(words, Because::Refused))
    }

    async fn prepare(&self, fault: &PlannedFault) -> Result<String, FaultDriverError> {
        self.check(fault, &[]).await.map(|()| String::new())
    }

    async fn inject(&self, fault: &PlannedFault) -> Result<String, FaultDriverError> {
        self.check(fault, &[]).await.map(|()| String::new())
    }

    async fn recover(&self, _: &PlannedFault) -> Result<String, FaultDriverError> {
        Ok("nothing was changed".to_owned())
    }

    async fn residue(&self) -> Vec<String> {
        Vec::new()
    }
}

/// For runs against something that cannot be watched.
#[derive(Clone, Copy, Debug)]
pub struct NoObserver;

#[async_trait]
impl Observer for NoObserver {
    async fn run(&self, _: Events, stop: CancellationToken) {
        stop.cancelled().await;
    }
}

/// For runs that ask nobody.
#[derive(Clone, Copy, Debug)]
pub struct NoHttp;

#[async_trait]
impl HttpClient for NoHttp {
    async fn get(&self, address: &Address) -> Result<HttpAnswer, HttpClientError> {
        Err(HttpClientError(format!("this run does not ask {address}")))
    }
}

/// For runs without a cluster.
#[derive(Clone, Copy, Debug)]
pub struct NoConditions;

#[async_trait]
impl ConditionReader for NoConditions {
    async fn conditions(
        &self,
        _: ObjectKind,
        _: &str,
    ) -> Result<Option<Vec<Condition>>, ConditionReaderError> {
        Err(ConditionReaderError("this run has no cluster".to_owned()))
    }

    async fn cluster_health(&self) -> Result<ClusterHealth, ConditionReaderError> {
        Err(ConditionReaderError("this run has no cluster".to_owned()))
    }
}
