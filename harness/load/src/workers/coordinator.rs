//! Lets workers that stand ready send one load as if they were one process.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use holdfast_core::event::Event;
use holdfast_core::plan::LoadPlan;
use holdfast_engine::{Events, LoadDriver, LoadDriverError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::clock::{Clock, Offset, Reading, Round};
use super::launcher::{self, Process};
use super::merger::Merger;
use super::muster::{Member, with_each};
use super::protocol::{Ear, LINE_LIMIT, LineError, Mouth, Order, Report};
use super::routes::Routes;
use crate::failure;

/// Questions to each worker's clock.
const CLOCK_ROUNDS: usize = 9;
/// A worker whose connection is slower is no measuring instrument.
const CLOCK_WITHIN: Duration = Duration::from_secs(5);
/// From the order to begin until the beginning: long enough for it to reach every worker.
const START_MARGIN: Duration = Duration::from_millis(500);
/// A worker tells each second; one that is silent for so long is lost.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// How long after its end a second is handed out without those workers that have not told it.
const LATENESS_LIMIT: Duration = Duration::from_secs(2);
/// An order is a few bytes: whoever does not take it in does not read.
const ORDER_WITHIN: Duration = Duration::from_secs(1);

/// Workers that stand ready for one load, and send it once. When it is dropped they end.
pub struct Crew {
    plan: LoadPlan,
    members: Mutex<Option<Vec<Member>>>,
    routes: Option<watch::Receiver<Routes>>,
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Crew").finish_non_exhaustive()
    }
}

impl Crew {
    pub(crate) fn new(
        plan: LoadPlan,
        members: Vec<Member>,
        routes: Option<watch::Receiver<Routes>>,
    ) -> Self {
        Self {
            plan,
            members: Mutex::new(Some(members)),
            routes,
        }
    }

    fn take_members(&self, plan: &LoadPlan) -> Option<Vec<Member>> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.take_if(|_| *plan == self.plan)
    }
}

#[async_trait]
impl LoadDriver for Crew {
    async fn run(
        &self,
        plan: &LoadPlan,
        events: Events,
        stop: CancellationToken,
    ) -> Result<(), LoadDriverError> {
        let members = self.take_members(plan).ok_or_else(|| {
            let words = "the load workers stood ready for another load, or have sent theirs";
            LoadDriverError(words.to_owned())
        })?;
        let mut sending = Sending::begin(members, plan)
            .await
            .map_err(LoadDriverError)?;
        sending.go_on(self.routes.clone(), &events, &stop).await;
        Ok(())
    }
}

/// A load under way.
struct Sending {
    start: Instant,
    merger: Merger,
    members: Vec<Commanded>,
    listening: JoinSet<()>,
    heard: UnboundedReceiver<(usize, Heard)>,
}

/// A worker that was told to begin.
struct Commanded {
    /// `None` when nothing more will be said to it.
    mouth: Option<Mouth>,
    /// Ends the worker.
    end: AbortHandle,
}

/// From a worker's connection.
enum Heard {
    Said(Report),
    /// Nothing more will come from it; why.
    Gone(String),
}

impl Sending {
    /// Measures all clocks and gives the order to begin.
    async fn begin(members: Vec<Member>, plan: &LoadPlan) -> Result<Self, String> {
        let clock = Clock::of_this_machine();
        let members = with_each(members, |_, member| ask_the_time(member, clock)).await?;
        let start = Instant::now() + START_MARGIN;
        let parts = members
            .iter()
            .map(|(member, offset)| (member.machine.clone(), *offset));
        let merger = Merger::new(parts.collect(), &plan.sources());
        let (sender, heard) = unbounded_channel();
        let mut listening = JoinSet::new();
        let mut commanded = Vec::new();
        for (index, (mut member, offset)) in members.into_iter().enumerate() {
            let at: Reading = clock.at(start).by(offset);
            let said = member.mouth.say(&Order::Start(at)).await;
            said.map_err(|error| lost_before(member.index, &failure::words(&error)))?;
            let listen = listen(index, member.ear, member.process, sender.clone());
            commanded.push(Commanded {
                mouth: Some(member.mouth),
                end: listening.spawn(listen),
            });
        }
        Ok(Self {
            start,
            merger,
            members: commanded,
            listening,
            heard,
        })
    }

