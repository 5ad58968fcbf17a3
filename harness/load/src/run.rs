//! One load from its preparation to its last figure.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use goose::GooseError;
use holdfast_core::event::WorkerAccount;
use holdfast_core::event::{Event, LoadFinished};
use holdfast_core::experiment::Model;
use holdfast_core::outcome::Source;
use holdfast_core::plan::LoadPlan;
use holdfast_engine::{Events, LoadDriver, LoadDriverError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dialer::Dialer;
use crate::failure;
use crate::journey::Itinerary;
use crate::lag;
use crate::message::RequestError;
use crate::prober;
use crate::process::{self, ProcessError, claim_process};
use crate::recorder::{Collector, Recorder};
use crate::schedule::most_users;
use crate::target::{Connector, Target, TargetError};
use crate::users::{self, Battery};

/// How the driver sends, beyond what a plan says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Chooses the endpoint of each new connection; without one the target's address is dialled.
    pub connector: Option<Arc<dyn Connector>>,
}

/// Why there can be no driver.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The base URL cannot be a target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The process cannot be used for load.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// A driver that sends to `base_url`, an absolute `http` URL; a path in it goes before each
/// request's path.
///
/// # Errors
/// The URL is not an absolute `http` URL, or [`claim_process`] failed.
pub fn driver(base_url: &str, options: Options) -> Result<HttpLoad, DriverError> {
    claim_process()?;
    Ok(HttpLoad {
        target: Arc::new(Target::parse(base_url, options.connector)?),
    })
}

/// Carries out load plans over HTTP/1.1, in the tokio runtime that polls it; several runs may
/// follow one another.
#[derive(Debug)]
pub struct HttpLoad {
    target: Arc<Target>,
}

