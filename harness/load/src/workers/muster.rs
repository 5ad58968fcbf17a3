//! From nothing to workers that stand ready: launched, let in, and prepared.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use holdfast_core::plan::LoadPlan;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::coordinator::Crew;
use super::launcher::{self, Launcher, Post, Process};
use super::machine::Machine;
use super::protocol::{
    Assignment, Ear, HELLO_LIMIT, Hello, LINE_LIMIT, LineError, Mouth, Order, Report, Token,
    VERSION, halves,
};
use super::routes::Routes;
use crate::failure;
use crate::share::Share;

/// How long to wait after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long somebody who has connected may take to say who it is.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Where and how workers are brought together.
#[derive(Clone)]
pub struct MusterOptions {
    /// Where the coordinator listens; port 0 is any free one.
    pub listen: SocketAddr,
    /// Who starts the workers.
    pub launcher: Arc<dyn Launcher>,
    /// Endpoints for the workers to dial, as they change; without them they dial the target's
    /// address itself.
    pub routes: Option<watch::Receiver<Routes>>,
    /// How long it may take until all have connected.
    pub connect_within: Duration,
    /// How long it may take from there until all are ready to send.
    pub prepare_within: Duration,
}

impl MusterOptions {
    /// Workers of this machine, with times that leave room for a slow one.
    #[must_use]
    pub fn on_this_machine(launcher: Arc<dyn Launcher>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            launcher,
            routes: None,
            connect_within: Duration::from_secs(30),
            prepare_within: Duration::from_secs(120),
        }
    }
}

impl std::fmt::Debug for MusterOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MusterOptions")
            .finish_non_exhaustive()
    }
}

/// Why there is no crew.
#[derive(Debug, thiserror::Error)]
pub enum MusterError {
    /// Nothing can listen there.
    #[error("the coordinator of the load workers cannot listen at {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A worker cannot be started.
    #[error("load worker {index} cannot be started")]
    Launch {
        /// Which, from 0.
        index: u32,
        /// What the system said.
        source: std::io::Error,
    },
    /// A worker ended before it was ready.
    #[error("load worker {index} ended before it was ready: {words}")]
    Ended {
        /// Which, from 0.
        index: u32,
        /// How, and what it said last.
        words: String,
    },
    /// Not all workers connected in time.
    #[error(
        "load workers {missing} of {count} (from 0) did not connect to {address} within \
         {seconds} s{refused}; check that they run and can reach this address, or ask for fewer \
         workers"
    )]
    NotConnected {
        /// Their numbers, from 0.
        missing: String,
        /// How many there should be.
        count: u32,
        /// Where they should have.
        address: SocketAddr,
        /// How long it was waited for.
        seconds: u64,
        /// Why the last one that was refused was refused; empty without one.
        refused: String,
    },
    /// A worker cannot send its share: the same is wrong for all, or its machine lacks something.
    #[error("load worker {index} cannot send its share: {words}")]
    Unprepared {
        /// Which, from 0.
        index: u32,
        /// Its words.
        words: String,
    },
    /// A worker was not ready in time.
    #[error(
        "load worker {index} was not ready to send within {seconds} s; its machine may be too \
         busy for its share of the load"
    )]
    NotReady {
        /// Which, from 0.
        index: u32,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A worker broke the protocol or its connection.
    #[error("load worker {index} cannot be talked to: {words}")]
    Connection {
        /// Which, from 0.
        index: u32,
        /// What went wrong.
        words: String,
    },
}

impl MusterError {
    /// Whether the load itself is at fault, rather than the machinery.
    #[must_use]
    pub fn is_of_the_load(&self) -> bool {
        matches!(self, Self::Unprepared { .. })
    }
}

/// A worker that was let in.
pub(crate) struct Member {
    pub(crate) index: u32,
    pub(crate) ear: Ear,
    pub(crate) mouth: Mouth,
    pub(crate) process: Process,
    pub(crate) machine: Machine,
}

