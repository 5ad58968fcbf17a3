//! One run by the engine, whatever command asks for it: its name, its place, its load driver, its
//! interruption.

use std::sync::Arc;

use holdfast_core::event::{Environment, RunStarted, Stamped, StopCause};
use holdfast_core::plan::LoadPlan;
use holdfast_core::record::Record;
use holdfast_engine::{Drivers, LoadDriver};
use holdfast_load::Listener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::progress::Verbosity;
use crate::site::Site;
use crate::workers;

/// What tells a run from all others, and lets chance differ.
#[derive(Debug)]
pub(crate) struct Identity {
    /// `<utc>-<four hexadecimal digits>`: sorts by time, and two runs of one second differ.
    pub(crate) run_id: String,
    /// RFC 3339, UTC.
    pub(crate) started_at: String,
    /// Whatever the run leaves to chance is drawn from it.
    pub(crate) seed: u64,
}

impl Identity {
    /// That of a run that begins now.
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        let now = jiff::Timestamp::now();
        let digits = now.subsec_nanosecond().unsigned_abs() ^ std::process::id();
        Self {
            run_id: format!("{}-{:04x}", now.strftime("%Y%m%dT%H%M%SZ"), digits & 0xffff),
            started_at: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            seed: RandomState::new().hash_one(()),
        }
    }
}

/// The place of a run that sends to `target_url` and has no cluster.
pub(crate) fn environment(target_url: &str) -> Environment {
    Environment {
        cluster: "none".to_owned(),
        target_url: target_url.to_owned(),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        holdfast: env!("CARGO_PKG_VERSION").to_owned(),
        ..Environment::default()
    }
}

/// What sends a load that can be carried out: one process, or several that are ready to send.
/// `listener` hears of the requests of this process alone.
pub(crate) async fn load_driver(
    plan: &LoadPlan,
    target_url: &str,
    site: Option<&Site>,
    listener: Option<Listener>,
    verbosity: Verbosity,
) -> Result<Arc<dyn LoadDriver>, Failure> {
    if plan.workers > 1 {
        let crew = workers::muster(plan, target_url, site, verbosity).await?;
        return Ok(Arc::new(crew));
    }
    let options = holdfast_load::Options {
        connector: site.map(Site::connector),
        listener,
        ..holdfast_load::Options::default()
    };
    let unusable = |error| Failure::input(chain(&error));
    let load = holdfast_load::driver(target_url, options).map_err(unusable)?;
    load.prepare(plan).await.map_err(unusable)?;
    Ok(Arc::new(load))
}

/// How a run is told to end early.
#[derive(Debug)]
pub(crate) struct Stop {
    /// For whoever has a reason of its own.
    pub(crate) sender: UnboundedSender<StopCause>,
    receiver: UnboundedReceiver<StopCause>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self { sender, receiver }
    }
}

/// Carries the run out until its end or an interruption; `sink` sees every event.
pub(crate) async fn carry_out(
    started: RunStarted,
    drivers: &Drivers,
    stop: Stop,
    interrupts: &Interrupts,
    sink: &mut (dyn FnMut(&Stamped) + Send),
) -> Record {
    let Stop { sender, receiver } = stop;
    let forward = tokio::spawn({
        let interrupts = interrupts.clone();
        async move {
            // A run that has ended needs no stopping.
            drop(sender.send(interrupts.wait().await));
        }
    });
    let record = holdfast_engine::run(started, drivers, receiver, sink).await;
    forward.abort();
    record
}
