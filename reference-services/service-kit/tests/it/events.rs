//! What every event bus must do, asked of the one in memory, of the embedded broker where it is
//! built, and of the Kafka that `KAFKA_BROKERS` names.

mod broker;
mod log;
mod member;
mod metrics;
mod outage;
mod panics;
mod rig;
mod size;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use service_kit::events::wire::{DEAD_LETTER_REASON, Record};
use service_kit::events::{Addressed, Event, EventBus, EventId, HandleError, Subscription};
use tokio::sync::mpsc;

use self::member::{Member, always_well};
use self::rig::Rig;

const PATIENCE: Duration = Duration::from_secs(60);

/// A topic that nobody else has, on a bus that may outlive the test.
fn new_topic() -> String {
    format!("contract-{}", EventId::random())
}

fn group(topic: &str) -> Subscription {
    Subscription::new("store", &[topic])
}

fn numbered(key: &str, number: u32) -> Event {
    Event::new("Numbered", key, "test", &number)
}

fn number(event: &Event) -> u32 {
    event.read(1).unwrap()
}

fn numbers(events: &[Event]) -> Vec<u32> {
    events.iter().map(number).collect()
}

fn addressed(events: impl IntoIterator<Item = Event>, topic: &str) -> Vec<Addressed> {
    events.into_iter().map(|event| event.to(topic)).collect()
}

async fn publish(bus: &dyn EventBus, topic: &str, events: impl IntoIterator<Item = Event>) {
    bus.publish(&addressed(events, topic)).await.unwrap();
}

/// What an event is apart from its place in a trace, which is another one for whoever handles it.
fn untraced(event: &Event) -> Event {
    Event {
        traceparent: None,
        ..event.clone()
    }
}

/// The same of a record.
fn untraced_record(record: &Record) -> Record {
    let mut record = record.clone();
    record.headers.retain(|(name, _)| name != "traceparent");
    record
}

/// The id of the trace that an event is in.
fn trace(event: &Event) -> &str {
    &event.traceparent.as_deref().expect("it is in a trace")[3..35]
}

/// The numbers of each key's events, without those that came before: what an inbox lets through.
fn first_times(events: &[Event]) -> BTreeMap<String, Vec<u32>> {
    let mut keys: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for event in events {
        let known = keys.entry(event.key.clone()).or_default();
        if !known.contains(&number(event)) {
            known.push(number(event));
        }
    }
    keys
}

#[tokio::test]
async fn events_arrive_as_they_are_and_in_order_for_each_key() {
    for rig in Rig::all().await {
        let topic = new_topic();
        let events: Vec<Event> = (0..10)
            .flat_map(|number| (0..20).map(move |key| numbered(&format!("key-{key}"), number)))
            .collect();
        let bus = rig.client();
        for batch in events.chunks(30) {
            publish(&*bus, &topic, batch.to_vec()).await;
        }

        let mut member = Member::start(&rig, &group(&topic), always_well());
        let arrived = member.take(events.len()).await;
        assert_eq!(first_times(&arrived), first_times(&events), "{rig}");
        let traces: BTreeSet<&str> = arrived.iter().map(trace).collect();
        assert_eq!(traces.len(), events.len(), "{rig}");
        let mut arrived: Vec<Event> = arrived.iter().map(untraced).collect();
        arrived.sort_by_key(|event| event.id);
        let mut expected = events;
        expected.sort_by_key(|event| event.id);
        assert_eq!(arrived, expected, "{rig}");
        assert_eq!(member.stop().await, [], "{rig}");
    }
}

#[tokio::test]
async fn an_event_that_is_not_handled_comes_again_before_those_behind_it() {
    for rig in Rig::all().await {
        let topic = new_topic();
        // More than a member takes in while it cannot go on.
        publish(
            &*rig.client(),
            &topic,
            (0..2000).map(|it| numbered("7", it)),
        )
        .await;
        let failures = AtomicU32::new(3);
        let left = move || {
            failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
        };
        let verdict = move |_: &Event| match left() {
            Ok(_) => Err(HandleError::retry("the database is away")),
            Err(_) => Ok(()),
        };
        let mut member = Member::start(&rig, &group(&topic), Box::new(verdict));
        let expected: Vec<u32> = [0, 0, 0].into_iter().chain(0..2000).collect();
        assert_eq!(numbers(&member.take(2003).await), expected, "{rig}");
        assert_eq!(member.stop().await, [], "{rig}");
    }
}

