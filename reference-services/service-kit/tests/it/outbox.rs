//! What happened is told, in order, whatever fails.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use service_kit::background::Background;
use service_kit::database::{Database, query};
use service_kit::events::{Addressed, BusError, Event, EventBus, Handler, Subscription};
use service_kit::outbox::{self, OutboxMetrics, Relay};
use sqlx::Row as _;
use test_servers::Server;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::databases::{Place, SERVERS, places};

const PATIENCE: Duration = Duration::from_secs(60);

/// A bus that notes what it is given, unless it is down. Events with a negative number are too large
/// for it.
struct NotingBus {
    is_up: watch::Sender<bool>,
    made: watch::Sender<Vec<String>>,
    published: watch::Sender<Vec<Addressed>>,
    attempts: watch::Sender<usize>,
    /// How many publish at this moment.
    at_once: Mutex<usize>,
}

impl NotingBus {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            is_up: watch::Sender::new(true),
            made: watch::Sender::default(),
            published: watch::Sender::new(Vec::new()),
            attempts: watch::Sender::new(0),
            at_once: Mutex::new(0),
        })
    }

    /// Waits until `count` events were published, and returns all.
    async fn published(&self, count: usize) -> Vec<Addressed> {
        let mut published = self.published.subscribe();
        let enough = published.wait_for(|published| published.len() >= count);
        let enough = tokio::time::timeout(PATIENCE, enough).await;
        enough
            .expect("too few events were published")
            .unwrap()
            .clone()
    }
}

#[async_trait]
impl EventBus for NotingBus {
    async fn make_topics(&self, topics: &[&str]) {
        let mut is_up = self.is_up.subscribe();
        is_up.wait_for(|is_up| *is_up).await.unwrap();
        let topics = topics.iter().map(|&topic| topic.to_owned());
        self.made.send_modify(|made| made.extend(topics));
    }

    async fn publish(&self, events: &[Addressed]) -> Result<(), BusError> {
        self.attempts.send_modify(|attempts| *attempts += 1);
        let mut is_up = self.is_up.subscribe();
        if !*is_up.borrow_and_update() {
            return Err(BusError::Publish {
                topic: events[0].topic.clone(),
                source: "the bus is down".into(),
            });
        }
        let is_large = |addressed: &&Addressed| matches!(addressed.event.read(1), Ok(..0_i64));
        if let Some(large) = events.iter().find(is_large) {
            return Err(BusError::TooLarge {
                topic: large.topic.clone(),
                source: "it is longer than a sheet of paper".into(),
            });
        }
        *self.at_once.lock().unwrap() += 1;
        tokio::task::yield_now().await;
        self.published
            .send_modify(|published| published.extend_from_slice(events));
        let at_once = std::mem::take(&mut *self.at_once.lock().unwrap());
        assert_eq!(at_once, 1, "two publish at once");
        Ok(())
    }

    async fn consume(
        &self,
        _subscription: &Subscription,
        _handler: &dyn Handler,
        stop: &CancellationToken,
    ) -> Result<(), BusError> {
        stop.cancelled().await;
        Ok(())
    }
}

fn event(key: &str, number: i64) -> Addressed {
    Event::new("Counted", key, "test", &number).to("counts")
}

fn number(addressed: &Addressed) -> i64 {
    addressed.event.read(1).unwrap()
}

/// Writes a note and the event that tells of it.
async fn happen(database: &Database, event: &Addressed) -> Result<(), sqlx::Error> {
    let mut lease = database.connect().await.map_err(sqlx::Error::decode)?;
    let mut transaction = lease.begin().await?;
    let connection = &mut transaction.connection();
    query(connection, "INSERT INTO notes (id) VALUES (?)")
        .bind(number(event))
        .execute(connection)
        .await?;
    outbox::append(&mut transaction, event).await?;
    transaction.commit().await
}

async fn notes(database: &Database) -> Vec<i64> {
    let mut lease = database.connect().await.unwrap();
    let connection = &mut lease.connection();
    query(connection, "SELECT id FROM notes ORDER BY id")
        .try_map(|row| row.try_get(0))
        .fetch_all(connection)
        .await
        .unwrap()
}

fn start_relay(background: &Background, database: &Arc<Database>, bus: &Arc<NotingBus>) {
    let bus: Arc<dyn EventBus> = Arc::<NotingBus>::clone(bus);
    let relay = Relay::new(
        Arc::clone(database),
        bus,
        &["counts", "other-counts"],
        OutboxMetrics::default(),
    );
    background.spawn(|stop| async move { relay.run(&stop).await });
}

