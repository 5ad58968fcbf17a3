//! Who plays the scenarios: Goose's users, each within the stages of the plan.
//!
//! Goose calls one transaction after another; each is wrapped, so that it begins when the plan has
//! its user at work, and is the last one when the user's time is over.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use goose::goose::{GooseUser, Scenario, TransactionFunction, TransactionResult};
use holdfast_core::event::JourneyEnd;
use holdfast_core::experiment::Model;
use holdfast_core::outcome::Source;
use rand::Rng as _;
use rand::rngs::SmallRng;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until};

use super::{SESSION, Session};
use crate::client::Client;
use crate::recorder::{Recorder, Sent};
use crate::schedule::active_spans;
use crate::users::{Battery, Presence};

/// The scenarios that a load's users play; none: they make the plan's journeys.
#[derive(Clone, Default)]
pub(crate) struct Cast {
    scenarios: Vec<Scenario>,
}

impl fmt::Debug for Cast {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.scenarios.iter().map(|scenario| &scenario.name);
        formatter.debug_set().entries(names).finish()
    }
}

/// What all users of a load's scenarios share.
struct Stage {
    battery: Arc<Battery>,
    /// Hears of each user that waits at the gate.
    arrived: mpsc::UnboundedSender<()>,
    /// By Goose's number of the user.
    seats: Lock<BTreeMap<usize, Arc<Seat>>>,
    next: AtomicU32,
}

/// A transaction of a scenario.
struct Part {
    /// The transaction's name, or the scenario's where it has none.
    name: String,
    function: TransactionFunction,
    /// The user's wait afterwards, at least and at most.
    wait: Option<(Duration, Duration)>,
}

/// One user.
pub(super) struct Seat {
    /// Its own among all users of the load.
    pub(super) number: u32,
    pub(super) battery: Arc<Battery>,
    pub(super) recorder: Arc<Recorder>,
    /// When the plan has it at work.
    spans: Vec<Range<Instant>>,
    pub(super) actor: Mutex<Actor>,
}

/// What changes of a user.
pub(super) struct Actor {
    pub(super) client: Client,
    /// Whether a request of the running transaction failed.
    pub(super) has_failed: bool,
    /// Nothing is sent from then on.
    until: Instant,
    /// Whether the running transaction wanted to send later than that.
    is_over: bool,
    chance: SmallRng,
}

impl Cast {
    pub(crate) fn new(scenarios: Vec<Scenario>) -> Self {
        Self { scenarios }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.scenarios.is_empty()
    }

    /// The scenarios as Goose is to run them.
    pub(crate) fn on_stage(
        &self,
        battery: &Arc<Battery>,
        arrived: mpsc::UnboundedSender<()>,
    ) -> Vec<Scenario> {
        let stage = Arc::new(Stage {
            battery: Arc::clone(battery),
            arrived,
            seats: Lock::default(),
            next: AtomicU32::new(0),
        });
        let mut scenarios = self.scenarios.clone();
        for scenario in &mut scenarios {
            // Goose would not count it, nor end it with the load.
            let wait = scenario.transaction_wait.take();
            for transaction in &mut scenario.transactions {
                let name = transaction.name.name_for_transaction();
                let part = Arc::new(Part {
                    name: if name.is_empty() {
                        &scenario.name
                    } else {
                        name
                    }
                    .to_owned(),
                    function: Arc::clone(&transaction.function),
                    wait,
                });
                let stage = Arc::clone(&stage);
                transaction.function = Arc::new(move |user| {
                    let (stage, part) = (Arc::clone(&stage), Arc::clone(&part));
                    Box::pin(async move { stage.play(user, &part).await })
                });
            }
        }
        scenarios
    }
}

impl Stage {
    /// Plays a user's part, unless its time is over: then it leaves as soon as Goose lets it.
    async fn play(&self, user: &mut GooseUser, part: &Part) -> TransactionResult {
        let _alive = self.battery.alive.token();
        let played = self.act(user, part);
        let played = self.battery.cut.run_until_cancelled(played).await;
        if played != Some(Some(())) {
            // Goose takes the end of its iteration as the user's own, wished end.
            user.config.iterations = Some(1);
        }
        Ok(())
    }

    /// `None` when the user's time is over.
    async fn act(&self, user: &mut GooseUser, part: &Part) -> Option<()> {
        let seat = self.seat(user).await?;
        let until = seat.turn().await?;
        let _presence = Presence::new(&seat.recorder);
        {
            let mut actor = seat.actor.lock().await;
            actor.until = until;
            actor.has_failed = false;
            actor.is_over = false;
        }
        let session = Session(Arc::clone(&seat));
        let result = SESSION.scope(session, (part.function)(user)).await;
        let wait = {
            let mut actor = seat.actor.lock().await;
            if !actor.is_over {
                let end = match result {
                    Ok(()) if !actor.has_failed => JourneyEnd::Completed,
                    _ => JourneyEnd::Failed,
                };
                seat.recorder.end_journey(Source::Users, &part.name, end);
            }
            part.wait
                .map(|(least, most)| actor.chance.random_range(least..=most))
        };
        let Some(wait) = wait else {
            return Some(());
        };
        let from = Instant::now();
        let waited = sleep_until(until.min(from + wait));
        let waited = self.battery.cease.run_until_cancelled(waited).await;
        seat.recorder.add_pause(from);
        waited
    }

    /// The user's seat; the first time once the load has begun.
    async fn seat(&self, user: &GooseUser) -> Option<Arc<Seat>> {
        let number = user.weighted_users_index;
        let seats = || self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seats().get(&number).map(Arc::clone);
        if known.is_some() {
            return known;
        }
        // Nobody waits any more when the load was abandoned before it began.
        self.arrived.send(()).ok();
        let mut begun = self.battery.begun.clone();
        let recorder = begun.wait_for(Option::is_some).await.ok()?.clone()?;
        let own = self.next.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat::new(own, &self.battery, recorder));
        seats().insert(number, Arc::clone(&seat));
        Some(seat)
    }
}

impl Seat {
    /// The `own`th user of this process.
    fn new(own: u32, battery: &Arc<Battery>, recorder: Arc<Recorder>) -> Self {
        let number = battery.share.number(own);
        let stages: &[_] = match &battery.model {
            Model::Users(stages) => stages,
            Model::Arrivals(_) => &[],
        };
        let spans = active_spans(stages, number).into_iter();
        let spans = spans.map(|span| recorder.start + span.start..recorder.start + span.end);
        Self {
            number,
            battery: Arc::clone(battery),
            spans: spans.collect(),
            actor: Mutex::new(Actor {
                client: Client::new(&battery.dialer, battery.dialer.transport.connections),
                has_failed: false,
                until: recorder.start,
                is_over: false,
                chance: battery.itinerary.chance(number),
            }),
            recorder,
        }
    }

    /// Waits until the plan has the user at work, and tells until when; `None` when it has no more.
    async fn turn(&self) -> Option<Instant> {
        let now = Instant::now();
        let next = self.spans.iter().find(|span| now < span.end)?;
        let begin = sleep_until(next.start);
        self.battery.cease.run_until_cancelled(begin).await?;
        Some(next.end)
    }
}

impl Actor {
    /// Counts a request as sent, now, unless the user's time is over.
    pub(super) fn send(&mut self, recorder: &Recorder) -> Option<Sent> {
        let sent = if Instant::now() < self.until {
            recorder.send(Source::Users, None)
        } else {
            None
        };
        self.is_over |= sent.is_none();
        sent
    }
}
