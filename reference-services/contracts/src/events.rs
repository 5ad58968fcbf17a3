//! What is agreed on events, as they are on the wire.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use service_kit::events::wire::Record;
use service_kit::events::{Event, EventId, Handler};

use crate::breach::Breach;
use crate::members::Members;

const EVENT_TYPE: &str = "event-type";

/// What a consumer reads of the events of a topic.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Events {
    pub topic: String,
    /// The member of each payload that is the key, too: events with the same one stay in order.
    keyed_by: String,
    headers: Members,
    types: BTreeMap<String, EventType>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventType {
    effect: String,
    payload: Members,
}

/// What a consumer reads of one type of event.
#[derive(Clone, Debug)]
pub struct EventTerms {
    pub kind: String,
    /// What the event means to the consumer.
    pub effect: String,
    keyed_by: String,
    headers: Members,
    payload: Members,
}

impl Events {
    /// The terms of each type.
    pub fn terms(&self) -> Vec<EventTerms> {
        let types = self.types.iter();
        types
            .map(|(kind, EventType { effect, payload })| EventTerms {
                kind: kind.clone(),
                effect: effect.clone(),
                keyed_by: self.keyed_by.clone(),
                headers: self.headers.clone(),
                payload: payload.clone(),
            })
            .collect()
    }

    /// A new event of this type.
    pub fn event(&self, kind: &str) -> Event {
        let mut terms = self.terms().into_iter();
        let terms = terms.find(|terms| terms.kind == kind);
        let example = terms.map(|terms| terms.example());
        let example = example.unwrap_or_else(|| panic!("no {kind} is in the contract"));
        let event = example.read().unwrap_or_else(|error| panic!("{error}"));
        let id = EventId::random();
        Event { id, ..event }
    }

    /// How what was told breaks the contract. There must be something of each type.
    pub fn check(&self, told: &[Record]) -> Vec<(String, Breach)> {
        let mut breaches = Vec::new();
        for terms in self.terms() {
            let is_it = |it: &&Record| it.header(EVENT_TYPE) == Some(terms.kind.as_bytes());
            let mut records = told.iter().filter(is_it).peekable();
            let found = match records.peek() {
                None => vec![Breach::NeverTold(terms.kind.clone())],
                Some(_) => records.flat_map(|it| terms.check(it)).collect(),
            };
            breaches.extend(found.into_iter().map(|it| (terms.kind.clone(), it)));
        }
        breaches
    }
}

impl EventTerms {
    /// How `record` breaks what was agreed.
    pub fn check(&self, record: &Record) -> Vec<Breach> {
        let mut breaches = self.headers.check(&headers(record));
        let Ok(Value::Object(payload)) = serde_json::from_slice(&record.payload) else {
            breaches.push(Breach::NotAnObject("payload"));
            return breaches;
        };
        breaches.extend(self.payload.check(&payload));
        let key = String::from_utf8_lossy(&record.key);
        if payload.get(&self.keyed_by) != Some(&Value::from(&*key)) {
            let wanted = format!("the {} of the payload", self.keyed_by);
            breaches.push(Breach::wrong("key", wanted, &*key));
        }
        breaches
    }

    /// The event in full.
    pub fn example(&self) -> Record {
        self.record(&self.headers.example(), &self.payload.example())
    }

    /// All that the consumer must understand.
    pub fn examples(&self) -> Vec<Record> {
        let payloads = self.payload.examples().into_iter();
        let payloads = payloads.map(|it| self.record(&self.headers.example(), &it));
        let headers = self.headers.examples().into_iter();
        let headers = headers.map(|it| self.record(&it, &self.payload.example()));
        payloads.chain(headers).collect()
    }

    /// What the consumer cannot understand because of a single difference, and that difference.
    pub fn broken(&self) -> Vec<(String, Record)> {
        let payloads = self.payload.broken().into_iter();
        let payloads = payloads.map(|(what, it)| (what, self.record(&self.headers.example(), &it)));
        let headers = self.headers.broken_texts().into_iter();
        let headers = headers.map(|(what, it)| (what, self.record(&it, &self.payload.example())));
        payloads.chain(headers).collect()
    }

    /// The broken events that `handler` takes all the same: it does not need of them what the contract
    /// asks for.
    pub async fn needless(&self, handler: &dyn Handler) -> Vec<String> {
        let mut needless = Vec::new();
        for (what, record) in self.broken() {
            if hear(&record, handler).await.is_ok() {
                needless.push(format!("{}: {what}", self.kind));
            }
        }
        needless
    }

    fn record(&self, headers: &Map<String, Value>, payload: &Map<String, Value>) -> Record {
        let bytes = |value: &Value| match value {
            Value::String(text) => text.clone().into_bytes(),
            other => other.to_string().into_bytes(),
        };
        let mut pairs = vec![(EVENT_TYPE.to_owned(), self.kind.clone().into_bytes())];
        pairs.extend(headers.iter().map(|(name, it)| (name.clone(), bytes(it))));
        Record {
            key: payload.get(&self.keyed_by).map(bytes).unwrap_or_default(),
            headers: pairs,
            payload: Value::from(payload.clone()).to_string().into_bytes(),
        }
    }
}

/// Gives `record` to `handler` as a bus does, and returns the event that it was.
pub async fn hear(record: &Record, handler: &dyn Handler) -> Result<Event, String> {
    let event = record.read().map_err(|error| error.to_string())?;
    let handled = handler.handle(&event).await;
    handled.map(|()| event).map_err(|error| error.to_string())
}

fn headers(record: &Record) -> Map<String, Value> {
    let headers = record.headers.iter();
    headers
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into()))
        .collect()
}
