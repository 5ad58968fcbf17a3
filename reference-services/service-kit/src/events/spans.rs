//! Events as spans, in the words of OpenTelemetry's semantic conventions for messaging.

use super::wire::Record;
use super::{Addressed, Event, Subscription};
use crate::trace::{KeyValue, Span, SpanKind};

/// The record of an event that is about to be sent, and the span of its sending, which whoever
/// handles it finds in the record.
pub(super) fn send(addressed: &Addressed, system: &'static str) -> (Record, Span) {
    let Addressed { topic, event } = addressed;
    let parent = event.traceparent.as_deref();
    let mut span = Span::begin(SpanKind::Producer, format_args!("send {topic}"), parent);
    span.describe(|| message(event, topic, system, "send"));
    (Record::caused_by(event, Some(span.traceparent())), span)
}

/// The span of the handling of an event. In the same trace as its sending: each event is handled by
/// itself, never with others.
pub(super) fn process(
    event: &Event,
    topic: &str,
    subscription: &Subscription,
    system: &'static str,
) -> Span {
    let parent = event.traceparent.as_deref();
    let mut span = Span::begin(SpanKind::Consumer, format_args!("process {topic}"), parent);
    span.describe(|| {
        let group = subscription.group.clone();
        message(event, topic, system, "process")
            .into_iter()
            .chain([KeyValue::new("messaging.consumer.group.name", group)])
    });
    span
}

fn message(
    event: &Event,
    topic: &str,
    system: &'static str,
    operation: &'static str,
) -> [KeyValue; 7] {
    [
        KeyValue::new("messaging.system", system),
        KeyValue::new("messaging.operation.type", operation),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.destination.name", topic.to_owned()),
        KeyValue::new("messaging.message.id", event.id.to_string()),
        KeyValue::new(
            "messaging.message.conversation_id",
            event.correlation_id.clone(),
        ),
        KeyValue::new("event.type", event.kind.clone()),
    ]
}
