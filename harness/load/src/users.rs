//! The closed-loop users: Goose starts and schedules them, each user's whole life is one
//! transaction, and inside it everything is ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use goose::client::GooseClientBuilder;
use goose::config::GooseConfiguration;
use goose::goose::{Scenario, Transaction, TransactionFunction};
use goose::{GooseAttack, GooseError};
use holdfast_core::experiment::Stage;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::client::Client;
use crate::dialer::Dialer;
use crate::journey::{Itinerary, Onward, Traveller};
use crate::recorder::{Lane, Recorder};
use crate::schedule::active_spans;
use crate::target::Target;

/// Users Goose launches per second: as fast as it can. Our own gate lets them begin together.
const LAUNCH_RATE: &str = "1000000";

/// What all senders of a load share.
#[derive(Debug)]
pub(crate) struct Battery {
    pub(crate) target: Arc<Target>,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) itinerary: Arc<Itinerary>,
    pub(crate) stages: Vec<Stage>,
    /// Cancelled: nothing more is sent; what is in flight goes on.
    pub(crate) cease: CancellationToken,
    /// Cancelled: what is in flight is abandoned.
    pub(crate) cut: CancellationToken,
    /// Empty when no sender lives any more.
    pub(crate) alive: TaskTracker,
    /// The account, once the load has begun.
    pub(crate) begun: watch::Receiver<Option<Arc<Recorder>>>,
}

/// Runs all users to their end. Each sends one message to `arrived` when it waits at the gate.
pub(crate) async fn run(
    battery: Arc<Battery>,
    count: u32,
    arrived: mpsc::UnboundedSender<()>,
) -> Result<(), GooseError> {
    let host = format!("http://{}", battery.target.authority);
    let next_index = Arc::new(AtomicU32::new(0));
    let life: TransactionFunction = Arc::new(move |goose_user| {
        // Goose then takes the transaction's end as the user's own, wished end, and comes to its
        // own end when all users have.
        goose_user.config.iterations = Some(1);
        let user = User {
            index: next_index.fetch_add(1, Ordering::Relaxed),
            battery: Arc::clone(&battery),
            _alive: battery.alive.token(),
        };
        let arrived = arrived.clone();
        Box::pin(async move {
            let cut = user.battery.cut.clone();
            // Nobody waits any more when the load was abandoned before it began.
            arrived.send(()).ok();
            cut.run_until_cancelled_owned(user.live()).await;
            Ok(())
        })
    });
    GooseAttack::initialize_with_config(configuration(count, &host))?
        .set_client_builder_without_cookies(GooseClientBuilder::new().without_cookies())?
        .register_scenario(Scenario::new("siege").register_transaction(Transaction::new(life)))
        .execute()
        .await
        .map(drop)
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

/// One simulated user.
struct User {
    index: u32,
    battery: Arc<Battery>,
    /// Dropped last, after everything the user has to account for.
    _alive: TaskTrackerToken,
}

impl User {
    async fn live(self) {
        let mut begun = self.battery.begun.clone();
        let Ok(recorder) = begun
            .wait_for(Option::is_some)
            .await
            .map(|begun| begun.clone())
        else {
            return;
        };
        let recorder = recorder.expect("the gate opens with a recorder");
        let dialer = &self.battery.dialer;
        let mut traveller = Traveller::new(
            Client::new(dialer, dialer.transport.connections),
            Arc::clone(&self.battery.itinerary),
            Arc::clone(&recorder),
            Lane::User(self.index),
            self.battery.cease.clone(),
        );
        for span in active_spans(&self.battery.stages, self.index) {
            let (from, until) = (recorder.start + span.start, recorder.start + span.end);
            if !self.pause_until(from).await {
                return;
            }
            let _presence = Presence::new(&recorder);
            while Instant::now() < until {
                if traveller.travel(None, until).await == Onward::No {
                    break;
                }
            }
        }
    }

    /// Whether the load still goes on then.
    async fn pause_until(&self, then: Instant) -> bool {
        let pause = self.battery.cease.run_until_cancelled(sleep_until(then));
        pause.await.is_some()
    }
}

/// Adds the time from its making to its end to the users' time at work, however the user ends.
struct Presence<'a> {
    recorder: &'a Recorder,
    since: Instant,
}

impl<'a> Presence<'a> {
    fn new(recorder: &'a Recorder) -> Self {
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
