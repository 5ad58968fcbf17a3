//! One member of a group of consumers: it takes its share of the partitions, gives it up when it is
//! told to, and remembers at the broker how far it has come.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::client;
use super::lane::{Lane, Parcel, Partition, Put};
use super::publisher::Publisher;
use super::share::Share;
use super::{KafkaConfig, SYSTEM};
use crate::events::delivery::{Delivery, Pauses, Recipient};
use crate::events::measurements::Measurements;
use crate::events::wire::Record;
use crate::events::{Handler, Subscription};

/// Saying goodbye takes a few round trips; a broker that is away is not waited for.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// A consumer that has joined its group.
pub(super) struct Member<'a> {
    subscription: &'a Subscription,
    consumer: StreamConsumer<Share>,
    measurements: Measurements,
}

/// Why a member has left.
pub(super) enum Ended {
    Stopped,
    /// This consumer cannot go on, and has said why in the log; another one may.
    Expelled,
}

impl<'a> Member<'a> {
    pub(super) fn join(
        config: &KafkaConfig,
        subscription: &'a Subscription,
        measurements: Measurements,
    ) -> KafkaResult<Self> {
        let mut settings = client::settings(config);
        settings
            .set("group.id", &subscription.group)
            .set("auto.offset.reset", "earliest")
            // Committed is what this program stores, and it stores what was handled.
            .set("enable.auto.offset.store", "false")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            // Only what moves to another member is taken away, the rest is worked on meanwhile.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set(
                "session.timeout.ms",
                config.session_timeout.as_millis().to_string(),
            )
            .set(
                "heartbeat.interval.ms",
                (config.session_timeout / 10).as_millis().to_string(),
            )
            // The embedded broker answers an empty fetch late: this bounds how late an event is.
            .set("fetch.wait.max.ms", "100")
            .set("statistics.interval.ms", "1000");
        let share = Share::new(measurements.clone());
        let consumer: StreamConsumer<Share> =
            StreamConsumer::from_config_and_context(&settings, share)?;
        let topics: Vec<&str> = subscription.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        Ok(Self {
            subscription,
            consumer,
            measurements,
        })
    }

    /// Handles what comes until `stop`, finishes what is in hand then, and leaves the group.
    pub(super) async fn consume(
        self,
        handler: &dyn Handler,
        publisher: &Publisher,
        stop: &CancellationToken,
    ) -> Ended {
        let worker = Worker {
            subscription: self.subscription,
            consumer: &self.consumer,
            measurements: &self.measurements,
            handler,
            publisher,
            // Its own, because a broken consumer stops its lanes, too.
            stop: stop.child_token(),
        };
        let ended = worker.work().await;
        leave(self.consumer).await;
        ended
    }
}

/// What is needed to work on lanes.
struct Worker<'a> {
    subscription: &'a Subscription,
    consumer: &'a StreamConsumer<Share>,
    measurements: &'a Measurements,
    handler: &'a dyn Handler,
    publisher: &'a Publisher,
    stop: CancellationToken,
}

