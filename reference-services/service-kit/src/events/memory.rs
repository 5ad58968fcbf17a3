//! A bus in the memory of one process, for tests: it keeps the contract of the port and nothing
//! beyond the process' end, and it can be taken down and brought back.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::delivery::{Delivery, Recipient};
use super::measurements::Measurements;
use super::wire::Record;
use super::{Addressed, BusError, Event, EventBus, Handler, Subscription, spans};

const PARTITIONS: usize = 3;

/// What spans call this bus.
const SYSTEM: &str = "memory";

/// The longest payload in bytes, about as long as Kafka's.
const LARGEST: usize = 1_000_000;

/// Topics, and how far each group has read them.
#[derive(Debug)]
pub struct MemoryBus {
    state: Mutex<State>,
    changes: watch::Sender<()>,
    measurements: Measurements,
}

#[derive(Debug, Default)]
struct State {
    is_down: bool,
    topics: BTreeMap<String, Topic>,
    groups: BTreeMap<Place, Progress>,
}

#[derive(Debug, Default)]
struct Topic {
    /// As they came, with the partition of each.
    records: Vec<(usize, Record)>,
}

/// One partition of a topic, as one group reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    group: String,
    topic: String,
    partition: usize,
}

#[derive(Debug, Default)]
struct Progress {
    handled: usize,
    is_taken: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the bus is down")]
struct Down;

#[derive(Debug, thiserror::Error)]
#[error("the payload has {0} bytes, and {LARGEST} are allowed")]
struct Large(usize);

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBus {
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            changes: watch::Sender::new(()),
            measurements: Measurements::default(),
        }
    }

    /// From now on nothing is published and nothing new is given to handlers.
    pub fn go_down(&self) {
        self.change(|state| state.is_down = true);
    }

    /// Ends what `go_down` began.
    pub fn come_back(&self) {
        self.change(|state| state.is_down = false);
    }

    /// Whether there is such a topic, with or without events.
    pub fn has_topic(&self, topic: &str) -> bool {
        self.state().topics.contains_key(topic)
    }

    /// Adds a record as it is, event or not.
    pub fn put(&self, topic: &str, record: Record) {
        self.change(|state| state.put(topic, record));
    }

    /// Everything ever published to `topic`, in that order.
    pub fn records(&self, topic: &str) -> Vec<Record> {
        let state = self.state();
        let records = state.topics.get(topic).map(|topic| &topic.records);
        records
            .into_iter()
            .flatten()
            .map(|(_, it)| it.clone())
            .collect()
    }

    /// The events among them.
    pub fn events(&self, topic: &str) -> Vec<Event> {
        let records = self.records(topic);
        records.iter().filter_map(|it| it.read().ok()).collect()
    }

    /// Returns once the group has handled all that its topics hold.
    pub async fn until_handled(&self, subscription: &Subscription) {
        let mut changes = self.changes.subscribe();
        while !self.state().is_handled(subscription) {
            changes.changed().await.expect("this bus holds the sender");
        }
    }

    /// Returns once `count` events that are `wanted` have been published to `topic`.
    pub async fn until_published(
        &self,
        topic: &str,
        count: usize,
        wanted: impl Fn(&Event) -> bool,
    ) {
        let mut changes = self.changes.subscribe();
        while self.events(topic).iter().filter(|it| wanted(it)).count() < count {
            changes.changed().await.expect("this bus holds the sender");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock can panic")
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changes.send_replace(());
        result
    }

    fn take_next(&self, subscription: &Subscription) -> Option<Taken<'_>> {
        let (place, record) = self.state().take_next(subscription)?;
        Some(Taken {
            bus: self,
            place,
            record,
        })
    }
}

impl State {
    /// False while the bus is down.
    fn make_topics(&mut self, topics: &[&str]) -> bool {
        if !self.is_down {
            for topic in topics {
                self.topics.entry((*topic).to_owned()).or_default();
            }
        }
        !self.is_down
    }

    fn put(&mut self, topic: &str, record: Record) {
        let mut hasher = DefaultHasher::new();
        record.key.hash(&mut hasher);
        let partition = (hasher.finish() % PARTITIONS as u64) as usize;
        let topic = self.topics.entry(topic.to_owned()).or_default();
        topic.records.push((partition, record));
    }