#[tokio::test]
async fn committed_events_are_published_as_they_are_and_others_never() {
    for place in places() {
        let database = place.open().await;
        let mut events: Vec<_> = (0..5).map(|number| event("주문 '1'", number)).collect();
        events[0].event.traceparent = Some("00-trace".to_owned());
        events[1].event.schema_version = u32::MAX;
        events[2].event.payload = format!("\"{}\"", "긴 글 ".repeat(5_000));
        events[3].event.correlation_id = "another".to_owned();
        events[4].topic = "other-counts".to_owned();
        for event in &events {
            let mut lease = database.connect().await.unwrap();
            let mut given_up = lease.begin().await.unwrap();
            outbox::append(&mut given_up, &self::event("given up", 9))
                .await
                .unwrap();
            drop(given_up);
            let mut transaction = lease.begin().await.unwrap();
            outbox::append(&mut transaction, event).await.unwrap();
            transaction.commit().await.unwrap();
        }
        let bus = NotingBus::new();
        let background = Background::default();
        start_relay(&background, &database, &bus);
        assert_eq!(bus.published(events.len()).await, events);
        background.end().await;
        // What was published is gone: another relay finds nothing, not even at its end.
        let background = Background::default();
        start_relay(&background, &database, &bus);
        happen(&database, &event("last", 10)).await.unwrap();
        let published = bus.published(events.len() + 1).await;
        assert_eq!(number(&published[events.len()]), 10);
        background.end().await;
    }
}

#[tokio::test]
async fn a_commit_wakes_the_relay() {
    for place in places() {
        let database = place.open().await;
        let bus = NotingBus::new();
        let background = Background::default();
        start_relay(&background, &database, &bus);
        happen(&database, &event("a", 0)).await.unwrap();
        bus.published(1).await;
        let started = Instant::now();
        for number in 1..40 {
            happen(&database, &event("a", number)).await.unwrap();
            bus.published(usize::try_from(number).unwrap() + 1).await;
        }
        // Somebody who only looked now and then would have looked 39 times.
        assert!(
            started.elapsed() < Duration::from_secs(4),
            "{:?}",
            started.elapsed()
        );
        background.end().await;
    }
}

#[tokio::test]
async fn events_wait_while_the_bus_is_down() {
    for place in places() {
        let database = place.open().await;
        let bus = NotingBus::new();
        bus.is_up.send_replace(false);
        let background = Background::default();
        start_relay(&background, &database, &bus);
        for number in 0..10 {
            happen(&database, &event("a", number)).await.unwrap();
        }
        let mut attempts = bus.attempts.subscribe();
        attempts.wait_for(|attempts| *attempts >= 3).await.unwrap();
        bus.is_up.send_replace(true);
        let numbers: Vec<_> = bus.published(10).await.iter().map(number).collect();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
        background.end().await;
    }
}

#[tokio::test]
async fn topics_are_made_once_the_bus_is_up_although_there_is_no_event() {
    for place in places() {
        let database = place.open().await;
        let bus = NotingBus::new();
        bus.is_up.send_replace(false);
        let background = Background::default();
        start_relay(&background, &database, &bus);
        bus.is_up.send_replace(true);
        let mut made = bus.made.subscribe();
        let made = tokio::time::timeout(PATIENCE, made.wait_for(|made| !made.is_empty())).await;
        let made = made.expect("nothing was made").unwrap().clone();
        assert_eq!(made, ["counts", "other-counts"]);
        background.end().await;
    }
}

#[tokio::test]
async fn what_is_left_at_the_end_is_still_published() {
    for place in places() {
        let database = place.open().await;
        let bus = NotingBus::new();
        let background = Background::default();
        start_relay(&background, &database, &bus);
        for number in 0..300 {
            happen(&database, &event("a", number)).await.unwrap();
        }
        background.end().await;
        assert_eq!(bus.published.borrow().len(), 300);
    }
}

