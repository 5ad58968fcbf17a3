//! One journey after another: the requests of a sender, each counted as it ends.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::event::JourneyEnd;
use holdfast_core::experiment::{self, Journey};
use holdfast_core::outcome::Source;
use holdfast_core::plan::LoadPlan;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::dialer::Dialer;
use crate::message::{self, Message, RequestError};
use crate::recorder::Recorder;
use crate::target::Target;

/// All journeys of a plan, made ready once.
#[derive(Debug)]
pub(crate) struct Itinerary {
    journeys: Vec<Route>,
}

/// One journey, made ready.
#[derive(Debug)]
struct Route {
    name: String,
    legs: Vec<Leg>,
}

/// One request of a journey, made ready.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) message: Message,
    /// For reports: method and path as the experiment has them.
    pub(crate) label: Arc<str>,
    pub(crate) timeout: Duration,
    think_time: Duration,
    independent: bool,
}

impl Itinerary {
    /// Makes everything ready that can be known before the first request.
    pub(crate) fn prepare(
        plan: &LoadPlan,
        target: &Arc<Target>,
        dialer: &Dialer,
    ) -> Result<Self, RequestError> {
        let journeys = plan.journeys.iter().map(|journey| {
            let legs = journey.requests.iter();
            let legs = legs.map(|request| leg(request, (journey, plan), target, dialer));
            Ok(Route {
                name: journey.name.clone(),
                legs: legs.collect::<Result<_, _>>()?,
            })
        });
        Ok(Self {
            journeys: journeys.collect::<Result<_, _>>()?,
        })
    }

    /// What can be sent alone, in turn: the prober's requests.
    pub(crate) fn independent(&self) -> Vec<&Leg> {
        let legs = self.journeys.iter().flat_map(|route| &route.legs);
        legs.filter(|leg| leg.independent).collect()
    }
}

fn leg(
    request: &experiment::Request,
    (journey, plan): (&Journey, &LoadPlan),
    target: &Arc<Target>,
    dialer: &Dialer,
) -> Result<Leg, RequestError> {
    Ok(Leg {
        message: message::prepare(request, target, dialer)?,
        label: format!("{} {}", request.method, request.path).into(),
        timeout: request.timeout.unwrap_or(plan.timeout),
        think_time: request.think_time.unwrap_or(journey.think_time),
        independent: request.is_independent(),
    })
}

/// One sender and what it carries along.
#[derive(Debug)]
pub(crate) struct Traveller {
    client: Client,
    itinerary: Arc<Itinerary>,
    recorder: Arc<Recorder>,
    source: Source,
    /// Cancelled: nothing more is sent; what is in flight goes on.
    cease: CancellationToken,
}

/// Whether a sender goes on after a journey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Onward {
    Yes,
    /// The load has ceased, or the sender's time is over.
    No,
}

impl Traveller {
    pub(crate) fn new(
        client: Client,
        itinerary: Arc<Itinerary>,
        recorder: Arc<Recorder>,
        source: Source,
        cease: CancellationToken,
    ) -> Self {
        Self {
            client,
            itinerary,
            recorder,
            source,
            cease,
        }
    }

    /// Makes one journey. `intended`: when it should have begun, in an open model. Nothing is sent
    /// from `until` on.
    pub(crate) async fn travel(&mut self, intended: Option<Instant>, until: Instant) -> Onward {
        let itinerary = Arc::clone(&self.itinerary);
        let route = &itinerary.journeys[0];
        let mut intended = intended;
        let mut end = JourneyEnd::Completed;
        for leg in &route.legs {
            if Instant::now() >= until {
                return Onward::No;
            }
            let Some(sent) = self.recorder.send(self.source, intended) else {
                return Onward::No;
            };
            let deadline = sent.at + leg.timeout;
            let outcome = self.client.perform(&leg.message, deadline).await;
            if outcome.failure.is_some() {
                end = JourneyEnd::Failed;
            }
            let ended = self.recorder.end(self.source, &leg.label, sent, outcome);
            let next = ended + leg.think_time;
            if self.pause(ended, next.min(until)).await == Onward::No {
                return Onward::No;
            }
            intended = intended.map(|_| next);
        }
        self.recorder.end_journey(self.source, &route.name, end);
        Onward::Yes
    }

    async fn pause(&self, from: Instant, until: Instant) -> Onward {
        if until <= from {
            return Onward::Yes;
        }
        let pause = self.cease.run_until_cancelled(sleep_until(until));
        let onward = match pause.await {
            Some(()) => Onward::Yes,
            None => Onward::No,
        };
        self.recorder.add_pause(from);
        onward
    }
}
