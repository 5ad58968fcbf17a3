//! Events as a broker keeps them: a key, headers and bytes. Every adapter of the bus reads and
//! writes them through here, so that they agree on each header's name and form.

use std::fmt::Display;
use std::str::FromStr;

use super::Event;

const EVENT_ID: &str = "event-id";
const EVENT_TYPE: &str = "event-type";
const SCHEMA_VERSION: &str = "schema-version";
const CORRELATION_ID: &str = "correlation-id";
const CAUSATION_ID: &str = "causation-id";
/// In milliseconds since the Unix epoch.
const OCCURRED_AT: &str = "occurred-at";
const TRACEPARENT: &str = "traceparent";
/// Why an event is among the dead letters; only there.
pub const DEAD_LETTER_REASON: &str = "dead-letter-reason";

/// How much of a reason is told, in characters: it must not make a record too large.
const LONGEST_REASON: usize = 1000;

/// One event on the wire, readable or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub key: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub payload: Vec<u8>,
}

/// Why a record is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("header {0} is missing")]
    Missing(&'static str),
    #[error("header {name} cannot be read: {reason}")]
    Unreadable { name: &'static str, reason: String },
    #[error("the {0} is not UTF-8")]
    NotText(&'static str),
}

impl Record {
    /// The record of `event`, which is told because of the span that `traceparent` names.
    pub(super) fn caused_by(event: &Event, traceparent: Option<String>) -> Self {
        let mut headers = vec![
            (EVENT_ID, event.id.to_string()),
            (EVENT_TYPE, event.kind.clone()),
            (SCHEMA_VERSION, event.schema_version.to_string()),
            (CORRELATION_ID, event.correlation_id.clone()),
            (CAUSATION_ID, event.causation_id.clone()),
            (OCCURRED_AT, event.occurred_at_ms.to_string()),
        ];
        headers.extend(traceparent.map(|value| (TRACEPARENT, value)));
        Self {
            key: event.key.clone().into_bytes(),
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into_bytes()))
                .collect(),
            payload: event.payload.clone().into_bytes(),
        }
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_slice())
    }

    /// The same record with the reason why it is among the dead letters.
    pub fn into_dead_letter(mut self, reason: &str) -> Self {
        let reason: String = reason.chars().take(LONGEST_REASON).collect();
        self.headers
            .push((DEAD_LETTER_REASON.to_owned(), reason.into()));
        self
    }

    /// What log lines about this record are written in where it is no event: as much of an event's
    /// span as can be read.
    pub(super) fn span(&self) -> tracing::Span {
        let text = |name| str::from_utf8(self.header(name)?).ok();
        tracing::info_span!(
            "record",
            id = text(EVENT_ID),
            kind = text(EVENT_TYPE),
            correlation_id = text(CORRELATION_ID),
            causation_id = text(CAUSATION_ID),
        )
    }

    /// The event that this record is, if it is one.
    pub fn read(&self) -> Result<Event, WireError> {
        Ok(Event {
            id: self.parse(EVENT_ID)?,
            kind: self.parse(EVENT_TYPE)?,
            schema_version: self.parse(SCHEMA_VERSION)?,
            key: text(&self.key, "key")?,
            correlation_id: self.parse(CORRELATION_ID)?,
            causation_id: self.parse(CAUSATION_ID)?,
            occurred_at_ms: self.parse(OCCURRED_AT)?,
            traceparent: match self.header(TRACEPARENT) {
                Some(value) => Some(text(value, TRACEPARENT)?),
                None => None,
            },
            payload: text(&self.payload, "payload")?,
        })
    }

    fn parse<T>(&self, name: &'static str) -> Result<T, WireError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let value = self.header(name).ok_or(WireError::Missing(name))?;
        text(value, name)?
            .parse()
            .map_err(|error: T::Err| WireError::Unreadable {
                name,
                reason: error.to_string(),
            })
    }
}

fn text(bytes: &[u8], what: &'static str) -> Result<String, WireError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| WireError::NotText(what))
}

impl From<&Event> for Record {
    fn from(event: &Event) -> Self {
        Self::caused_by(event, event.traceparent.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            ..Event::new("OrderPaid", "7", "request", &"서울시")
        }
    }

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let with = event();
        let without = Event {
            traceparent: None,
            ..event()
        };
        for event in [with, without] {
            assert_eq!(Record::from(&event).read(), Ok(event));
        }
    }

    #[test]
    fn headers_are_plain_text() {
        let event = event();
        let record = Record::from(&event);
        let header = |name| String::from_utf8(record.header(name).unwrap().to_vec()).unwrap();
        assert_eq!(header("event-id"), event.id.to_string());
        assert_eq!(header("event-type"), "OrderPaid");
        assert_eq!(header("schema-version"), "1");
        assert_eq!(header("correlation-id"), "7");
        assert_eq!(header("causation-id"), "request");
        assert_eq!(header("occurred-at"), event.occurred_at_ms.to_string());
        assert_eq!(header("traceparent"), event.traceparent.unwrap());
    }

    #[test]
    fn a_record_with_a_missing_or_unreadable_part_is_no_event() {
        let whole = Record::from(&event());
        for name in [
            "event-id",
            "event-type",
            "schema-version",
            "correlation-id",
            "causation-id",
            "occurred-at",
        ] {
            let mut record = whole.clone();
            record.headers.retain(|(known, _)| known != name);
            assert_eq!(record.read(), Err(WireError::Missing(name)));
        }
        for name in ["event-id", "schema-version", "occurred-at"] {
            let mut record = whole.clone();
            record.headers.retain(|(known, _)| known != name);
            record.headers.push((name.to_owned(), b"x".to_vec()));
            assert!(matches!(
                record.read(),
                Err(WireError::Unreadable { name: told, .. }) if told == name
            ));
        }
        let mut record = whole;
        record.payload = vec![0xff];
        assert_eq!(record.read(), Err(WireError::NotText("payload")));
    }

    #[test]
    fn a_dead_letter_keeps_everything_and_tells_why() {
        let record = Record::from(&event());
        let letter = record.clone().into_dead_letter("no such dish");
        assert_eq!(
            letter.header(DEAD_LETTER_REASON),
            Some(&b"no such dish"[..])
        );
        assert_eq!(letter.key, record.key);
        assert_eq!(letter.payload, record.payload);
        assert_eq!(letter.headers[..record.headers.len()], record.headers);
    }
}
