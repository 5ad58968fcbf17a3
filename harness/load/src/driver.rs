//! The load driver: what is checked before a load, and the load on a thread of its own.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use goose::goose::Scenario;
use holdfast_core::experiment::Model;
use holdfast_core::plan::LoadPlan;
use holdfast_engine::{Events, LoadDriver, LoadDriverError};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::calibration::{self, Calibration, calibrate};
use crate::client;
use crate::dialer::Dialer;
use crate::failure;
use crate::gate::Gate;
use crate::journey::{Itinerary, JourneyError, Ways};
use crate::listener::Listener;
use crate::message::RequestError;
use crate::prober;
use crate::process::{self, ProcessError, claim_process};
use crate::run::{self, Load};
use crate::scenario::Cast;
use crate::share::Share;
use crate::target::{Connector, Target, TargetError};
use crate::thread;
use crate::users;

/// How the driver sends, beyond what a plan says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Chooses the endpoint of each new connection; without one the target's address is dialled.
    pub connector: Option<Arc<dyn Connector>>,
    /// The part of the load that this process sends; all of it unless several do.
    pub share: Share,
    /// Hears of each request of this process as it ends.
    pub listener: Option<Listener>,
}

/// Why there can be no driver, or no load with it.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The base URL cannot be a target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The process cannot be used for load.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A request of the plan cannot be sent.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A journey of the plan cannot be made.
    #[error(transparent)]
    Journey(#[from] JourneyError),
    /// The target's name means nothing here.
    #[error("the target `{authority}` does not resolve")]
    Unresolved {
        /// Host and port.
        authority: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nothing can be calibrated against.
    #[error("no server to calibrate the load generator against could be started")]
    NullServer(#[source] io::Error),
    /// The burst of a calibration failed.
    #[error("the load generator could not be calibrated")]
    Calibration(#[source] LoadDriverError),
    /// It had no effect.
    #[error("the load generator could not be calibrated: nothing was answered")]
    NoAnswers,
    /// Scenarios in an open model.
    #[error("scenarios are played by users; give the plan stages with users instead of a rate")]
    ScenariosAtARate,
    /// Scenarios with so many requests for each user.
    #[error(
        "a user who plays a scenario sends what that says until the load ends; leave \
         `requests_per_user` out"
    )]
    ScenariosWithALimit,
    /// The generator cannot keep the rate of an open model.
    #[error(
        "{asked:.0} requests per second are asked for at most, and this generator managed \
         {calibrated:.0} against a server that does nothing; lower the rate, keep connections \
         alive, or share the load among more workers"
    )]
    TooFast {
        /// Requests per second that this process would have to send.
        asked: f64,
        /// What it sent when it was tried.
        calibrated: f64,
    },
}

/// What every machine manages: an open load that asks for no more is not calibrated for.
const EASY_RATE: f64 = 1000.0;

/// A driver that sends to `base_url`, an absolute `http` or `https` URL; a path in it goes before each
/// request's path.
///
/// # Errors
/// The URL is not an absolute `http` or `https` URL, or [`claim_process`] failed.
pub fn driver(base_url: &str, options: Options) -> Result<HttpLoad, DriverError> {
    claim_process()?;
    Ok(HttpLoad {
        target: Arc::new(Target::parse(base_url, options.connector)?),
        share: options.share,
        listener: options.listener,
        gate: None,
        cast: Cast::default(),
        calibrated: Mutex::default(),
    })
}

/// Carries out load plans over HTTP/1.1 or HTTP/2, each on a thread of its own; several runs may follow one
/// another.
#[derive(Debug)]
pub struct HttpLoad {
    target: Arc<Target>,
    share: Share,
    listener: Option<Listener>,
    /// Holds a load back when it is ready to send.
    gate: Option<Gate>,
    cast: Cast,
    /// The best that was measured, with one kind of connections.
    calibrated: Mutex<Option<Calibration>>,
}

impl HttpLoad {
    /// A driver whose load waits at `gate` when it is ready to send.
    pub(crate) fn behind(self, gate: Gate) -> Self {
        let gate = Some(gate);
        Self { gate, ..self }
    }