#[tokio::test]
async fn a_member_that_cannot_handle_an_event_stops_all_the_same_and_leaves_it_to_the_next() {
    for rig in Rig::all().await {
        let topic = new_topic();
        publish(&*rig.client(), &topic, [numbered("7", 0), numbered("7", 1)]).await;
        let never = Box::new(|_: &Event| Err(HandleError::retry("the database is away")));
        let mut stuck = Member::start(&rig, &group(&topic), never);
        assert_eq!(numbers(&stuck.take(2).await), [0, 0], "{rig}");
        stuck.stop().await;

        let mut next = Member::start(&rig, &group(&topic), always_well());
        assert_eq!(numbers(&next.take(2).await), [0, 1], "{rig}");
        next.stop().await;
    }
}

#[tokio::test]
async fn a_group_goes_on_where_it_stopped_and_another_one_starts_at_the_beginning() {
    for rig in Rig::all().await {
        let topic = new_topic();
        let bus = rig.client();
        let subscription = group(&topic);
        publish(&*bus, &topic, (0..10).map(|it| numbered("7", it))).await;
        let mut member = Member::start(&rig, &subscription, always_well());
        assert_eq!(
            numbers(&member.take(10).await),
            Vec::from_iter(0..10),
            "{rig}"
        );
        assert_eq!(member.stop().await, [], "{rig}");

        publish(&*bus, &topic, (10..20).map(|it| numbered("7", it))).await;
        let mut member = Member::start(&rig, &subscription, always_well());
        assert_eq!(
            numbers(&member.take(10).await),
            Vec::from_iter(10..20),
            "{rig}"
        );
        assert_eq!(member.stop().await, [], "{rig}");

        let others = Subscription::new("customer", &[&topic]);
        let mut member = Member::start(&rig, &others, always_well());
        assert_eq!(
            numbers(&member.take(20).await),
            Vec::from_iter(0..20),
            "{rig}"
        );
        member.stop().await;
    }
}

#[tokio::test]
async fn several_topics_are_read_by_one_member() {
    for rig in Rig::all().await {
        let topics = [new_topic(), new_topic()];
        let bus = rig.client();
        publish(&*bus, &topics[0], [numbered("7", 0)]).await;
        publish(&*bus, &topics[1], [numbered("8", 1)]).await;
        let subscription = Subscription::new("store", &[&topics[0], &topics[1]]);
        let mut member = Member::start(&rig, &subscription, always_well());
        let mut arrived = numbers(&member.take(2).await);
        arrived.sort();
        assert_eq!(arrived, [0, 1], "{rig}");
        member.stop().await;
    }
}

#[tokio::test]
async fn what_can_never_be_handled_goes_to_the_dead_letters_and_the_rest_goes_on() {
    for rig in Rig::all().await {
        let topic = new_topic();
        let bus = rig.client();
        let subscription = group(&topic);
        let no_event = Record {
            key: b"7".to_vec(),
            headers: vec![("event-type".to_owned(), b"Numbered".to_vec())],
            payload: b"\xff".to_vec(),
        };
        let newer = Event {
            schema_version: 2,
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            ..numbered("7", 0)
        };
        let strange = Event::new("Numbered", "7", "test", &"seven");
        publish(&*bus, &topic, [newer.clone(), strange.clone()]).await;
        rig.put(&topic, no_event.clone()).await;
        publish(&*bus, &topic, [numbered("7", 1)]).await;

        let verdict = |event: &Event| event.read::<u32>(1).map(drop);
        let mut member = Member::start(&rig, &subscription, Box::new(verdict));
        let arrived = member.take(3).await;
        assert_eq!(untraced(&arrived[0]), untraced(&newer), "{rig}");
        assert_eq!(trace(&arrived[0]), trace(&newer), "{rig}");
        assert_ne!(arrived[0].traceparent, newer.traceparent, "{rig}");
        assert_eq!(untraced(&arrived[1]), strange, "{rig}");
        assert_eq!(number(&arrived[2]), 1, "{rig}");
        assert_eq!(member.stop().await, [], "{rig}");

        let letters = rig.records(&subscription.dead_letters(&topic)).await;
        let expected = [&untraced(&newer), &strange].map(Record::from);
        let expected: Vec<Record> = expected.into_iter().chain([no_event]).collect();
        assert_eq!(letters.len(), expected.len(), "{rig}");
        for (letter, record) in letters.iter().zip(expected) {
            let letter = untraced_record(letter);
            let reason = letter
                .header(DEAD_LETTER_REASON)
                .expect("a reason is given");
            let reason = String::from_utf8(reason.to_vec()).unwrap();
            assert_eq!(letter, record.into_dead_letter(&reason), "{rig}");
        }
        let reasons: Vec<_> = letters
            .iter()
            .map(|it| it.header(DEAD_LETTER_REASON))
            .collect();
        assert_eq!(
            reasons[0],
            Some(&b"Numbered has schema version 2, and 1 is known"[..])
        );
        assert_eq!(reasons[2], Some(&b"header event-id is missing"[..]));
    }
}