    /// Tells what the workers tell until every one of them has ended.
    async fn go_on(
        &mut self,
        mut routes: Option<watch::Receiver<Routes>>,
        events: &Events,
        stop: &CancellationToken,
    ) {
        // What changed while the workers stood ready.
        if let Some(routes) = &mut routes {
            routes.mark_changed();
        }
        let (mut started, mut stopped) = (false, false);
        let second = Duration::from_secs(1);
        let mut overdue = interval_at(self.start + LATENESS_LIMIT + second, second);
        loop {
            tokio::select! {
                biased;
                () = sleep_until(self.start), if !started => {
                    started = true;
                    events.send(Event::LoadStarted);
                }
                heard = self.heard.recv() => match heard {
                    Some((index, heard)) => self.hear(index, heard).await,
                    None => break,
                },
                () = stop.cancelled(), if !stopped => {
                    stopped = true;
                    self.tell_all(&Order::Stop).await;
                }
                changed = next_routes(&mut routes) => self.tell_all(&Order::Routes(changed)).await,
                _ = overdue.tick() => {
                    let due = self.start.elapsed().saturating_sub(LATENESS_LIMIT).as_secs();
                    self.merger.wait_no_longer_for(u32::try_from(due).unwrap_or(u32::MAX));
                }
            }
            for event in self.merger.events() {
                events.send(event);
            }
        }
        if !started {
            // All were lost before the instant came; their end follows.
            events.send(Event::LoadStarted);
            self.merger
                .events()
                .into_iter()
                .for_each(|event| events.send(event));
        }
        while self.listening.join_next().await.is_some() {}
    }

    async fn hear(&mut self, index: usize, heard: Heard) {
        let taken = match heard {
            Heard::Said(Report::Event(event)) => {
                let taken = self.merger.take(index, event);
                taken.map_err(|nonsense| nonsense.to_string())
            }
            Heard::Said(Report::Hello(_) | Report::Prepared(_) | Report::Pong(_)) => {
                Err("it spoke out of turn".to_owned())
            }
            Heard::Said(Report::Failed(words)) | Heard::Gone(words) => {
                self.merger.lose(index, &words);
                Ok(())
            }
        };
        if let Err(words) = taken {
            self.merger.lose(index, &words);
            self.members[index].end.abort();
        }
        if self.merger.is_over(index) {
            self.dismiss(index).await;
        }
    }

    async fn dismiss(&mut self, index: usize) {
        if let Some(mut mouth) = self.members[index].mouth.take() {
            // One that has gone needs no word.
            drop(timeout(ORDER_WITHIN, mouth.say(&Order::Bye)).await);
        }
    }

    async fn tell_all(&mut self, order: &Order) {
        for member in &mut self.members {
            let Some(mouth) = &mut member.mouth else {
                continue;
            };
            let said = timeout(ORDER_WITHIN, mouth.say(order)).await;
            if !matches!(said, Ok(Ok(()))) {
                // Half an order cannot be taken back. Without the other half of the connection it
                // ends, and is lost.
                member.mouth = None;
            }
        }
    }
}

/// The routes when they change; never when there are none, or when they change no more.
async fn next_routes(routes: &mut Option<watch::Receiver<Routes>>) -> Routes {
    if let Some(routes) = routes
        && routes.changed().await.is_ok()
    {
        return routes.borrow_and_update().clone();
    }
    std::future::pending().await
}

/// Hears a worker until nothing more comes from it, and waits until it has ended.
async fn listen(
    index: usize,
    mut ear: Ear,
    process: Process,
    sender: UnboundedSender<(usize, Heard)>,
) {
    let words = loop {
        match timeout(SILENCE_LIMIT, ear.hear(LINE_LIMIT)).await {
            Ok(Ok(Some(report))) => drop(sender.send((index, Heard::Said(report)))),
            Ok(Ok(None) | Err(LineError::Connection(_))) => {
                break launcher::last_words(process).await;
            }
            Ok(Err(error)) => break failure::words(&error),
            Err(_elapsed) => {
                break format!("it said nothing for {} s", SILENCE_LIMIT.as_secs());
            }
        }
    };
    drop(sender.send((index, Heard::Gone(words))));
}

/// Asks a worker's clock again and again; how far it is ahead of `clock`.
async fn ask_the_time(mut member: Member, clock: Clock) -> Result<(Member, Offset), String> {
    let asking = async {
        let mut rounds = Vec::new();
        while rounds.len() < CLOCK_ROUNDS {
            let asked = clock.now();
            member.mouth.say(&Order::Ping).await?;
            let Some(Report::Pong(shown)) = member.ear.hear(LINE_LIMIT).await? else {
                break;
            };
            let answered = clock.now();
            rounds.push(Round {
                asked,
                shown,
                answered,
            });
        }
        Ok::<_, LineError>(rounds)
    };
    let rounds = match timeout(CLOCK_WITHIN, asking).await {
        Ok(Ok(rounds)) if rounds.len() == CLOCK_ROUNDS => rounds,
        Ok(Ok(_) | Err(LineError::Connection(_))) => {
            let words = launcher::last_words(member.process).await;
            return Err(lost_before(member.index, &words));
        }
        Ok(Err(error)) => return Err(lost_before(member.index, &failure::words(&error))),
        Err(_elapsed) => return Err(lost_before(member.index, "it does not tell the time")),
    };
    let offset = Offset::measured(&rounds)
        .expect("as many rounds were checked to be there, and that is not none");
    Ok((member, offset))
}

fn lost_before(index: u32, words: &str) -> String {
    format!("load worker {index} was lost before the load began: {words}")
}
