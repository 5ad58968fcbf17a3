//! What a load sends: journeys, each chosen by its weight, their requests in turn, values carried
//! from one to the next, each request counted as it ends.
//!
//! ```text
//! LoadPlan ─prepare→ Itinerary ─choose→ Route: Leg ─write→ Message ─perform→ Outcome
//!                    Records ──────────────────↗                              │
//!                    saved values ←──────────── keep what is asked for ───────┘
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::event::JourneyEnd;
use holdfast_core::experiment::{Journey, Pauses};
use holdfast_core::outcome::Source;
use holdfast_core::plan::LoadPlan;
use holdfast_core::template::Variable;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Outcome};
use crate::dialer::Dialer;
use crate::message::{Message, RequestError};
use crate::recorder::Recorder;
use crate::share::Share;
use crate::target::Target;

mod answer;
mod data;
mod leg;
mod recipe;

pub use answer::ExpressionError;
pub use data::DataError;
use data::{Records, Turns};
use leg::{Draft, Leg, Luggage};
use recipe::Names;

/// Why the journeys of a plan cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum JourneyError {
    /// A request cannot be sent.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A file of records cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A part or a check of an answer cannot be looked for.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
}

/// Where requests go, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ways<'a> {
    pub(crate) target: &'a Arc<Target>,
    pub(crate) dialer: &'a Dialer,
}

/// All journeys of a plan, made ready once.
#[derive(Debug)]
pub(crate) struct Itinerary {
    routes: Vec<Route>,
    /// See [`LoadPlan::requests_per_user`].
    pub(crate) requests_per_user: Option<u64>,
    seed: u64,
    unique: Turns,
    /// The number that no user has: the prober's.
    prober: u32,
    /// The requests that can be sent alone: journey and place in it.
    alone: Vec<(usize, usize)>,
}

/// One journey, made ready.
#[derive(Debug)]
struct Route {
    name: String,
    weight: u32,
    pauses: Pauses,
    records: Option<Records>,
    /// How many values answers are asked to save.
    saved: usize,
    legs: Vec<Leg>,
}

impl Itinerary {
    /// Makes everything ready that can be known before the first request.
    pub(crate) fn prepare(
        plan: &LoadPlan,
        ways: Ways<'_>,
        share: Share,
    ) -> Result<Self, JourneyError> {
        let routes = plan.journeys.iter();
        let routes = routes.map(|journey| Route::new(journey, plan, ways, share));
        let routes: Vec<Route> = routes.collect::<Result<_, _>>()?;
        let alone = routes.iter().enumerate().flat_map(|(journey, route)| {
            let legs = route.legs.iter().enumerate();
            let alone = legs.filter(|(_, leg)| leg.is_independent);
            alone.map(move |(place, _)| (journey, place))
        });
        Ok(Self {
            alone: alone.collect(),
            routes,
            requests_per_user: plan.requests_per_user,
            seed: plan.seed,
            unique: Turns::of(share),
            prober: plan.model.most_in_flight(),
        })
    }

    /// One of the requests that can be sent alone: the `turn`th, again and again.
    pub(crate) fn single(&self, turn: u64) -> Single<'_> {
        // The first request of a journey has nothing to depend on: there is always one.
        let (journey, place) = self.alone[turn as usize % self.alone.len()];
        let route = &self.routes[journey];
        let leg = &route.legs[place];
        Single {
            leg,
            luggage: Luggage {
                user: self.prober,
                iteration: turn,
                record: route.record(&mut self.chance_of(!turn)),
                saved: &[],
            },
            unique: &self.unique,
            draft: Draft::default(),
        }
    }

    /// What the sender with this number leaves to chance.
    pub(crate) fn chance(&self, number: u32) -> SmallRng {
        self.chance_of(number.into())
    }

    fn chance_of(&self, draw: u64) -> SmallRng {
        // The golden ratio: neighbours in number are none in what they draw.
        let step = draw.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        SmallRng::seed_from_u64(self.seed ^ step)
    }

    /// A journey, chosen by weight.
    fn choose(&self, chance: &mut SmallRng) -> &Route {
        let (last, others) = self.routes.split_last().expect("a plan has a journey");
        if others.is_empty() {
            return last;
        }
        let total = self
            .routes
            .iter()
            .map(|route| u64::from(route.weight))
            .sum();
        let mut drawn = chance.random_range(0..total);
        let chosen = others.iter().find(|route| {
            let weight = u64::from(route.weight);
            let is_it = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            is_it
        });
        chosen.unwrap_or(last)
    }
}

impl Route {
    fn new(
        journey: &Journey,
        plan: &LoadPlan,
        ways: Ways<'_>,
        share: Share,
    ) -> Result<Self, JourneyError> {
        let names = names(journey);
        let records = journey.data.as_ref();
        let records = records
            .map(|data| Records::read(data, &names.fields, Turns::of(share)))
            .transpose()?;
        let legs = (0..journey.requests.len())
            .map(|place| Leg::new((journey, place), plan, &names, records.as_ref(), ways));
        Ok(Self {
            name: journey.name.clone(),
            weight: journey.weight,
            pauses: journey.pauses,
            legs: legs.collect::<Result<_, _>>()?,
            records,
            saved: names.saved.len(),
        })
    }

    /// The record for one more beginning; nothing without records.
    fn record(&self, chance: &mut SmallRng) -> &[Box<str>] {
        self.records
            .as_ref()
            .map_or(&[], |records| records.take(chance))
    }
}