/// Waits until every one of `expected` is among what arrives, again or not, and returns it all.
async fn until_all_arrived(
    rig: &Rig,
    expected: &[Event],
    mut next: impl AsyncFnMut() -> Event,
) -> Vec<Event> {
    let mut missing: BTreeSet<EventId> = expected.iter().map(|event| event.id).collect();
    let mut arrived = Vec::new();
    let all = async {
        while !missing.is_empty() {
            let event = next().await;
            missing.remove(&event.id);
            arrived.push(event);
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, all).await;
    outcome.unwrap_or_else(|_| panic!("{rig}: {} events are missing", missing.len()));
    arrived
}

/// Publishes numbered events of many keys, one batch after the other.
struct Source {
    bus: Arc<dyn EventBus>,
    topic: String,
    published: Vec<Event>,
}

impl Source {
    const KEYS: u32 = 12;

    fn new(rig: &Rig, topic: &str) -> Self {
        Self {
            bus: rig.client(),
            topic: topic.to_owned(),
            published: Vec::new(),
        }
    }

    /// The next event of every key.
    fn next_batch(&self) -> Vec<Event> {
        let number = self.published.len() as u32 / Self::KEYS;
        (0..Self::KEYS)
            .map(|key| numbered(&format!("key-{key}"), number))
            .collect()
    }

    async fn publish_some(&mut self) {
        let batch = self.next_batch();
        publish(&*self.bus, &self.topic, batch.clone()).await;
        self.published.extend(batch);
    }
}

#[tokio::test]
async fn a_group_that_grows_to_three_and_shrinks_again_loses_nothing_and_keeps_the_order() {
    for rig in Rig::all().await {
        let topic = new_topic();
        let mut source = Source::new(&rig, &topic);
        let (tell, mut told) = mpsc::unbounded_channel();
        let member = |name: usize| {
            let tell = tell.clone();
            let verdict = move |event: &Event| {
                tell.send((name, event.clone())).unwrap();
                Ok(())
            };
            Member::start(&rig, &group(&topic), Box::new(verdict))
        };
        let mut handled = Vec::new();
        let members = [member(0), member(1), member(2)];
        // Each of the three gets some of what is published from now on.
        let mut seen = [false; 3];
        let all_three = async {
            while seen != [true; 3] {
                source.publish_some().await;
                for _ in 0..Source::KEYS {
                    let (name, event) = told.recv().await.unwrap();
                    seen[name] = true;
                    handled.push(untraced(&event));
                }
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, all_three).await;
        outcome.unwrap_or_else(|_| panic!("{rig}: not all three got a share: {seen:?}"));

        source.publish_some().await;
        let [first, second, third] = members;
        second.stop().await;
        source.publish_some().await;
        third.stop().await;
        source.publish_some().await;

        let published = source.published.iter();
        let missing = published.filter(|event| !handled.contains(event));
        let missing: Vec<Event> = missing.cloned().collect();
        handled
            .extend(until_all_arrived(&rig, &missing, async || told.recv().await.unwrap().1).await);
        assert_eq!(
            first_times(&handled),
            first_times(&source.published),
            "{rig}"
        );
        first.stop().await;
    }
}