    /// Lets the users play these scenarios in place of the plan's journeys, which then are the
    /// prober's alone: see [`scenario`](crate::scenario). Which user plays which is Goose's choice, by
    /// their weights.
    #[must_use]
    pub fn with_scenarios(mut self, scenarios: Vec<Scenario>) -> Self {
        self.cast = Cast::new(scenarios);
        self
    }

    /// Finds everything that can be found wrong with a plan before its first request. A run does
    /// the same at its begin; who calls this before can tell bad input from a run that failed.
    ///
    /// # Errors
    /// The plan cannot be carried out, here or at all.
    pub async fn prepare(&self, plan: &LoadPlan) -> Result<(), DriverError> {
        self.make_ready(plan).await.map(drop)
    }

    async fn make_ready(&self, plan: &LoadPlan) -> Result<Load, DriverError> {
        if !self.cast.is_empty() && matches!(plan.model, Model::Arrivals(_)) {
            return Err(DriverError::ScenariosAtARate);
        }
        if !self.cast.is_empty() && plan.requests_per_user.is_some() {
            return Err(DriverError::ScenariosWithALimit);
        }
        let share = self.share;
        // One prober is enough for all processes.
        let prober = plan.prober.filter(|_| share.index == 0);
        let probes = prober.map_or(0, prober::most_probes);
        let dialer = Dialer::new(plan.transport.clone(), &self.target)?;
        let ways = Ways {
            target: &self.target,
            dialer: &dialer,
        };
        let itinerary = Arc::new(Itinerary::prepare(plan, ways, share)?);
        let targets = dialer.targets();
        // Origins that only a redirect will name cannot be counted.
        let sockets = client::most_connections(plan.transport.connections, targets.len());
        let users = u64::from(users::most(&plan.model, share));
        process::provide_descriptors(users * sockets + probes)?;
        for target in targets {
            let resolved = target.resolve().await;
            resolved.map_err(|source| DriverError::Unresolved {
                authority: target.authority.clone(),
                source,
            })?;
        }
        let calibrated_rate = self.calibrated_rate(plan).await?;
        Ok(Load {
            target: Arc::clone(&self.target),
            dialer: Arc::new(dialer),
            itinerary,
            share,
            cast: self.cast.clone(),
            calibrated_rate,
            plan: LoadPlan {
                prober,
                ..plan.clone()
            },
            gate: self.gate.clone(),
            listener: self.listener.clone(),
        })
    }

    /// What this generator manages, when the plan asks for so much that it matters.
    async fn calibrated_rate(&self, plan: &LoadPlan) -> Result<Option<f64>, DriverError> {
        let asked = calibration::peak_rate(plan, self.share.count);
        let Some(asked) = asked.filter(|rate| *rate > EASY_RATE) else {
            return Ok(None);
        };
        let connections = plan.transport.connections;
        let mut known = self.calibrated.lock().await;
        // Something else may have had the processors during the first burst.
        for _ in 0..2 {
            let rate = known
                .filter(|known| known.connections == connections)
                .map_or(0.0, |known| known.requests_per_second);
            if rate >= asked {
                break;
            }
            let tried = calibrate(&plan.transport).await?;
            if tried.requests_per_second > rate {
                *known = Some(tried);
            }
        }
        let calibrated = known.map_or(0.0, |known| known.requests_per_second);
        if calibrated < asked {
            return Err(DriverError::TooFast { asked, calibrated });
        }
        Ok(Some(calibrated))
    }
}

#[async_trait]
impl LoadDriver for HttpLoad {
    async fn run(
        &self,
        plan: &LoadPlan,
        events: Events,
        stop: CancellationToken,
    ) -> Result<(), LoadDriverError> {
        let failed =
            |error: &(dyn std::error::Error + 'static)| LoadDriverError(failure::words(error));
        let load = self
            .make_ready(plan)
            .await
            .map_err(|error| failed(&error))?;
        let carried_out = thread::run("holdfast-load", move || run::carry_out(load, events, stop));
        match carried_out.await {
            Ok(carried_out) => carried_out.map_err(|error| failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }
}
