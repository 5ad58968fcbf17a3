//! Who sends the load: Goose starts and schedules the users, each user's whole life is one
//! transaction, and inside it everything is ours. In a closed model a user makes one journey after
//! another; in an open one it is a place that waits for arrivals.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use goose::client::GooseClientBuilder;
use goose::config::GooseConfiguration;
use goose::goose::{Scenario, Transaction, TransactionFunction};
use goose::{GooseAttack, GooseError};
use holdfast_core::experiment::Model;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::arrivals::{Place, Places};
use crate::client::Client;
use crate::dialer::Dialer;
use crate::journey::{Itinerary, Onward, Traveller};
use crate::recorder::Recorder;
use crate::scenario::Cast;
use crate::schedule::active_spans;
use crate::share::Share;
use crate::target::Target;

/// Users Goose launches per second: as fast as it can. Our own gate lets them begin together.
const LAUNCH_RATE: &str = "1000000";
/// Places for arrivals that are there before the load. Few loads need as many as they may have,
/// so that the others are made when they are needed first.
const FIRST_PLACES: u32 = 100;
/// A journey that was due in time is begun, however late: what comes after the stop the recorder
/// refuses.
const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 3600);

/// What all senders of a load share.
#[derive(Debug)]
pub(crate) struct Battery {
    pub(crate) target: Arc<Target>,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) itinerary: Arc<Itinerary>,
    pub(crate) model: Model,
    /// The part of the load that is this process's.
    pub(crate) share: Share,
    /// Where arrivals of an open model find a user that is free.
    pub(crate) places: Arc<Places>,
    /// What users send in place of the plan's journeys.
    pub(crate) cast: Cast,
    /// Deadline of a request that has none of its own.
    pub(crate) timeout: Duration,
    /// Cancelled: nothing more is sent; what is in flight goes on.
    pub(crate) cease: CancellationToken,
    /// Cancelled: what is in flight is abandoned.
    pub(crate) cut: CancellationToken,
    /// Empty when no sender lives any more.
    pub(crate) alive: TaskTracker,
    /// The account, once the load has begun.
    pub(crate) begun: watch::Receiver<Option<Arc<Recorder>>>,
}

impl Battery {
    /// Ends the load before its time when its users only have so many requests to send.
    fn all_have_sent(&self) {
        if self.itinerary.requests_per_user.is_some() {
            self.cease.cancel();
        }
    }
}

/// Runs all users to their end. Each sends one message to `arrived` when it waits at the gate.
pub(crate) async fn run(
    battery: Arc<Battery>,
    count: u32,
    arrived: mpsc::UnboundedSender<()>,
) -> Result<(), GooseError> {
    if count == 0 {
        // More processes than users: Goose wants at least one.
        battery.all_have_sent();
        return Ok(());
    }
    let host = format!("http://{}", battery.target.authority);
    let scenarios = if battery.cast.is_empty() {
        vec![whole_lives(&battery, arrived)]
    } else {
        battery.cast.on_stage(&battery, arrived)
    };
    let attack = GooseAttack::initialize_with_config(configuration(count, &host))?
        .set_client_builder_without_cookies(GooseClientBuilder::new().without_cookies())?;
    let attack = scenarios
        .into_iter()
        .fold(attack, GooseAttack::register_scenario);
    attack.execute().await.map(drop)
}

/// A scenario in which each user makes the plan's journeys, all in one transaction: Goose's work
/// for a transaction is done once.
fn whole_lives(battery: &Arc<Battery>, arrived: mpsc::UnboundedSender<()>) -> Scenario {
    let battery = Arc::clone(battery);
    let next_index = Arc::new(AtomicU32::new(0));
    let working = launched(&battery.model, battery.share);
    let working = Arc::new(AtomicU32::new(working));
    let life: TransactionFunction = Arc::new(move |goose_user| {
        // Goose then takes the transaction's end as the user's own, wished end, and comes to its
        // own end when all users have.
        goose_user.config.iterations = Some(1);
        let own = next_index.fetch_add(1, Ordering::Relaxed);
        let user = User::new(battery.share.number(own), &battery);
        let (arrived, working) = (arrived.clone(), Arc::clone(&working));
        Box::pin(async move {
            let battery = Arc::clone(&user.battery);
            let cut = battery.cut.clone();
            // Nobody waits any more when the load was abandoned before it began.
            arrived.send(()).ok();
            cut.run_until_cancelled_owned(user.live()).await;
            if working.fetch_sub(1, Ordering::Relaxed) == 1 {
                battery.all_have_sent();
            }
            Ok(())
        })
    });
    Scenario::new("siege").register_transaction(Transaction::new(life))
}

