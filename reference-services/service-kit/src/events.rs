//! Events between services: what one is, and the port to the bus that carries it. Knows neither a
//! broker nor what any event means.

mod delivery;
mod follow;
pub mod kafka;
mod measurements;
pub mod memory;
mod spans;
pub mod wire;

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

pub use self::follow::follow;
use crate::clock::now_ms;
use crate::trace::TraceContext;

/// The schema version of every event that says nothing else.
const FIRST_SCHEMA_VERSION: u32 = 1;

/// The name of one event: who has seen it before knows it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(u128);

/// Text that cannot name an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event id has 32 hexadecimal digits")]
pub struct InvalidEventId;

impl EventId {
    pub fn new(id: u128) -> Self {
        Self(id)
    }

    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidEventId);
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| InvalidEventId)
    }
}

/// Something that has happened, as it is told to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    /// What has happened, such as `OrderPaid`.
    pub kind: String,
    pub schema_version: u32,
    /// Events of the same key are handled in the order in which they were published.
    pub key: String,
    /// What the event belongs to, the same along a whole chain of events.
    pub correlation_id: String,
    /// The id of the event or request that caused this one.
    pub causation_id: String,
    /// Milliseconds since the Unix epoch.
    pub occurred_at_ms: i64,
    /// What the event stands below in a distributed trace, as W3C's `traceparent` says it: on its
    /// way, the span of its sending; with whoever handles it, that of the handling.
    pub traceparent: Option<String>,
    /// JSON text.
    pub payload: String,
}

impl Event {
    /// A new event about `key`, caused by the request or event called `causation`.
    pub fn new(
        kind: &str,
        key: impl Into<String>,
        causation: impl Into<String>,
        payload: &impl Serialize,
    ) -> Self {
        let key = key.into();
        Self {
            id: EventId::random(),
            kind: kind.to_owned(),
            schema_version: FIRST_SCHEMA_VERSION,
            correlation_id: key.clone(),
            key,
            causation_id: causation.into(),
            occurred_at_ms: now_ms(),
            traceparent: None,
            payload: serde_json::to_string(payload)
                .expect("a payload is a plain structure, which always has a JSON form"),
        }
    }

    /// A new event that follows from `cause`: about the same key, in the same chain.
    pub fn caused_by(cause: &Self, kind: &str, payload: &impl Serialize) -> Self {
        Self {
            correlation_id: cause.correlation_id.clone(),
            traceparent: cause.traceparent.clone(),
            ..Self::new(kind, cause.key.clone(), cause.id.to_string(), payload)
        }
    }

    /// The payload of an event of schema `version`. Another version, or a payload that is not a
    /// `T`, is poison: asking again would not help.
    pub fn read<T: DeserializeOwned>(&self, version: u32) -> Result<T, HandleError> {
        if self.schema_version != version {
            return Err(HandleError::Poison(format!(
                "{} has schema version {}, and {version} is known",
                self.kind, self.schema_version
            )));
        }
        serde_json::from_str(&self.payload)
            .map_err(|error| HandleError::Poison(format!("{} cannot be read: {error}", self.kind)))
    }

    /// What log lines about this event are written in: it says which event it is, of which chain and
    /// of which trace.
    pub fn span(&self) -> tracing::Span {
        let traceparent = self.traceparent.as_deref();
        let trace = traceparent.and_then(|text| text.parse::<TraceContext>().ok());
        tracing::info_span!(
            "event",
            id = %self.id,
            kind = self.kind,
            correlation_id = self.correlation_id,
            causation_id = self.causation_id,
            trace = trace.map(|it| tracing::field::display(it.trace_id())),
        )
    }

    /// This event on its way to `topic`.
    pub fn to(self, topic: impl Into<String>) -> Addressed {
        Addressed {
            topic: topic.into(),
            event: self,
        }
    }
}

/// An event and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressed {
    pub topic: String,
    pub event: Event,
}

/// Carries events from those who publish them to those who subscribed.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Makes those of `topics` that are missing, as soon as the bus is there: whoever looks for one finds
    /// it, although nothing was published to it.
    async fn make_topics(&self, topics: &[&str]);

    /// Publishes in the given order, and returns when every one of `events` is durable. After an
    /// error any of them may be: who publishes them again does so at least once.
    async fn publish(&self, events: &[Addressed]) -> Result<(), BusError>;

    /// Gives the events of the subscribed topics to `handler`, in order for each key, at least once,
    /// until `stop`. An event counts as handled after the handler returned `Ok`, or after the event
    /// was put among the dead letters, which is also where an event goes over which the handler has
    /// panicked a few times in a row. The handler may be called for several keys at once, and a
    /// call is dropped when another member of the group takes the key over.
    async fn consume(
        &self,
        subscription: &Subscription,
        handler: &dyn Handler,
        stop: &CancellationToken,
    ) -> Result<(), BusError>;
}

