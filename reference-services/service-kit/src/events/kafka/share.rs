//! Which partitions a member of a group has, as the library tells of it while it is asked for records.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::{self, Statistics};
use tokio_util::sync::CancellationToken;

use super::client::Logged;
use super::lane::{Lanes, Partition};
use crate::events::measurements::Measurements;

/// The member's share of the partitions, as the library tells of it.
pub(super) struct Share {
    pub(super) lanes: Lanes,
    /// The group has gone on without this member: it was silent for too long, or the broker has come
    /// back without the group and perhaps without its topics.
    pub(super) lost: CancellationToken,
    measurements: Measurements,
}

impl Share {
    pub(super) fn new(measurements: Measurements) -> Self {
        Self {
            lanes: Lanes::default(),
            lost: CancellationToken::new(),
            measurements,
        }
    }
}

impl ClientContext for Share {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Logged.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Logged.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values() {
                let (topic, number) = (&topic.topic, partition.partition);
                match waiting(partition) {
                    Some(events) => self.measurements.lag(topic, number, events),
                    None => self.measurements.forget_lag(topic, number),
                }
            }
        }
    }
}

/// How many events of a partition have not been handled; none of a partition that is not this
/// member's, or of which nothing has been heard yet.
fn waiting(partition: &statistics::Partition) -> Option<i64> {
    let handled = [
        partition.stored_offset,
        partition.committed_offset,
        partition.lo_offset,
    ];
    let handled = handled.into_iter().find(|offset| *offset >= 0)?;
    let is_known = partition.desired && partition.hi_offset >= 0;
    is_known.then(|| (partition.hi_offset - handled).max(0))
}

impl ConsumerContext for Share {
    /// Runs before another member can get what is revoked, and between two polls of the lanes: from
    /// here on no offset of theirs is stored.
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else {
            return;
        };
        if consumer.assignment_lost() {
            tracing::warn!("the group has gone on without this member");
            self.lost.cancel();
        }
        for element in list.elements() {
            let partition = Partition {
                topic: element.topic().to_owned(),
                number: element.partition(),
            };
            self.lanes.close(&partition);
            self.measurements
                .forget_lag(&partition.topic, partition.number);
        }
    }

    /// A partition that was held up when it was taken away must not stay so when it comes back.
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                tracing::info!(partitions = list.count(), "more partitions to consume");
                if let Err(error) = consumer.resume(list) {
                    tracing::warn!(%error, "partitions are not consumed");
                }
            }
            Rebalance::Revoke(list) => {
                tracing::info!(partitions = list.count(), "fewer partitions to consume");
            }
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance"),
        }
    }
}
