//! What this generator manages, here and now: a short closed burst by the same engine against a
//! server that does nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_core::event::Event;
use holdfast_core::experiment::{
    self, Connections, HttpVersion, Journey, Model, Pauses, Redirects, Request, Stage, Transport,
    Trust,
};
use holdfast_core::histogram::Histogram;
use holdfast_core::outcome::Source;
use holdfast_core::plan::LoadPlan;
use holdfast_core::template::Template;
use holdfast_engine::{Events, LoadDriver as _};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

use crate::driver::{DriverError, Options, driver};
use crate::null_server::NullServer;

/// Enough users to keep one thread busy.
const USERS: u32 = 32;
/// Long enough to measure a rate, and too short to use up the local ports with a connection for
/// each request.
const BURST: Duration = Duration::from_millis(400);
/// Deadline of each request of the burst.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What a generator managed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// With or without a new connection for each request.
    pub connections: Connections,
    /// Requests that were answered, per second.
    pub requests_per_second: f64,
    /// Processor time of the sending thread for each, in seconds.
    pub cpu_seconds_per_request: f64,
    /// Median of the service times, in seconds.
    pub p50: f64,
    /// Their 99th percentile, in seconds.
    pub p99: f64,
}

/// Measures what one process sends with `transport`'s connections, over plain HTTP/1.1, in about
/// a second.
///
/// # Errors
/// The burst could not be carried out, or nothing was answered.
pub async fn calibrate(transport: &Transport) -> Result<Calibration, DriverError> {
    let connections = transport.connections;
    let server = NullServer::start(connections).map_err(DriverError::NullServer)?;
    let url = format!("http://{}", server.address);
    let load = driver(&url, Options::default())?;
    let (sender, mut receiver) = unbounded_channel();
    let events = Events::new(sender);
    let plan = burst(&url, connections);
    let carried_out = load.run(&plan, events, CancellationToken::new()).await;
    carried_out.map_err(DriverError::Calibration)?;
    let mut latency = Histogram::default();
    let mut finished = None;
    while let Some(event) = receiver.recv().await {
        match event {
            Event::Tick(tick) if tick.source == Source::Users && !tick.draining => {
                latency.merge(&tick.latency_expected);
            }
            Event::LoadFinished(load) => finished = Some(load),
            _ => {}
        }
    }
    let seconds = |percent| latency.percentile(percent).map(|time| time.as_secs_f64());
    let (Some(finished), Some(p50), Some(p99)) = (finished, seconds(50.0), seconds(99.0)) else {
        return Err(DriverError::NoAnswers);
    };
    let (answered, elapsed) = (latency.count() as f64, finished.elapsed.as_secs_f64());
    Ok(Calibration {
        connections,
        requests_per_second: answered / elapsed,
        cpu_seconds_per_request: finished.sender_cpu_seconds / answered,
        p50,
        p99,
    })
}

fn burst(url: &str, connections: Connections) -> LoadPlan {
    let stage = Stage {
        users: USERS,
        ramp: Duration::ZERO,
        duration: BURST,
    };
    let request = Request {
        method: "GET".to_owned(),
        path: Template::fixed("/"),
        headers: BTreeMap::new(),
        body: None,
        expect: vec![200],
        checks: Vec::new(),
        save: BTreeMap::new(),
        timeout: None,
        think_time: None,
    };
    LoadPlan {
        target: experiment::Target::Url(url.to_owned()),
        model: Model::Users(vec![stage]),
        duration: BURST,
        requests_per_user: None,
        journeys: vec![Journey {
            name: "calibration".to_owned(),
            weight: 1,
            think_time: Duration::ZERO,
            pauses: Pauses::Exact,
            data: None,
            requests: vec![request],
        }],
        timeout: TIMEOUT,
        drain_limit: TIMEOUT,
        prober: None,
        transport: Transport {
            connections,
            http: HttpVersion::Http1,
            redirects: Redirects::Answer,
            tls: Trust::System,
        },
        workers: 1,
        seed: 0,
    }
}

/// Requests per second that a process has to send at most for its part of a plan; `None` in a
/// closed model, which asks for no rate.
pub(crate) fn peak_rate(plan: &LoadPlan, processes: u32) -> Option<f64> {
    let Model::Arrivals(arrivals) = &plan.model else {
        return None;
    };
    let rates = arrivals.stages.iter().map(|stage| stage.rate);
    let weight = |journey: &Journey| f64::from(journey.weight);
    let requests = |journey: &Journey| weight(journey) * journey.requests.len() as f64;
    let weights: f64 = plan.journeys.iter().map(weight).sum();
    let per_journey = plan.journeys.iter().map(requests).sum::<f64>() / weights;
    Some(rates.fold(0.0, f64::max) * per_journey / f64::from(processes))
}