impl Worker<'_> {
    /// The consumer is asked for records at all times, however long handling takes: that is how it
    /// stays a member, and hears of partitions that come and go.
    async fn work(&self) -> Ended {
        let mut busy = FuturesUnordered::new();
        let ended = loop {
            tokio::select! {
                () = self.stop.cancelled() => break Ended::Stopped,
                () = self.consumer.context().lost.cancelled() => break Ended::Expelled,
                received = self.consumer.recv() => match received {
                    Ok(message) => busy.extend(self.accept(&message).map(|lane| self.drive(lane))),
                    Err(error) if is_final(&error) => break Ended::Expelled,
                    // It was logged where it came from, and the consumer sees to it.
                    Err(_) => {}
                },
                Some(()) = busy.next() => {}
            }
        };
        self.stop.cancel();
        loop {
            tokio::select! {
                lane = busy.next() => if lane.is_none() { return ended },
                // Not handled and not stored: the next member gets it again.
                _ = self.consumer.recv() => {}
            }
        }
    }

    /// Puts a record into its lane, which is returned if it is a new one.
    fn accept(&self, message: &BorrowedMessage<'_>) -> Option<Arc<Lane>> {
        let partition = Partition {
            topic: message.topic().to_owned(),
            number: message.partition(),
        };
        let parcel = Parcel {
            offset: message.offset(),
            record: record(message),
        };
        match self.consumer.context().lanes.put(partition, parcel) {
            Put::Opened(lane) => Some(lane),
            Put::Added(lane) => {
                if lane.is_to_be_held_up() {
                    log_failure(self.consumer.pause(&list(&lane.partition, Offset::Invalid)));
                }
                None
            }
        }
    }

    /// Handles a lane's records one after the other until it is taken away.
    async fn drive(&self, lane: Arc<Lane>) {
        let handle_all = async {
            loop {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return,
                    parcel = lane.next() => if !self.handle(&lane.partition, parcel).await { return },
                }
                if lane.is_to_go_on() {
                    log_failure(
                        self.consumer
                            .resume(&list(&lane.partition, Offset::Invalid)),
                    );
                }
            }
        };
        tokio::select! {
            biased;
            () = lane.taken_away.cancelled() => {}
            () = handle_all => {}
        }
    }

    /// False when the stop came first.
    async fn handle(&self, partition: &Partition, parcel: Parcel) -> bool {
        let Parcel { offset, record } = parcel;
        let topic = &partition.topic;
        let recipient = Recipient {
            system: SYSTEM,
            subscription: self.subscription,
            handler: self.handler,
            measurements: self.measurements,
            stop: &self.stop,
        };
        match recipient.deliver(&record, topic).await {
            Delivery::Handled => {}
            Delivery::Dead { reason, lines } => {
                let burying = async {
                    let partition = partition.number;
                    tracing::error!(topic, partition, offset, reason, "dead letter");
                    self.bury(topic, record.into_dead_letter(&reason)).await
                };
                if !burying.instrument(lines).await {
                    return false;
                }
            }
            Delivery::Stopped => return false,
        }
        log_failure(
            self.consumer
                .store_offsets(&list(partition, Offset::Offset(offset + 1))),
        );
        true
    }

    async fn bury(&self, topic: &str, letter: Record) -> bool {
        let dead_letters = self.subscription.dead_letters(topic);
        let mut letter = [(dead_letters.as_str(), letter)];
        let mut pauses = Pauses::default();
        while let Err((topic, error)) = self.publisher.send(&letter).await {
            if error.is_too_large() {
                // With the reason it is larger than it was. The whole of it stays where it came from.
                letter[0].1.payload.clear();
            }
            tracing::warn!(topic, %error, "a dead letter cannot be sent yet");
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = pauses.next() => {}
            }
        }
        self.measurements.dead_lettered(topic);
        true
    }
}

/// Everything else the consumer gets over by itself.
fn is_final(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        // The broker has come back without its topics.
        || error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition)
}

/// Commits what was handled and leaves, so that the others need not wait for a silence to be noticed.
/// Not on a thread of the runtime, whose end would wait for it: without a broker it takes long.
async fn leave(consumer: StreamConsumer<Share>) {
    let (left, leaving) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        drop(consumer);
        drop(left);
    });
    if tokio::time::timeout(LEAVE_WITHIN, leaving).await.is_err() {
        tracing::warn!("the broker does not answer: it will notice later that a consumer has left");
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers();
    Record {
        key: message.key().unwrap_or_default().to_vec(),
        headers: headers
            .into_iter()
            .flat_map(|headers| headers.iter())
            .map(|header| {
                (
                    header.key.to_owned(),
                    header.value.unwrap_or_default().to_vec(),
                )
            })
            .collect(),
        payload: message.payload().unwrap_or_default().to_vec(),
    }
}

fn list(partition: &Partition, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&partition.topic, partition.number, offset)
        .expect("every offset used here is one a list can hold");
    list
}

/// These fail only for a partition that has just been taken away.
fn log_failure(outcome: KafkaResult<()>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "too late for a partition");
    }
}