/// Which topics a group of consumers reads. Each event goes to one member of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub group: String,
    pub topics: Vec<String>,
    service: String,
}

impl Subscription {
    pub fn new(group: &str, topics: &[&str]) -> Self {
        Self {
            group: group.to_owned(),
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
            service: group.to_owned(),
        }
    }

    /// The same for what one process keeps for itself and calls `identity`: it gets every event, not
    /// a share of them, and, if it is new, those that were published before it was made.
    pub fn kept_by(self, identity: &str) -> Self {
        Self {
            group: format!("{}-{identity}", self.service),
            ..self
        }
    }

    /// Where events of `topic` end that this service can never handle.
    pub fn dead_letters(&self, topic: &str) -> String {
        format!("{topic}.{}.dead-letters", self.service)
    }
}

/// What a service does about the events it subscribed to. An event of a kind that it does not know
/// is nothing to it: `Ok`.
#[async_trait]
pub trait Handler: Send + Sync {
    async fn handle(&self, event: &Event) -> Result<(), HandleError>;
}

/// Why an event was not handled.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// It never will be: it goes to the dead letters, and the next one is handled.
    #[error("it cannot be handled: {0}")]
    Poison(String),
    /// It may be later: it is given to the handler again, and again, before any that follows it.
    #[error("it is not handled yet")]
    Retry(#[source] Box<dyn Error + Send + Sync>),
}

impl HandleError {
    pub fn retry(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Retry(error.into())
    }
}

/// Why the bus did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("topic {topic} has not taken an event")]
    Publish {
        topic: String,
        source: Box<dyn Error + Send + Sync>,
    },
    /// It never will: one event at least of those that were to be published is too large.
    #[error("an event is too large for topic {topic}")]
    TooLarge {
        topic: String,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("group {group} cannot read its topics")]
    Consume {
        group: String,
        source: Box<dyn Error + Send + Sync>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Paid {
        order_id: String,
    }

    fn paid() -> Event {
        let payload = Paid {
            order_id: "7".to_owned(),
        };
        Event::new("OrderPaid", "7", "request", &payload)
    }

    #[test]
    fn ids_are_32_hexadecimal_digits() {
        let id = EventId::new(0xab);
        assert_eq!(id.to_string(), "000000000000000000000000000000ab");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "ab", &"g".repeat(32), &format!("+{}", "0".repeat(31))] {
            assert_eq!(bad.parse::<EventId>(), Err(InvalidEventId));
        }
    }

    #[test]
    fn an_effect_names_its_cause_and_stays_in_the_chain() {
        let mut cause = paid();
        cause.traceparent =
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
        let effect = Event::caused_by(&cause, "OrderAccepted", &());
        assert_eq!(effect.key, "7");
        assert_eq!(effect.correlation_id, cause.correlation_id);
        assert_eq!(effect.causation_id, cause.id.to_string());
        assert_ne!(effect.id, cause.id);
        assert_eq!(effect.traceparent, cause.traceparent);
    }

    #[test]
    fn who_keeps_events_has_a_group_alone_and_shares_the_dead_letters() {
        let shared = Subscription::new("customer", &["orders"]);
        let kept = shared.clone().kept_by("a1");
        assert_eq!(kept.group, "customer-a1");
        assert_eq!(kept.topics, shared.topics);
        assert_eq!(kept.dead_letters("orders"), "orders.customer.dead-letters");
        assert_eq!(shared.dead_letters("orders"), kept.dead_letters("orders"));
    }

    #[test]
    fn a_payload_is_read_in_its_own_version_only() {
        let event = paid();
        assert_eq!(event.payload, r#"{"orderId":"7"}"#);
        assert_eq!(event.read::<Paid>(1).unwrap().order_id, "7");
        assert!(matches!(event.read::<Paid>(2), Err(HandleError::Poison(_))));
        let strange = Event::new("OrderPaid", "7", "request", &[1, 2]);
        assert!(matches!(
            strange.read::<Paid>(1),
            Err(HandleError::Poison(_))
        ));
    }
}