/// Goose without metrics, prints, controllers, or a time limit of its own.
fn configuration(users: u32, host: &str) -> GooseConfiguration {
    let mut configuration = GooseConfiguration::default();
    configuration.host = Some(host.to_owned());
    configuration.users = Some(users as usize);
    configuration.increase_rate = Some(LAUNCH_RATE.to_owned());
    configuration.quiet = 1;
    configuration.no_metrics = true;
    configuration.no_print_metrics = true;
    configuration.no_error_summary = true;
    configuration.no_telnet = true;
    configuration.no_websocket = true;
    configuration
}

/// The most users that this process needs.
pub(crate) fn most(model: &Model, share: Share) -> u32 {
    let own = share.of(model.most_in_flight());
    match model {
        Model::Users(_) => own,
        // Every process has arrivals, and so a place for them.
        Model::Arrivals(_) => own.max(1),
    }
}

/// Those of them that Goose starts before the load.
pub(crate) fn launched(model: &Model, share: Share) -> u32 {
    let most = most(model, share);
    match model {
        Model::Users(_) => most,
        Model::Arrivals(_) => most.min(FIRST_PLACES),
    }
}

/// Adds a user of an open model, which is free at once.
pub(crate) fn add(battery: &Arc<Battery>) {
    let user = User::new(battery.share.number(battery.places.opened()), battery);
    let cut = battery.cut.clone();
    tokio::spawn(cut.run_until_cancelled_owned(user.live()));
}

/// One simulated user.
struct User {
    /// Its own among those of all processes.
    number: u32,
    battery: Arc<Battery>,
    duty: Duty,
    /// Dropped last, after everything the user has to account for.
    _alive: TaskTrackerToken,
}

/// What a user is there for.
enum Duty {
    /// To make one journey after another during these times, since the start of the load.
    Spans(Vec<Range<Duration>>),
    /// To make a journey for each arrival.
    Arrivals(Place),
}

impl User {
    /// A place of arrivals is free at once, so that none of them finds it still on its way.
    fn new(number: u32, battery: &Arc<Battery>) -> Self {
        Self {
            number,
            duty: match &battery.model {
                Model::Users(stages) => Duty::Spans(active_spans(stages, number)),
                Model::Arrivals(_) => Duty::Arrivals(battery.places.open()),
            },
            battery: Arc::clone(battery),
            _alive: battery.alive.token(),
        }
    }

    async fn live(self) {
        let Self {
            number,
            battery,
            duty,
            _alive,
        } = self;
        let mut begun = battery.begun.clone();
        let Ok(recorder) = begun
            .wait_for(Option::is_some)
            .await
            .map(|begun| begun.clone())
        else {
            return;
        };
        let recorder = recorder.expect("the gate opens with a recorder");
        let dialer = &battery.dialer;
        let traveller = Traveller::new(
            Client::new(dialer, dialer.transport.connections),
            Arc::clone(&battery.itinerary),
            Arc::clone(&recorder),
            number,
            battery.cease.clone(),
        );
        match duty {
            Duty::Spans(spans) => work(&spans, &battery.cease, traveller, &recorder).await,
            Duty::Arrivals(place) => serve(place, traveller, &recorder).await,
        }
    }
}

/// Makes one journey after another during `spans`.
async fn work(
    spans: &[Range<Duration>],
    cease: &CancellationToken,
    mut traveller: Traveller,
    recorder: &Recorder,
) {
    for span in spans {
        let (from, until) = (recorder.start + span.start, recorder.start + span.end);
        if cease.run_until_cancelled(sleep_until(from)).await.is_none() {
            return;
        }
        let _presence = Presence::new(recorder);
        while traveller.travel(None, until).await == Onward::Yes {}
    }
}

/// Makes a journey for each arrival at its place.
async fn serve(mut place: Place, mut traveller: Traveller, recorder: &Recorder) {
    while let Some(intended) = place.arrival().await {
        let presence = Presence::new(recorder);
        traveller.travel(Some(intended), intended + UNLIMITED).await;
        drop(presence);
        place.vacate();
    }
}

/// Adds the time from its making to its end to the users' time at work, however the user ends.
pub(crate) struct Presence<'a> {
    recorder: &'a Recorder,
    since: Instant,
}

impl<'a> Presence<'a> {
    pub(crate) fn new(recorder: &'a Recorder) -> Self {
        Self {
            recorder,
            since: Instant::now(),
        }
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.recorder.add_presence(self.since);
    }
}