/// Why a load could not be carried out.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the target `{authority}` does not resolve")]
    Unresolved {
        authority: String,
        source: io::Error,
    },
    #[error("the users could not be started")]
    Goose(#[source] Box<GooseError>),
    #[error("the {0} ended before the load did")]
    Ended(&'static str),
    #[error("the processor time of this process is not available")]
    ProcessorTime(#[source] nix::Error),
}

#[async_trait]
impl LoadDriver for HttpLoad {
    async fn run(
        &self,
        plan: &LoadPlan,
        events: Events,
        stop: CancellationToken,
    ) -> Result<(), LoadDriverError> {
        let carried_out = self.carry_out(plan, events, &stop).await;
        carried_out.map_err(|error| LoadDriverError(failure::words(&error)))
    }
}

impl HttpLoad {
    async fn carry_out(
        &self,
        plan: &LoadPlan,
        events: Events,
        stop: &CancellationToken,
    ) -> Result<(), RunError> {
        let (open_gate, gate) = watch::channel(None);
        let battery = Arc::new(self.prepare(plan, gate, stop).await?);
        // Whatever ends this function early ends every sender too.
        let _cut = battery.cut.clone().drop_guard();
        let goose = muster(&battery).await?;

        events.send(Event::LoadStarted);
        let processor_time = lag::processor_time().map_err(RunError::ProcessorTime)?;
        let recorder = Recorder::begin(plan.duration, processors(), events.clone());
        let beat = CancellationToken::new();
        let heart = tokio::spawn(lag::heartbeat(recorder.start, beat.clone()));
        open_gate.send_replace(Some(Arc::clone(&recorder)));
        let mut collector = Collector::new(Arc::clone(&recorder), sources(plan));
        send(plan, &battery, &recorder, &mut collector).await?;
        let stopped = collector.stop();
        events.send(Event::LoadStopped);
        let processor_time = lag::processor_time()
            .map_err(RunError::ProcessorTime)?
            .saturating_sub(processor_time);
        beat.cancel();
        let lag = heart.await.map_err(|_| RunError::Ended("heartbeat"))?;

        drain(&battery, &mut collector, stopped + plan.drain_limit).await;
        let cut_off = collector.close();
        battery.cut.cancel();
        battery.alive.wait().await;
        let elapsed = stopped - recorder.start;
        events.send(Event::LoadFinished(Box::new(LoadFinished {
            elapsed,
            cut_off,
            failures_not_kept: recorder.failures_not_kept(),
            saturated_seconds: lag.saturated_seconds(),
            lag: lag.histogram,
            cpu_seconds: processor_time.as_secs_f64(),
            processors: processors() as f64,
            mean_users: recorder.mean_users(elapsed),
            pause_seconds: recorder.pause_seconds(),
            workers: vec![WorkerAccount::default()],
            ..LoadFinished::default()
        })));
        goose.end().await
    }

    /// Everything that can be found wrong before the first request.
    async fn prepare(
        &self,
        plan: &LoadPlan,
        begun: watch::Receiver<Option<Arc<Recorder>>>,
        stop: &CancellationToken,
    ) -> Result<Battery, RunError> {
        let probes = plan.prober.map_or(0, prober::most_probes);
        process::provide_descriptors(u64::from(plan.model.most_in_flight()) + probes)?;
        let dialer = Dialer::new(plan.transport.clone(), &self.target)?;
        let itinerary = Arc::new(Itinerary::prepare(plan, &self.target, &dialer)?);
        for target in dialer.targets() {
            let resolved = target.resolve().await;
            resolved.map_err(|source| RunError::Unresolved {
                authority: target.authority.clone(),
                source,
            })?;
        }
        Ok(Battery {
            target: Arc::clone(&self.target),
            dialer: Arc::new(dialer),
            itinerary,
            stages: match &plan.model {
                Model::Users(stages) => stages.clone(),
                Model::Arrivals(_) => return Err(RunError::Ended("arrivals")),
            },
            cease: stop.child_token(),
            cut: CancellationToken::new(),
            alive: TaskTracker::new(),
            begun,
        })
    }
}

/// The running Goose attack.
struct Goose(JoinHandle<Result<(), GooseError>>);

impl Goose {
    async fn end(self) -> Result<(), RunError> {
        match self.0.await {
            Ok(ended) => ended.map_err(|error| RunError::Goose(Box::new(error))),
            Err(_) => Err(RunError::Ended("users")),
        }
    }
}

/// Launches all users and waits until each stands at the gate.
async fn muster(battery: &Arc<Battery>) -> Result<Goose, RunError> {
    let count = most_users(&battery.stages);
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let goose = Goose(tokio::spawn(users::run(
        Arc::clone(battery),
        count,
        arrived,
    )));
    for _ in 0..count {
        if arrivals.recv().await.is_none() {
            goose.end().await?;
            return Err(RunError::Ended("users"));
        }
    }
    Ok(goose)
}

/// Lets the load go on until its planned end or until it is told to cease, and hands out each
/// second. Afterwards the prober has sent its last probe.
async fn send(
    plan: &LoadPlan,
    battery: &Arc<Battery>,
    recorder: &Arc<Recorder>,
    collector: &mut Collector,
) -> Result<(), RunError> {
    let prober = plan.prober.map(|rate| {
        let (battery, recorder) = (Arc::clone(battery), Arc::clone(recorder));
        tokio::spawn(prober::run(battery, recorder, rate, plan.duration))
    });
    let end = recorder.start + plan.duration;
    let ticking = async {
        while collector.next_boundary() < end {
            sleep_until(collector.next_boundary()).await;
            collector.collect();
        }
        sleep_until(end).await;
    };
    // Told to cease early or at the planned end: both are a regular end.
    battery.cease.run_until_cancelled(ticking).await;
    battery.cease.cancel();
    match prober {
        Some(prober) => prober.await.map_err(|_| RunError::Ended("prober")),
        None => Ok(()),
    }
}

/// Waits until nothing is in flight any more, until `limit` at most, and hands out each second.
async fn drain(battery: &Battery, collector: &mut Collector, limit: Instant) {
    battery.alive.close();
    let ticking = async {
        loop {
            sleep_until(collector.next_boundary()).await;
            collector.collect();
        }
    };
    tokio::select! {
        () = battery.alive.wait() => {}
        () = sleep_until(limit) => {}
        () = ticking => {}
    }
}

fn sources(plan: &LoadPlan) -> Vec<Source> {
    let prober = plan.prober.map(|_| Source::Prober);
    [Source::Users].into_iter().chain(prober).collect()
}

/// Processors this process may use; one when the system does not say.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
