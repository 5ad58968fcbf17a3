//! What a bus lets the outside see: what went out, what came in, and what is still waiting.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of one bus.
#[derive(Clone, Debug, Default)]
pub(super) struct Measurements {
    published: Family<TopicLabel, Counter>,
    consumed: Family<EventLabels, Counter>,
    retries: Family<TopicLabel, Counter>,
    panics: Family<TopicLabel, Counter>,
    dead_lettered: Family<TopicLabel, Counter>,
    lag: Family<PartitionLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabel {
    topic: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    topic: String,
    r#type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    topic: String,
    partition: i32,
}

impl Measurements {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let measurements = Self::default();
        registry.register(
            "events_published",
            "Events that the broker has acknowledged",
            measurements.published.clone(),
        );
        registry.register(
            "events_consumed",
            "Events that the handler has handled",
            measurements.consumed.clone(),
        );
        registry.register(
            "event_retries",
            "Attempts to handle an event that failed and will be repeated",
            measurements.retries.clone(),
        );
        registry.register(
            "event_handler_panics",
            "Attempts to handle an event that ended in a panic",
            measurements.panics.clone(),
        );
        registry.register(
            "events_dead_lettered",
            "Events that were put among the dead letters, by the topic they came from",
            measurements.dead_lettered.clone(),
        );
        registry.register(
            "consumer_lag",
            "Events that wait to be handled, for each partition that this process has been given",
            measurements.lag.clone(),
        );
        measurements
    }

    /// Counts from zero what may go wrong with the events of `topics`: whoever watches for an increase
    /// does not see one in a count that begins with it.
    pub(super) fn follow(&self, topics: &[String]) {
        for topic in topics {
            for count in [&self.retries, &self.panics, &self.dead_lettered] {
                drop(count.get_or_create(&topic_label(topic)));
            }
        }
    }

    pub(super) fn published(&self, topic: &str) {
        self.published.get_or_create(&topic_label(topic)).inc();
    }

    pub(super) fn consumed(&self, topic: &str, kind: &str) {
        let labels = EventLabels {
            topic: topic.to_owned(),
            r#type: kind.to_owned(),
        };
        self.consumed.get_or_create(&labels).inc();
    }

    pub(super) fn retried(&self, topic: &str) {
        self.retries.get_or_create(&topic_label(topic)).inc();
    }

    pub(super) fn panicked(&self, topic: &str) {
        self.panics.get_or_create(&topic_label(topic)).inc();
    }

    pub(super) fn dead_lettered(&self, topic: &str) {
        self.dead_lettered.get_or_create(&topic_label(topic)).inc();
    }

    pub(super) fn lag(&self, topic: &str, partition: i32, waiting: i64) {
        self.lag
            .get_or_create(&partition_labels(topic, partition))
            .set(waiting);
    }

    /// Says nothing more about a partition: another process has it now.
    pub(super) fn forget_lag(&self, topic: &str, partition: i32) {
        self.lag.remove(&partition_labels(topic, partition));
    }
}

fn topic_label(topic: &str) -> TopicLabel {
    TopicLabel {
        topic: topic.to_owned(),
    }
}

fn partition_labels(topic: &str, partition: i32) -> PartitionLabels {
    PartitionLabels {
        topic: topic.to_owned(),
        partition,
    }
}
