//! One process of a shared load: does what its coordinator says, and lives no longer than its
//! connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::event::Event;
use holdfast_engine::{Events, LoadDriver as _, LoadDriverError};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::clock::Clock;
use super::machine::Machine;
use super::protocol::{
    Assignment, Ear, Hello, LINE_LIMIT, LineError, Mouth, Order, Report, Token, VERSION, halves,
};
use super::routes::{Followed, Routes};
use crate::driver::{Options, driver};
use crate::failure;
use crate::gate::{Keeper, gate};
use crate::target::Connector;

/// How long a connection to the coordinator may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A coordinator that does not say so much later that all is told is gone without a sign.
const BYE_WITHIN: Duration = Duration::from_secs(60);

/// What a worker has to know.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Where its coordinator listens: `host:port`.
    pub coordinator: String,
    /// Its number, from 0.
    pub index: u32,
    /// What lets it in.
    pub token: Token,
    /// The clock it goes by.
    pub clock: Clock,
}

/// Why a worker did not do its duty to the end.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Nobody there.
    #[error("the coordinator at {coordinator} cannot be reached")]
    Unreachable {
        /// Where it should be.
        coordinator: String,
        /// What the system said.
        source: io::Error,
    },
    /// The coordinator does not want it.
    #[error("the coordinator refused this worker: {0}")]
    Refused(String),
    /// Its share cannot be sent.
    #[error("this share of the load cannot be sent: {0}")]
    Unprepared(String),
    /// Its share was not sent to its end.
    #[error("this share of the load was not sent to its end: {0}")]
    Load(String),
    /// The coordinator is gone.
    #[error("the coordinator is gone, and the load was ended with it")]
    Orphaned,
    /// The coordinator does not keep to the protocol.
    #[error("the coordinator does not speak the protocol of this version: {0}")]
    Protocol(String),
}

impl From<LineError> for WorkerError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Connection(_) => Self::Orphaned,
            LineError::TooLong(_) | LineError::NotOfTheProtocol(_) | LineError::NotWritable(_) => {
                Self::Protocol(failure::words(&error))
            }
        }
    }
}

/// Reports for duty, sends its share of one load, and tells of it. Ends when the coordinator says
/// so or is gone.
///
/// # Errors
/// See [`WorkerError`].
pub async fn work(options: &WorkerOptions) -> Result<(), WorkerError> {
    let (mut ear, mut mouth) = connect(&options.coordinator).await?;
    let hello = Hello {
        version: VERSION,
        token: options.token.clone(),
        index: options.index,
    };
    mouth.say(&Report::Hello(hello)).await?;
    let assignment = match ear.hear(LINE_LIMIT).await? {
        Some(Order::Assign(assignment)) => *assignment,
        Some(Order::Refused(words)) => return Err(WorkerError::Refused(words)),
        Some(Order::Ping | Order::Start(_) | Order::Routes(_) | Order::Stop | Order::Bye) => {
            return Err(out_of_turn());
        }
        None => return Err(WorkerError::Orphaned),
    };
    let done = serve(assignment, options.clock, &mut ear, &mut mouth).await;
    if let Err(WorkerError::Unprepared(words) | WorkerError::Load(words)) = &done {
        // The coordinator may be gone by now; then nobody has to know.
        drop(mouth.say(&Report::Failed(words.clone())).await);
    }
    done
}

async fn connect(coordinator: &str) -> Result<(Ear, Mouth), WorkerError> {
    let connected = timeout(CONNECT_WITHIN, TcpStream::connect(coordinator)).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    stream
        .and_then(halves)
        .map_err(|source| WorkerError::Unreachable {
            coordinator: coordinator.to_owned(),
            source,
        })
}

/// Sends the share and tells of it, as the coordinator says.
async fn serve(
    assignment: Assignment,
    clock: Clock,
    ear: &mut Ear,
    mouth: &mut Mouth,
) -> Result<(), WorkerError> {
    let mut sending = Sending::begin(assignment)?;
    loop {
        tokio::select! {
            biased;
            order = ear.hear(LINE_LIMIT) => match order? {
                Some(Order::Ping) => mouth.say(&Report::Pong(clock.now())).await?,
                Some(Order::Start(at)) => sending.keeper.open(clock.instant(at)),
                Some(Order::Routes(told)) => drop(sending.routes.send_replace(told)),
                Some(Order::Stop) => sending.stop.cancel(),
                Some(Order::Bye) => return Ok(()),
                Some(Order::Refused(_) | Order::Assign(_)) => return Err(out_of_turn()),
                None => return Err(WorkerError::Orphaned),
            },
            report = sending.next() => mouth.say(&report?).await?,
        }
    }
}

/// A share of a load under way. It ends when this is dropped.
struct Sending {
    phase: Phase,
    keeper: Keeper,
    stop: CancellationToken,
    routes: watch::Sender<Routes>,
    events: UnboundedReceiver<Event>,
    run: AbortOnDropHandle<Result<(), LoadDriverError>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Preparing,
    Ready,
    /// All is told.
    Over,
}

impl Sending {
    fn begin(assignment: Assignment) -> Result<Self, WorkerError> {
        let Assignment {
            plan,
            base_url,
            share,
            routes,
        } = assignment;
        let dials_endpoints = routes.is_some();
        let (routes, followed) = watch::channel(routes.unwrap_or_default());
        let connector = dials_endpoints.then(|| Arc::new(Followed(followed)) as Arc<dyn Connector>);
        let options = Options {
            connector,
            share,
            ..Options::default()
        };
        let load = driver(&base_url, options);
        let load = load.map_err(|error| WorkerError::Unprepared(failure::words(&error)))?;
        let (gate, keeper) = gate();
        let load = load.behind(gate);
        let (sender, events) = unbounded_channel();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let run = async move { load.run(&plan, Events::new(sender), stopping).await };
        Ok(Self {
            phase: Phase::Preparing,
            keeper,
            stop,
            routes,
            events,
            run: AbortOnDropHandle::new(tokio::spawn(run)),
        })
    }

    /// What is to be told next. Nothing is lost when the future is dropped before it is ready.
    async fn next(&mut self) -> Result<Report, WorkerError> {
        loop {
            tokio::select! {
                biased;
                () = self.keeper.reached(), if self.phase == Phase::Preparing => {
                    self.phase = Phase::Ready;
                    return Ok(Report::Prepared(Machine::of_this_process()));
                }
                Some(event) = self.events.recv() => return Ok(Report::Event(event)),
                // What it told last may still be on its way.
                ended = &mut self.run, if self.phase != Phase::Over => self.ended(ended)?,
                else => break,
            }
        }
        sleep(BYE_WITHIN).await;
        Err(WorkerError::Orphaned)
    }

    fn ended(
        &mut self,
        ended: Result<Result<(), LoadDriverError>, JoinError>,
    ) -> Result<(), WorkerError> {
        let words = match ended {
            Ok(Ok(())) => {
                self.phase = Phase::Over;
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_panic) => "it panicked".to_owned(),
        };
        Err(if self.phase == Phase::Preparing {
            WorkerError::Unprepared(words)
        } else {
            WorkerError::Load(words)
        })
    }
}

fn out_of_turn() -> WorkerError {
    WorkerError::Protocol("an order came out of turn".to_owned())
}