/// Each key's events in the order in which they were published.
fn by_key(published: &[Addressed]) -> BTreeMap<String, Vec<i64>> {
    let mut by_key = BTreeMap::<_, Vec<_>>::new();
    for addressed in published {
        let numbers = by_key.entry(addressed.event.key.clone()).or_default();
        numbers.push(number(addressed));
    }
    by_key
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_publish_each_event_once_and_in_order_and_stand_in_for_each_other() {
    const KEYS: i64 = 4;
    const EACH: i64 = 40;
    for place in places() {
        let replicas = [place.open().await, place.open().await];
        let bus = NotingBus::new();
        let backgrounds = [Background::default(), Background::default()];
        for (database, background) in replicas.iter().zip(&backgrounds) {
            start_relay(background, database, &bus);
        }
        let writers: Vec<_> = (0..KEYS)
            .map(|key| {
                let replicas = replicas.clone();
                tokio::spawn(async move {
                    for turn in 0..EACH {
                        let database = &replicas[usize::try_from(turn % 2).unwrap()];
                        let event = event(&key.to_string(), key * EACH + turn);
                        happen(database, &event).await.unwrap();
                    }
                })
            })
            .collect();
        bus.published(10).await;
        // Whichever of them it is that publishes, one of these ends stops it.
        let [first, second] = backgrounds;
        first.end().await;
        start_relay(&second, &replicas[1], &bus);
        for writer in writers {
            writer.await.unwrap();
        }
        let published = bus.published(usize::try_from(KEYS * EACH).unwrap()).await;
        second.end().await;
        for (key, numbers) in by_key(&published) {
            let from = key.parse::<i64>().unwrap() * EACH;
            assert_eq!(numbers, (from..from + EACH).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn the_outbox_is_measured_whether_or_not_somebody_publishes() {
    for place in places() {
        let database = place.open().await;
        let mut old = event("a", 1);
        old.event.occurred_at_ms -= 60_000;
        happen(&database, &old).await.unwrap();
        happen(&database, &event("a", 2)).await.unwrap();
        let mut registry = Registry::default();
        let metrics = OutboxMetrics::register(&mut registry);
        let value = |name: &str| {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        let background = Background::default();
        let watched = (Arc::clone(&database), metrics.clone());
        background.spawn(|stop| async move { outbox::watch(&watched.0, &watched.1, &stop).await });
        while value("outbox_pending") < 2.0 {
            tokio::task::yield_now().await;
        }
        assert!((60.0..120.0).contains(&value("outbox_oldest_age_seconds")));
        let relay = Relay::new(database, NotingBus::new(), &["counts"], metrics);
        background.spawn(|stop| async move { relay.run(&stop).await });
        while value("outbox_published_total") < 2.0 || value("outbox_pending") > 0.0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(value("outbox_oldest_age_seconds"), 0.0);
        background.end().await;
    }
}

#[tokio::test]
async fn an_event_too_large_is_put_aside_and_the_others_are_published() {
    for place in places() {
        let database = place.open().await;
        let bus = NotingBus::new();
        // More than one batch, with large ones at both ends and next to each other.
        let large = [0, 150, 151, 299];
        for number in 0..300 {
            let sign = if large.contains(&number) { -1 } else { 1 };
            happen(&database, &event("a", sign * (number + 1)))
                .await
                .unwrap();
        }
        let background = Background::default();
        start_relay(&background, &database, &bus);
        let published = bus.published(300 - large.len()).await;
        background.end().await;
        let numbers: Vec<_> = published.iter().map(number).collect();
        let small = (0..300).filter(|number| !large.contains(number));
        assert_eq!(numbers, small.map(|number| number + 1).collect::<Vec<_>>());

        let mut lease = database.connect().await.unwrap();
        let connection = &mut lease.connection();
        let aside: Vec<(String, String)> = query(
            connection,
            "SELECT payload, reason FROM outbox_dead_letters ORDER BY sequence",
        )
        .try_map(|row| Ok((row.try_get("payload")?, row.try_get("reason")?)))
        .fetch_all(connection)
        .await
        .unwrap();
        let reason = "an event is too large for topic counts: it is longer than a sheet of paper";
        let expected = large.map(|number| (format!("-{}", number + 1), reason.to_owned()));
        assert_eq!(aside, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_that_was_acknowledged() {
    for kind in SERVERS {
        let Some(mut server) = Server::start(kind) else {
            continue;
        };
        let place = Place::on(&server);
        let database = place.open().await;
        let bus = NotingBus::new();
        let background = Background::default();
        start_relay(&background, &database, &bus);
        let acknowledged = watch::Sender::new(0);
        let writer = {
            let (database, acknowledged) = (Arc::clone(&database), acknowledged.clone());
            let mut enough = acknowledged.subscribe();
            tokio::spawn(async move {
                let mut written = Vec::new();
                for number in 0.. {
                    if happen(&database, &event("a", number)).await.is_ok() {
                        written.push(number);
                        acknowledged.send_modify(|count| *count += 1);
                    }
                    if *enough.borrow_and_update() >= 200 {
                        break;
                    }
                }
                written
            })
        };
        for kill_at in [50, 100, 150] {
            let mut acknowledged = acknowledged.subscribe();
            acknowledged
                .wait_for(|count| *count >= kill_at)
                .await
                .unwrap();
            server.kill();
            server.start_again();
        }
        let written = writer.await.unwrap();
        // A commit whose answer was lost with the server may have happened; then it is told too.
        let happened = notes(&database).await;
        assert!(written.iter().all(|number| happened.contains(number)));
        let mut published = Vec::new();
        while published.len() < happened.len() {
            let addressed = bus.published(published.len() + 1).await;
            published = addressed.iter().map(number).collect();
            published.dedup();
            published.sort_unstable();
            published.dedup();
        }
        assert_eq!(published, happened);
        background.end().await;
    }
}
