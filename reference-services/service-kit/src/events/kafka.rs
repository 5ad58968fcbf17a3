//! The bus of a Kafka cluster, or of anything that speaks its protocol. A broker that is away keeps
//! nobody from starting: what it is needed for waits until it is back.

mod client;
mod lane;
mod member;
mod publisher;
mod share;
mod topics;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use rdkafka::error::KafkaError;
use tokio_util::sync::CancellationToken;

use self::member::{Ended, Member};
use self::publisher::Publisher;
use self::topics::Topics;
use super::delivery::Pauses;
use super::measurements::Measurements;
use super::wire::Record;
use super::{Addressed, BusError, EventBus, Handler, Subscription, spans};
use crate::env::Env;
use crate::trace::Span;

/// What spans call this kind of broker.
const SYSTEM: &str = "kafka";

/// How a Kafka cluster is found and used.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// `host:port`, several with commas between.
    pub brokers: String,
    /// Of each topic that is made.
    pub partitions: i32,
    /// Of each topic that is made; -1 is what the cluster thinks best.
    pub replication: i32,
    /// How long publishing may take before it counts as failed, and making a topic for it.
    pub publish_limit: Duration,
    /// After this long without a sign of life a consumer has lost its share to the others.
    pub session_timeout: Duration,
}

impl KafkaConfig {
    /// Reads `KAFKA_BROKERS`, else `BROKER_SERVICE_HOST` and `BROKER_SERVICE_PORT` (which Kubernetes
    /// sets where there is a Service `broker`), else there is no bus. Then `KAFKA_PARTITIONS`
    /// (default 3), `KAFKA_REPLICATION` (default -1: the cluster's own), `KAFKA_PUBLISH_LIMIT`
    /// (default 10 s) and `KAFKA_SESSION_TIMEOUT` (default 10 s).
    pub fn from_env(env: &mut Env) -> Option<Self> {
        let partitions = env.parse("KAFKA_PARTITIONS", 3);
        if partitions < 1 {
            env.complain("KAFKA_PARTITIONS: a topic has one partition at least".to_owned());
        }
        let config = Self {
            brokers: brokers(env).unwrap_or_default(),
            partitions,
            replication: env.parse("KAFKA_REPLICATION", -1),
            publish_limit: env.duration("KAFKA_PUBLISH_LIMIT", Duration::from_secs(10)),
            session_timeout: env.duration("KAFKA_SESSION_TIMEOUT", Duration::from_secs(10)),
        };
        (!config.brokers.is_empty()).then_some(config)
    }
}

fn brokers(env: &Env) -> Option<String> {
    let of_service = || {
        let host = env.text("BROKER_SERVICE_HOST")?;
        let port = env.text("BROKER_SERVICE_PORT")?;
        Some(format!("{host}:{port}"))
    };
    env.text("KAFKA_BROKERS").or_else(of_service)
}

/// Settings that no Kafka client can be made of.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a Kafka client")]
pub struct ClientError(#[from] KafkaError);

/// The bus of the configured cluster. Without one there is none, which is said in the log, once.
pub fn connect(
    config: Option<&KafkaConfig>,
    registry: &mut Registry,
) -> Result<Option<Arc<dyn EventBus>>, ClientError> {
    let Some(config) = config else {
        tracing::warn!("KAFKA_BROKERS is not set: events wait to be published, none is consumed");
        return Ok(None);
    };
    tracing::info!(brokers = config.brokers, "events go by Kafka");
    Ok(Some(Arc::new(KafkaBus::new(config, registry)?)))
}

/// A client of a Kafka cluster.
#[derive(Debug)]
pub struct KafkaBus {
    config: KafkaConfig,
    topics: Topics,
    publisher: Publisher,
    measurements: Measurements,
}

impl KafkaBus {
    pub fn new(config: &KafkaConfig, registry: &mut Registry) -> Result<Self, ClientError> {
        let measurements = Measurements::register(registry);
        Ok(Self {
            config: config.clone(),
            topics: Topics::new(config)?,
            publisher: Publisher::new(config, measurements.clone())?,
            measurements,
        })
    }
}

#[async_trait]
impl EventBus for KafkaBus {
    async fn make_topics(&self, topics: &[&str]) {
        let mut pauses = Pauses::default();
        while let Err(error) = self.topics.ensure(topics).await {
            tracing::warn!(?topics, %error, "the topics cannot be made yet");
            pauses.next().await;
        }
    }

    async fn publish(&self, events: &[Addressed]) -> Result<(), BusError> {
        let topics: BTreeSet<&str> = events.iter().map(|it| it.topic.as_str()).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let Some(&first) = topics.first() else {
            return Ok(());
        };
        let failed = |topic: &str, source| BusError::Publish {
            topic: topic.to_owned(),
            source,
        };
        let too_large = |topic: &str, source| BusError::TooLarge {
            topic: topic.to_owned(),
            source,
        };
        self.topics
            .ensure(&topics)
            .await
            .map_err(|error| failed(first, error.into()))?;
        let (records, mut spans): (Vec<(&str, Record)>, Vec<Span>) = events
            .iter()
            .map(|it| {
                let (record, span) = spans::send(it, SYSTEM);
                ((it.topic.as_str(), record), span)
            })
            .unzip();
        self.publisher
            .send(&records)
            .await
            .map_err(|(topic, error)| {
                for span in &mut spans {
                    span.fail("publish", &error);
                }
                if error.is_too_large() {
                    return too_large(topic, error.into());
                }
                // Perhaps the broker came back without what it had.
                self.topics.forget(&topics);
                failed(topic, error.into())
            })
    }

    async fn consume(
        &self,
        subscription: &Subscription,
        handler: &dyn Handler,
        stop: &CancellationToken,
    ) -> Result<(), BusError> {
        self.measurements.follow(&subscription.topics);
        let dead_letters = subscription
            .topics
            .iter()
            .map(|it| subscription.dead_letters(it));
        let topics: Vec<String> = dead_letters.chain(subscription.topics.clone()).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let mut pauses = Pauses::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.make_topics(&topics) => {}
            }
            let member = Member::join(&self.config, subscription, self.measurements.clone())
                .map_err(|error| BusError::Consume {
                    group: subscription.group.clone(),
                    source: error.into(),
                })?;
            match member.consume(handler, &self.publisher, stop).await {
                Ended::Stopped => return Ok(()),
                Ended::Expelled => {
                    tracing::info!(group = subscription.group, "joins its group again");
                    self.topics.forget(&topics);
                    pauses.next().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_are_named_or_those_of_the_service() {
        let service = [
            ("BROKER_SERVICE_HOST", "10.0.0.9"),
            ("BROKER_SERVICE_PORT", "9092"),
        ];
        let [host, port] = service;
        for (mut env, expected) in [
            (
                Env::of_pairs([("KAFKA_BROKERS", "a:1,b:2"), host, port]),
                Some("a:1,b:2"),
            ),
            (Env::of_pairs(service), Some("10.0.0.9:9092")),
            (Env::of_pairs([host]), None),
        ] {
            let config = KafkaConfig::from_env(&mut env);
            assert_eq!(config.map(|config| config.brokers).as_deref(), expected);
            env.finish().unwrap();
        }
    }

    #[test]
    fn a_topic_without_partitions_is_refused() {
        let mut env = Env::of_pairs([("KAFKA_PARTITIONS", "0")]);
        assert!(KafkaConfig::from_env(&mut env).is_none());
        assert!(env.finish().is_err());
    }
}
