//! The way to the broker: records go out in the order given, and are durable when they count as
//! sent.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::channel::oneshot::Canceled;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer, PurgeConfig};

use super::KafkaConfig;
use super::client::{self, Logged};
use crate::events::measurements::Measurements;
use crate::events::wire::Record;

/// A producer, and how to make the next one.
///
/// A producer ends with the first record it could not send. What it still holds would otherwise go
/// out later, after the same records were published again and others of the same key behind them.
pub(super) struct Publisher {
    settings: ClientConfig,
    limit: Duration,
    current: Mutex<Arc<FutureProducer<Logged>>>,
    measurements: Measurements,
}

/// Why a record is not known to be durable.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("the broker has not acknowledged it within {0:?}")]
    Late(Duration),
    #[error(transparent)]
    Refused(#[from] KafkaError),
    #[error("another record could not be sent")]
    GivenUp(#[from] Canceled),
}

impl SendError {
    /// Whether it has to do with the record alone, and will be so each time: the library measures a
    /// record before it takes it, and the broker again.
    pub(super) fn is_too_large(&self) -> bool {
        match self {
            Self::Refused(error) => {
                error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
            }
            Self::Late(_) | Self::GivenUp(_) => false,
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Publisher {
    pub(super) fn new(
        config: &KafkaConfig,
        measurements: Measurements,
    ) -> Result<Self, KafkaError> {
        let mut settings = client::settings(config);
        settings
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // Only as a whole are records given up: one at a time would let a later one pass.
            .set("message.timeout.ms", "0")
            .set("linger.ms", "1")
            // As every other Kafka client does it.
            .set("partitioner", "murmur2_random");
        Ok(Self {
            current: Mutex::new(Arc::new(producer(&settings)?)),
            settings,
            limit: config.publish_limit,
            measurements,
        })
    }

    /// Sends `records`, each to its topic. After an error, which comes with the topic it happened
    /// at, any of them may have been sent.
    pub(super) async fn send<'a>(
        &self,
        records: &[(&'a str, Record)],
    ) -> Result<(), (&'a str, SendError)> {
        let Some(&(first, _)) = records.first() else {
            return Ok(());
        };
        let producer = self.current();
        let sent = tokio::time::timeout(self.limit, self.send_with(&producer, records))
            .await
            .unwrap_or(Err((first, SendError::Late(self.limit))));
        if sent.is_err() {
            self.replace(producer);
        }
        sent
    }

    async fn send_with<'a>(
        &self,
        producer: &FutureProducer<Logged>,
        records: &[(&'a str, Record)],
    ) -> Result<(), (&'a str, SendError)> {
        let mut deliveries = Vec::with_capacity(records.len());
        for (topic, record) in records {
            let delivery = producer
                .send_result(
                    FutureRecord::to(topic)
                        .key(&record.key)
                        .payload(&record.payload)
                        .headers(headers(record)),
                )
                .map_err(|(error, _)| (*topic, error.into()))?;
            deliveries.push((*topic, delivery));
        }
        for (topic, delivery) in deliveries {
            delivery
                .await
                .map_err(|canceled| (topic, canceled.into()))?
                .map_err(|(error, _)| (topic, error.into()))?;
            self.measurements.published(topic);
        }
        Ok(())
    }

    fn current(&self) -> Arc<FutureProducer<Logged>> {
        Arc::clone(
            &self
                .current
                .lock()
                .expect("no holder of this lock can panic"),
        )
    }

    /// Ends the producer that has failed, unless somebody else has done so.
    fn replace(&self, failed: Arc<FutureProducer<Logged>>) {
        failed.purge(PurgeConfig::default().queue().inflight());
        let mut current = self
            .current
            .lock()
            .expect("no holder of this lock can panic");
        if Arc::ptr_eq(&current, &failed) {
            match producer(&self.settings) {
                Ok(next) => *current = Arc::new(next),
                Err(error) => tracing::error!(%error, "the producer cannot be replaced"),
            }
        }
        drop(current);
        // It waits for its threads.
        tokio::task::spawn_blocking(move || drop(failed));
    }
}

fn producer(settings: &ClientConfig) -> Result<FutureProducer<Logged>, KafkaError> {
    FutureProducer::from_config_and_context(settings, Logged)
}

fn headers(record: &Record) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(record.headers.len());
    record
        .headers
        .iter()
        .fold(headers, |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        })
}