    fn take_next(&mut self, subscription: &Subscription) -> Option<(Place, Record)> {
        if self.is_down {
            return None;
        }
        for place in places(subscription) {
            let progress = self.groups.entry(place.clone()).or_default();
            let waiting = self
                .topics
                .get(&place.topic)
                .and_then(|topic| topic.partition(place.partition).nth(progress.handled));
            if let Some(record) = waiting
                && !progress.is_taken
            {
                progress.is_taken = true;
                return Some((place, record.clone()));
            }
        }
        None
    }

    fn is_handled(&self, subscription: &Subscription) -> bool {
        places(subscription).all(|place| {
            let handled = self
                .groups
                .get(&place)
                .map_or(0, |progress| progress.handled);
            self.topics
                .get(&place.topic)
                .is_none_or(|topic| topic.partition(place.partition).count() == handled)
        })
    }
}

impl Topic {
    fn partition(&self, wanted: usize) -> impl Iterator<Item = &Record> {
        self.records
            .iter()
            .filter(move |(partition, _)| *partition == wanted)
            .map(|(_, record)| record)
    }
}

fn places(subscription: &Subscription) -> impl Iterator<Item = Place> {
    subscription.topics.iter().flat_map(|topic| {
        (0..PARTITIONS).map(|partition| Place {
            group: subscription.group.clone(),
            topic: topic.clone(),
            partition,
        })
    })
}

/// The next record of a partition, which nobody else of the group is given while this exists.
struct Taken<'a> {
    bus: &'a MemoryBus,
    place: Place,
    record: Record,
}

impl Taken<'_> {
    fn handled(self) {
        let mut state = self.bus.state();
        state.groups.entry(self.place.clone()).or_default().handled += 1;
    }

    fn bury(self, subscription: &Subscription, reason: &str) {
        let topic = &self.place.topic;
        tracing::error!(topic, reason, "dead letter");
        self.bus.measurements.dead_lettered(topic);
        let letter = self.record.clone().into_dead_letter(reason);
        self.bus.put(&subscription.dead_letters(topic), letter);
        self.handled();
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.bus.change(|state| {
            state.groups.entry(self.place.clone()).or_default().is_taken = false;
        });
    }
}

#[async_trait]
impl EventBus for MemoryBus {
    async fn make_topics(&self, topics: &[&str]) {
        let mut changes = self.changes.subscribe();
        while !self.state().make_topics(topics) {
            changes.changed().await.expect("this bus holds the sender");
        }
    }

    async fn publish(&self, events: &[Addressed]) -> Result<(), BusError> {
        for addressed in events {
            let topic = &addressed.topic;
            if self.state().is_down {
                return Err(BusError::Publish {
                    topic: topic.clone(),
                    source: Down.into(),
                });
            }
            if addressed.event.payload.len() > LARGEST {
                return Err(BusError::TooLarge {
                    topic: topic.clone(),
                    source: Large(addressed.event.payload.len()).into(),
                });
            }
            let (record, _span) = spans::send(addressed, SYSTEM);
            self.put(topic, record);
            self.measurements.published(topic);
        }
        // As any way to a broker would, this lets others go on.
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn consume(
        &self,
        subscription: &Subscription,
        handler: &dyn Handler,
        stop: &CancellationToken,
    ) -> Result<(), BusError> {
        self.measurements.follow(&subscription.topics);
        let mut changes = self.changes.subscribe();
        let recipient = Recipient {
            system: SYSTEM,
            subscription,
            handler,
            measurements: &self.measurements,
            stop,
        };
        while !stop.is_cancelled() {
            changes.mark_unchanged();
            let Some(taken) = self.take_next(subscription) else {
                tokio::select! {
                    () = stop.cancelled() => {}
                    changed = changes.changed() => changed.expect("this bus holds the sender"),
                }
                continue;
            };
            let topic = &taken.place.topic;
            match recipient.deliver(&taken.record, topic).await {
                Delivery::Handled => taken.handled(),
                Delivery::Dead { reason, lines } => {
                    lines.in_scope(|| taken.bury(subscription, &reason));
                }
                Delivery::Stopped => {}
            }
            // A handler that never waits must not keep the other members from their share.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
