//! One load from its muster to its last figure, on the thread that sends it.

use std::io;
use std::sync::Arc;

use goose::GooseError;
use holdfast_core::event::{Event, LoadFinished, WorkerAccount};
use holdfast_core::experiment::Model;
use holdfast_core::outcome::Source;
use holdfast_core::plan::LoadPlan;
use holdfast_engine::Events;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arrivals;
use crate::journey::Itinerary;
use crate::lag;
use crate::prober;
use crate::recorder::{Collector, Recorder};
use crate::share::Share;
use crate::target::Target;
use crate::timetable::Timetable;
use crate::users::{self, Battery};

/// A load in which nothing is left to find wrong.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) target: Arc<Target>,
    pub(crate) itinerary: Arc<Itinerary>,
    pub(crate) share: Share,
    /// The whole load's plan, but for the prober: that is this process's.
    pub(crate) plan: LoadPlan,
}

/// Why a load could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("the users could not be started")]
    Goose(#[source] Box<GooseError>),
    #[error("the {0} ended before the load did")]
    Ended(&'static str),
    #[error("the {0} cannot keep time")]
    Timer(&'static str, #[source] io::Error),
    #[error("the processor time of this process is not available")]
    ProcessorTime(#[source] nix::Error),
}

/// Carries a load out to its last figure, all of it on the thread that polls this.
pub(crate) async fn carry_out(
    load: Load,
    events: Events,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let (open_gate, gate) = watch::channel(None);
    let Load { plan, .. } = &load;
    let battery = Arc::new(battery(&load, gate, &stop));
    // Whatever ends this function early ends every sender too.
    let _cut = battery.cut.clone().drop_guard();
    let goose = muster(&battery).await?;

    events.send(Event::LoadStarted);
    let processor_time = lag::processor_time().map_err(RunError::ProcessorTime)?;
    let recorder = Recorder::begin(plan.duration, events.clone());
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
    let sent = collector.sent;
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
        send_lag: recorder.send_lag(),
        cpu_seconds: processor_time.as_secs_f64(),
        processors: processors() as f64,
        mean_users: recorder.mean_users(elapsed),
        pause_seconds: recorder.pause_seconds(),
        workers: vec![WorkerAccount {
            index: load.share.index,
            sent,
            ..WorkerAccount::default()
        }],
        ..LoadFinished::default()
    })));
    goose.end().await
}

fn battery(
    load: &Load,
    begun: watch::Receiver<Option<Arc<Recorder>>>,
    stop: &CancellationToken,
) -> Battery {
    Battery {
        target: Arc::clone(&load.target),
        transport: load.plan.transport.clone(),
        itinerary: Arc::clone(&load.itinerary),
        model: load.plan.model.clone(),
        share: load.share,
        places: Arc::default(),
        cease: stop.child_token(),
        cut: CancellationToken::new(),
        alive: TaskTracker::new(),
        begun,
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
    let count = users::count(&battery.model, battery.share);
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
/// second. Afterwards arrivals and prober have sent their last.
async fn send(
    plan: &LoadPlan,
    battery: &Arc<Battery>,
    recorder: &Arc<Recorder>,
    collector: &mut Collector,
) -> Result<(), RunError> {
    let arrivals = match &plan.model {
        Model::Users(_) => None,
        Model::Arrivals(arrivals) => {
            let times = Timetable::new(arrivals, plan.seed);
            let (battery, recorder) = (Arc::clone(battery), Arc::clone(recorder));
            Some(tokio::spawn(arrivals::run(battery, recorder, times)))
        }
    };
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
    for (name, sending) in [("arrivals", arrivals), ("prober", prober)] {
        if let Some(sending) = sending {
            let kept = sending.await.map_err(|_| RunError::Ended(name))?;
            kept.map_err(|error| RunError::Timer(name, error))?;
        }
    }
    Ok(())
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