/// What the templates of a journey use, and what its answers are asked to save.
fn names(journey: &Journey) -> Names {
    let requests = || journey.requests.iter();
    let mut fields = BTreeSet::new();
    let mut saved: BTreeSet<&String> = requests().flat_map(|it| it.save.keys()).collect();
    for variable in requests().flat_map(|it| it.templates().flat_map(|text| text.variables())) {
        match variable {
            Variable::Data(field) => drop(fields.insert(field)),
            Variable::Saved(name) => drop(saved.insert(name)),
            Variable::User | Variable::Iteration | Variable::Unique | Variable::Uuid => {}
        }
    }
    Names {
        fields: fields.into_iter().cloned().collect(),
        saved: saved.into_iter().cloned().collect(),
    }
}

/// A pause made of a think time.
fn pause_length(think_time: Duration, pauses: Pauses, chance: &mut SmallRng) -> Duration {
    match pauses {
        Pauses::Exact => think_time,
        Pauses::UpTo => think_time.mul_f64(chance.random()),
    }
}

/// A request that is sent alone.
#[derive(Debug)]
pub(crate) struct Single<'a> {
    leg: &'a Leg,
    luggage: Luggage<'a>,
    unique: &'a Turns,
    draft: Draft,
}

impl Single<'_> {
    pub(crate) fn message(&mut self) -> &Message {
        let message = self.leg.message(self.luggage, self.unique, &mut self.draft);
        message.expect("what uses no answer could be written when it was made ready")
    }

    /// For reports: method and path as the experiment has them.
    pub(crate) fn label(&self) -> &str {
        &self.leg.label
    }

    /// Fails the request whose answer is not what it must be.
    pub(crate) fn inspect(&self, outcome: &mut Outcome) {
        self.leg.inspect(outcome, self.luggage, &self.draft);
    }
}

/// One sender and what it carries along.
#[derive(Debug)]
pub(crate) struct Traveller {
    client: Client,
    itinerary: Arc<Itinerary>,
    recorder: Arc<Recorder>,
    /// Its own among all senders of the load.
    number: u32,
    /// Cancelled: nothing more is sent; what is in flight goes on.
    cease: CancellationToken,
    chance: SmallRng,
    /// Journeys begun so far.
    begun: u64,
    saved: Vec<Option<String>>,
    draft: Draft,
    /// Requests that it may still send; `None`: any number.
    left: Option<u64>,
}

/// What became of a request.
enum Sending {
    Ended {
        at: Instant,
        failed: bool,
    },
    /// The load has ceased: it was not sent.
    Refused,
    /// With what was saved it is no request.
    Impossible,
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
        number: u32,
        cease: CancellationToken,
    ) -> Self {
        Self {
            client,
            chance: itinerary.chance(number),
            left: itinerary.requests_per_user,
            itinerary,
            recorder,
            number,
            cease,
            begun: 0,
            saved: Vec::new(),
            draft: Draft::default(),
        }
    }

    /// Makes one journey. `intended`: when it should have begun, in an open model. Nothing is sent
    /// from `until` on.
    pub(crate) async fn travel(&mut self, intended: Option<Instant>, until: Instant) -> Onward {
        if Instant::now() >= until {
            return Onward::No;
        }
        let itinerary = Arc::clone(&self.itinerary);
        let route = itinerary.choose(&mut self.chance);
        let record = route.record(&mut self.chance);
        self.saved.clear();
        self.saved.resize(route.saved, None);
        self.client.forget_cookies();
        self.begun += 1;
        let mut due = intended;
        let mut end = JourneyEnd::Completed;
        let mut legs = route.legs.iter().peekable();
        while let Some(leg) = legs.next() {
            if self.left == Some(0) {
                return Onward::No;
            }
            let (ended, failed) = match self.send(leg, record, due).await {
                Sending::Ended { at, failed } => (at, failed),
                Sending::Refused => return Onward::No,
                Sending::Impossible => {
                    self.recorder
                        .end_journey(Source::Users, &route.name, JourneyEnd::Failed);
                    return Onward::Yes;
                }
            };
            if failed {
                end = JourneyEnd::Failed;
            }
            let next = ended + pause_length(leg.think_time, route.pauses, &mut self.chance);
            if legs.peek().is_none() || (failed && leg.is_needed) {
                self.recorder.end_journey(Source::Users, &route.name, end);
                // A user thinks before its next journey too; an arrival has gone.
                return match intended {
                    None => self.pause(ended, next.min(until)).await,
                    Some(_) => Onward::Yes,
                };
            }
            if self.pause(ended, next.min(until)).await == Onward::No || Instant::now() >= until {
                return Onward::No;
            }
            due = due.map(|_| next);
        }
        Onward::Yes
    }

    /// Sends one request and counts how it ended.
    async fn send(&mut self, leg: &Leg, record: &[Box<str>], due: Option<Instant>) -> Sending {
        let luggage = Luggage {
            user: self.number,
            iteration: self.begun - 1,
            record,
            saved: &self.saved,
        };
        let message = leg.message(luggage, &self.itinerary.unique, &mut self.draft);
        let Some(message) = message else {
            return Sending::Impossible;
        };
        let Some(sent) = self.recorder.send(Source::Users, due) else {
            return Sending::Refused;
        };
        self.left = self.left.map(|left| left - 1);
        let deadline = sent.at + leg.timeout;
        let mut outcome = self.client.perform(message, deadline).await;
        for (place, value) in leg.inspect(&mut outcome, luggage, &self.draft) {
            self.saved[place] = Some(value);
        }
        let failed = outcome.failure.is_some();
        let at = self.recorder.end(Source::Users, &leg.label, sent, outcome);
        Sending::Ended { at, failed }
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

#[cfg(test)]
mod tests;