/// Starts as many workers as the plan asks for and waits until each is ready to send its share.
/// `progress` hears what is waited for. When this fails or is dropped, every worker ends.
///
/// # Errors
/// See [`MusterError`].
pub async fn muster(
    plan: &LoadPlan,
    base_url: &str,
    options: &MusterOptions,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Crew, MusterError> {
    let address = options.listen;
    let listen = |source| MusterError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let token = Token::random();
    let mut places = Vec::new();
    for index in 0..plan.workers {
        let post = Post {
            coordinator: address,
            index,
            token: token.clone(),
        };
        let process = options.launcher.launch(post);
        let process = process.map_err(|source| MusterError::Launch { index, source })?;
        places.push(Place {
            process,
            connection: None,
        });
    }
    let mut gathering = Gathering {
        places,
        token,
        address,
        refused: None,
    };
    gathering.gather(&listener, options, progress).await?;
    progress("waiting until the load workers are ready to send");
    let places = gathering.places;
    let members = prepare_all(places, plan, base_url, options).await?;
    Ok(Crew::new(plan.clone(), members, options.routes.clone()))
}

/// A worker's place: launched, perhaps not connected yet.
struct Place {
    process: Process,
    connection: Option<(Ear, Mouth)>,
}

/// The letting in of workers.
struct Gathering {
    places: Vec<Place>,
    token: Token,
    address: SocketAddr,
    /// Why the last one that was refused was refused.
    refused: Option<String>,
}

impl Gathering {
    async fn gather(
        &mut self,
        listener: &TcpListener,
        options: &MusterOptions,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), MusterError> {
        let deadline = Instant::now() + options.connect_within;
        let mut greetings = JoinSet::new();
        loop {
            let missing = self.missing();
            if missing.is_empty() {
                return Ok(());
            }
            let count = self.places.len();
            progress(&format!(
                "waiting until {count} load workers have connected, {} are missing",
                missing.len()
            ));
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(greetings.spawn(greet(stream))),
                    Err(error) => {
                        tracing::warn!(%error, "a load worker could not connect");
                        // For want of resources the next attempt would fail at once.
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(greeted) = greetings.join_next() => {
                    if let Ok(Some((connection, hello))) = greeted {
                        self.let_in(connection, &hello).await;
                    }
                }
                (index, words) = first_end(&mut self.places) => {
                    return Err(MusterError::Ended { index, words });
                }
                () = sleep_until(deadline) => {
                    return Err(self.not_connected(&missing, options.connect_within));
                }
            }
        }
    }

    fn missing(&self) -> Vec<usize> {
        let empty = |(_, place): &(usize, &Place)| place.connection.is_none();
        let places = self.places.iter().enumerate().filter(empty);
        places.map(|(index, _)| index).collect()
    }

    /// Gives a worker its place, or tells it why not.
    async fn let_in(&mut self, (ear, mut mouth): (Ear, Mouth), hello: &Result<Hello, String>) {
        let place = match self.place_of(hello) {
            Ok(place) => place,
            Err(words) => {
                tracing::warn!("a load worker was refused: {words}");
                // It may have left already; then there is nobody to tell.
                drop(timeout(HELLO_WITHIN, mouth.say(&Order::Refused(words.clone()))).await);
                self.refused = Some(words);
                return;
            }
        };
        place.connection = Some((ear, mouth));
    }

    fn place_of(&mut self, hello: &Result<Hello, String>) -> Result<&mut Place, String> {
        let hello = hello.as_ref().map_err(Clone::clone)?;
        let count = self.places.len();
        let index = hello.index;
        if hello.version != VERSION {
            return Err(format!(
                "it speaks version {} of the workers' protocol and the coordinator version \
                 {VERSION}; use the same holdfast for both",
                hello.version
            ));
        }
        if hello.token != self.token {
            return Err("its token is not this load's".to_owned());
        }
        match self.places.get_mut(index as usize) {
            None => Err(format!(
                "its index is {index}, but there are {count} workers (from 0)"
            )),
            Some(place) if place.connection.is_some() => {
                Err(format!("worker {index} is connected already"))
            }
            Some(place) => Ok(place),
        }
    }

    fn not_connected(&self, missing: &[usize], waited: Duration) -> MusterError {
        let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let refused = self.refused.as_ref();
        MusterError::NotConnected {
            missing: missing.join(", "),
            count: self.places.len() as u32,
            address: self.address,
            seconds: waited.as_secs(),
            refused: refused.map_or(String::new(), |words| {
                format!(" (one was refused: {words})")
            }),
        }
    }
}

/// Hears who has connected; `None` when nobody is there any more.
async fn greet(stream: TcpStream) -> Option<((Ear, Mouth), Result<Hello, String>)> {
    let (mut ear, mouth) = halves(stream).ok()?;
    let hello = match timeout(HELLO_WITHIN, ear.hear(HELLO_LIMIT)).await {
        Ok(Ok(Some(Report::Hello(hello)))) => Ok(hello),
        Ok(Ok(None) | Err(LineError::Connection(_))) => return None,
        Ok(Ok(Some(_)) | Err(_)) | Err(_) => {
            Err("it did not say who it is in the words of this version of the protocol".to_owned())
        }
    };
    Some(((ear, mouth), hello))
}

/// Waits until a worker has ended, and says which and how.
async fn first_end(places: &mut [Place]) -> (u32, String) {
    poll_fn(|context| {
        for (index, place) in (0..).zip(&mut *places) {
            if let Poll::Ready(ended) = Pin::new(&mut place.process).poll(context) {
                return Poll::Ready((index, launcher::words(ended)));
            }
        }
        Poll::Pending
    })
    .await
}

async fn prepare_all(
    places: Vec<Place>,
    plan: &LoadPlan,
    base_url: &str,
    options: &MusterOptions,
) -> Result<Vec<Member>, MusterError> {
    let prepare_within = options.prepare_within;
    let routes = options
        .routes
        .as_ref()
        .map(|routes| routes.borrow().clone());
    let deadline = Instant::now() + prepare_within;
    let count = plan.workers;
    with_each(places, |index, place| {
        let assignment = Box::new(Assignment {
            plan: plan.clone(),
            base_url: base_url.to_owned(),
            share: Share { index, count },
            routes: routes.clone(),
        });
        async move {
            let prepared = timeout_at(deadline, prepare(index, place, assignment)).await;
            prepared.unwrap_or(Err(MusterError::NotReady {
                index,
                seconds: prepare_within.as_secs(),
            }))
        }
    })
    .await
}

async fn prepare(
    index: u32,
    place: Place,
    assignment: Box<Assignment>,
) -> Result<Member, MusterError> {
    let Place {
        process,
        connection,
    } = place;
    let (mut ear, mut mouth) = connection.expect("every place is taken before the workers prepare");
    let broken = |error: LineError| MusterError::Connection {
        index,
        words: failure::words(&error),
    };
    match mouth.say(&Order::Assign(assignment)).await {
        // How it ended is told below.
        Ok(()) | Err(LineError::Connection(_)) => {}
        Err(error) => return Err(broken(error)),
    }
    match ear.hear(LINE_LIMIT).await {
        Ok(Some(Report::Prepared(machine))) => Ok(Member {
            index,
            ear,
            mouth,
            process,
            machine,
        }),
        Ok(Some(Report::Failed(words))) => Err(MusterError::Unprepared { index, words }),
        Ok(None) | Err(LineError::Connection(_)) => Err(MusterError::Ended {
            index,
            words: launcher::last_words(process).await,
        }),
        Ok(Some(Report::Hello(_) | Report::Pong(_) | Report::Event(_))) => {
            Err(MusterError::Connection {
                index,
                words: "it spoke out of turn".to_owned(),
            })
        }
        Err(error) => Err(broken(error)),
    }
}

/// Does the same with all at once; the first error ends what is done with the others.
pub(crate) async fn with_each<T, R, E, F>(
    each: Vec<T>,
    work: impl Fn(u32, T) -> F,
) -> Result<Vec<R>, E>
where
    R: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<R, E>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for (index, one) in (0..).zip(each) {
        let work = work(index, one);
        tasks.spawn(async move { (index, work.await) });
    }
    let mut done = BTreeMap::new();
    while let Some(joined) = tasks.join_next().await {
        let (index, result) = joined.expect("nothing in it panics, and nobody aborts it");
        done.insert(index, result?);
    }
    Ok(done.into_values().collect())
}
