//! One load from its muster to its last figure, on the thread that sends it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use goose::GooseError;
use holdfast_core::event::{Event, LoadFinished, WorkerAccount};
use holdfast_core::experiment::Model;
use holdfast_core::outcome::Source;
use holdfast_core::plan::LoadPlan;
use holdfast_engine::Events;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arrivals;
use crate::dialer::Dialer;
use crate::gate::Gate;
use crate::generator::{Account, Watch};
use crate::journey::Itinerary;
use crate::listener::Listener;
use crate::prober;
use crate::recorder::{Collector, Recorder};
use crate::scenario::Cast;
use crate::share::Share;
use crate::target::Target;
use crate::timetable::Timetable;
use crate::users::{self, Battery};

/// A load in which nothing is left to find wrong.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) target: Arc<Target>,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) itinerary: Arc<Itinerary>,
    pub(crate) share: Share,
    pub(crate) cast: Cast,
    /// Requests per second that the generator managed, when it was tried.
    pub(crate) calibrated_rate: Option<f64>,
    /// The whole load's plan, but for the prober: that is this process's.
    pub(crate) plan: LoadPlan,
    /// Holds the load back when it is ready to send.
    pub(crate) gate: Option<Gate>,
    pub(crate) listener: Option<Listener>,
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
    Watch(#[source] io::Error),
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
    let begin = match load.gate.clone() {
        Some(gate) => gate.pass().await.ok_or(RunError::Ended("coordinator"))?,
        None => Instant::now(),
    };

    events.send(Event::LoadStarted);
    let recorder = Recorder::begin(begin, plan.duration, events.clone(), load.listener.clone());
    let watch = Watch::begin(recorder.start).map_err(RunError::Watch)?;
    let watched = CancellationToken::new();
    let watching = tokio::spawn(watch.run(watched.clone()));
    open_gate.send_replace(Some(Arc::clone(&recorder)));
    let mut collector = Collector::new(Arc::clone(&recorder), plan.sources());
    send(plan, &battery, &recorder, &mut collector).await?;
    let stopped = collector.stop();
    events.send(Event::LoadStopped);
    watched.cancel();
    let account = watching.await.map_err(|_| RunError::Ended("watch"))?;
    let account = account.map_err(RunError::Watch)?;

    drain(&battery, &mut collector, stopped + plan.drain_limit).await;
    let worker = WorkerAccount {
        index: load.share.index,
        sent: collector.sent,
        ..WorkerAccount::default()
    };
    let cut_off = collector.close();
    battery.cut.cancel();
    battery.alive.wait().await;
    let finished = LoadFinished {
        cut_off,
        calibrated_rate: load.calibrated_rate,
        workers: vec![worker],
        ..finished(&recorder, stopped - recorder.start, account)
    };
    events.send(Event::LoadFinished(Box::new(finished)));
    goose.end().await
}

/// What recorder and watch know of a load that was stopped after `elapsed`.
fn finished(recorder: &Recorder, elapsed: Duration, account: Account) -> LoadFinished {
    let (mut send_lag, late_seconds) = recorder.punctuality(Source::Users);
    // A probe that is late says so in its response time; the load is none the worse for it.
    let (probe_lag, _) = recorder.punctuality(Source::Prober);
    send_lag.merge(&probe_lag);
    let mut saturated = account.saturated;
    saturated.extend(late_seconds);
    LoadFinished {
        elapsed,
        failures_not_kept: recorder.failures_not_kept(),
        saturated_seconds: saturated.into_iter().collect(),
        lag: account.lag,
        send_lag,
        cpu_seconds: account.process.as_secs_f64(),
        sender_cpu_seconds: account.thread.as_secs_f64(),
        processors: account.processors,
        starved_seconds: account.starved.map(|starved| starved.as_secs_f64()),
        throttled_seconds: account.throttled.as_secs_f64(),
        descriptors: account.descriptors,
        ports: account.ports,
        mean_users: recorder.mean_users(elapsed),
        pause_seconds: recorder.pause_seconds(),
        ..LoadFinished::default()
    }
}

fn battery(
    load: &Load,
    begun: watch::Receiver<Option<Arc<Recorder>>>,
    stop: &CancellationToken,
) -> Battery {
    Battery {
        target: Arc::clone(&load.target),
        dialer: Arc::clone(&load.dialer),
        itinerary: Arc::clone(&load.itinerary),
        model: load.plan.model.clone(),
        share: load.share,
        places: Arc::default(),
        cast: load.cast.clone(),
        timeout: load.plan.timeout,
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
    let count = users::launched(&battery.model, battery.share);
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
    let mut senders = JoinSet::new();
    if let Model::Arrivals(arrivals) = &plan.model {
        let times = Timetable::new(arrivals, plan.seed);
        let (battery, recorder) = (Arc::clone(battery), Arc::clone(recorder));
        senders.spawn(async move {
            let kept = arrivals::run(battery, recorder, times).await;
            kept.map_err(|error| RunError::Timer("arrivals", error))
        });
    }
    if let Some(rate) = plan.prober {
        let (battery, recorder) = (Arc::clone(battery), Arc::clone(recorder));
        let duration = plan.duration;
        senders.spawn(async move {
            let kept = prober::run(battery, recorder, rate, duration).await;
            kept.map_err(|error| RunError::Timer("prober", error))
        });
    }
    let end = recorder.start + plan.duration;
    let ticking = async {
        while collector.next_boundary() < end {
            sleep_until(collector.next_boundary()).await;
            collector.collect();
        }
        sleep_until(end).await;
    };
    tokio::select! {
        // Told to cease early or at the planned end: both are a regular end.
        _ = battery.cease.run_until_cancelled(ticking) => {}
        // Without its senders a load would only wait for its end.
        Err(error) = all_end(&mut senders) => return Err(error),
    }
    battery.cease.cancel();
    all_end(&mut senders).await
}

/// Waits until all have come to their end, or one has failed.
async fn all_end(senders: &mut JoinSet<Result<(), RunError>>) -> Result<(), RunError> {
    while let Some(ended) = senders.join_next().await {
        ended.unwrap_or(Err(RunError::Ended("arrivals or the prober")))?;
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
