//! The buses under test, and ways past the port to what they hold.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use service_kit::events::EventBus;
use service_kit::events::kafka::{KafkaBus, KafkaConfig};
use service_kit::events::memory::MemoryBus;
use service_kit::events::wire::Record;

use super::broker::Broker;

const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A bus under test.
pub(crate) enum Rig {
    Memory(Arc<MemoryBus>),
    Embedded(Box<Broker>),
    /// Somebody else's Kafka.
    External(String),
}

impl fmt::Display for Rig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory(_) => "memory",
            Self::Embedded(_) => "embedded broker",
            Self::External(_) => "KAFKA_BROKERS",
        })
    }
}

impl Rig {
    pub(crate) async fn all() -> Vec<Self> {
        let mut rigs = Self::all_that_can_be_killed().await;
        match std::env::var("KAFKA_BROKERS") {
            Ok(brokers) if !brokers.is_empty() => rigs.push(Self::External(brokers)),
            _ => eprintln!("SKIPPED: KAFKA_BROKERS names no Kafka to run this against"),
        }
        rigs
    }

    pub(crate) async fn all_that_can_be_killed() -> Vec<Self> {
        let mut rigs = vec![Self::Memory(Arc::default())];
        rigs.extend(Broker::start().await.map(|it| Self::Embedded(Box::new(it))));
        rigs
    }

    /// Such as a service of its own would have.
    pub(crate) fn client(&self) -> Arc<dyn EventBus> {
        self.make_client(Duration::from_secs(20), &mut Registry::default())
    }

    /// One that soon gives up.
    pub(crate) fn impatient_client(&self) -> Arc<dyn EventBus> {
        self.make_client(Duration::from_secs(2), &mut Registry::default())
    }

    pub(crate) fn measured_client(&self, registry: &mut Registry) -> Arc<dyn EventBus> {
        self.make_client(Duration::from_secs(20), registry)
    }

    fn make_client(&self, publish_limit: Duration, registry: &mut Registry) -> Arc<dyn EventBus> {
        match self {
            Self::Memory(bus) => Arc::clone(bus) as Arc<dyn EventBus>,
            Self::Embedded(_) | Self::External(_) => {
                let config = KafkaConfig {
                    brokers: self.brokers(),
                    partitions: 3,
                    replication: -1,
                    publish_limit,
                    session_timeout: Duration::from_secs(6),
                };
                Arc::new(KafkaBus::new(&config, registry).unwrap())
            }
        }
    }

    fn brokers(&self) -> String {
        match self {
            Self::Memory(_) => unreachable!("there is no broker in memory"),
            Self::Embedded(broker) => broker.address(),
            Self::External(brokers) => brokers.clone(),
        }
    }

    fn settings(&self) -> ClientConfig {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", self.brokers());
        settings
    }

    pub(crate) async fn kill(&mut self) {
        match self {
            Self::Memory(bus) => bus.go_down(),
            Self::Embedded(broker) => broker.kill().await,
            Self::External(_) => unreachable!("somebody else's Kafka is not killed"),
        }
    }

    pub(crate) fn revive(&mut self) {
        match self {
            Self::Memory(bus) => bus.come_back(),
            Self::Embedded(broker) => broker.revive(),
            Self::External(_) => unreachable!("somebody else's Kafka is not killed"),
        }
    }

    /// Brings a broker back that has lost everything.
    pub(crate) fn revive_empty(&mut self) {
        if let Self::Embedded(broker) = self {
            broker.lose_all();
        }
        self.revive();
    }

    /// Adds a record that need not be an event.
    pub(crate) async fn put(&self, topic: &str, record: Record) {
        if let Self::Memory(bus) = self {
            return bus.put(topic, record);
        }
        let producer: FutureProducer = self
            .settings()
            .set("partitioner", "murmur2_random")
            .create()
            .unwrap();
        let mut headers = OwnedHeaders::new();
        for (key, value) in &record.headers {
            let value = Some(value);
            headers = headers.insert(Header { key, value });
        }
        let message = FutureRecord::to(topic)
            .key(&record.key)
            .payload(&record.payload)
            .headers(headers);
        producer.send(message, ANSWER_WITHIN).await.unwrap();
    }

    /// Whether there is such a topic. Asking for it by its name might make it.
    pub(crate) async fn has_topic(&self, topic: &str) -> bool {
        if let Self::Memory(bus) = self {
            return bus.has_topic(topic);
        }
        let consumer: BaseConsumer = self.settings().create().unwrap();
        let asking = move || consumer.fetch_metadata(None, ANSWER_WITHIN);
        let metadata = tokio::task::spawn_blocking(asking).await.unwrap().unwrap();
        metadata.topics().iter().any(|it| it.name() == topic)
    }

    /// Everything in the topic; in order where it was put there with one key.
    pub(crate) async fn records(&self, topic: &str) -> Vec<Record> {
        if let Self::Memory(bus) = self {
            return bus.records(topic);
        }
        let consumer: BaseConsumer = self
            .settings()
            .set("group.id", "contract")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let topic = topic.to_owned();
        tokio::task::spawn_blocking(move || read_all(&consumer, &topic))
            .await
            .unwrap()
    }
}

fn read_all(consumer: &BaseConsumer, topic: &str) -> Vec<Record> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_WITHIN).unwrap();
    let mut partitions = TopicPartitionList::new();
    let mut waiting = 0;
    for partition in metadata.topics()[0].partitions() {
        let id = partition.id();
        let (low, high) = consumer.fetch_watermarks(topic, id, ANSWER_WITHIN).unwrap();
        waiting += high - low;
        partitions
            .add_partition_offset(topic, id, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&partitions).unwrap();
    (0..waiting)
        .map(|_| {
            let message = consumer.poll(ANSWER_WITHIN).expect("a record is missing");
            let message = message.unwrap();
            let headers = message.headers().unwrap().iter();
            Record {
                key: message.key().unwrap().to_vec(),
                headers: headers
                    .map(|it| (it.key.to_owned(), it.value.unwrap().to_vec()))
                    .collect(),
                payload: message.payload().unwrap().to_vec(),
            }
        })
        .collect()
}
