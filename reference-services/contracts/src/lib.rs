//! What each consumer needs of each provider, in one file per pair, written in the consumer's words.
//! Both sides are tested against the file, each among its own tests: the consumer is given every
//! answer and event that the file allows, the provider's own ones are held against it. Knows no
//! service.

mod breach;
mod events;
mod exchange;
mod members;

use std::path::Path;

use serde::Deserialize;

pub use self::breach::Breach;
pub use self::events::{EventTerms, Events, hear};
pub use self::exchange::{AnswerTerms, Exchange, RequestTerms};
pub use self::members::{Member, Members};

/// What a consumer needs of a provider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    pub consumer: String,
    pub provider: String,
    /// What the consumer asks for over HTTP.
    #[serde(default)]
    pub exchanges: Vec<Exchange>,
    /// What the consumer reads of the provider's events.
    pub events: Option<Events>,
}

impl Contract {
    /// What the contract says of events, which it must.
    pub fn events(&self) -> &Events {
        let Self {
            consumer, provider, ..
        } = self;
        let events = self.events.as_ref();
        events.unwrap_or_else(|| panic!("{consumer} needs no events of {provider}"))
    }
}

/// The contract of these two.
pub fn between(consumer: &str, provider: &str) -> Contract {
    some(|contract| contract.consumer == consumer && contract.provider == provider).remove(0)
}

/// The contracts in which `service` is the consumer.
pub fn of_consumer(service: &str) -> Vec<Contract> {
    some(|contract| contract.consumer == service)
}

/// The contracts in which `service` is the provider.
fn of_provider(service: &str) -> Vec<Contract> {
    some(|contract| contract.provider == service)
}

/// What others need of the events of `service`.
pub fn events_of(service: &str) -> Vec<Events> {
    let contracts = of_provider(service).into_iter();
    let events: Vec<Events> = contracts.filter_map(|it| it.events).collect();
    assert!(!events.is_empty(), "nobody needs its events");
    events
}

/// What others ask `service` for.
pub fn exchanges_of(service: &str) -> Vec<Exchange> {
    let contracts = of_provider(service).into_iter();
    let exchanges: Vec<Exchange> = contracts.flat_map(|it| it.exchanges).collect();
    assert!(!exchanges.is_empty(), "nobody asks it for anything");
    exchanges
}

/// A service that is in no contract would pass every test.
fn some(wanted: impl FnMut(&Contract) -> bool) -> Vec<Contract> {
    let contracts: Vec<Contract> = all().into_iter().filter(wanted).collect();
    assert!(!contracts.is_empty(), "there is no such contract");
    contracts
}

/// All contracts.
fn all() -> Vec<Contract> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = folder
        .read_dir()
        .unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let files = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
    files.map(|path| read(&path)).collect()
}

fn read(path: &Path) -> Contract {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let contract: Contract =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let name = format!("{}-{}", contract.consumer, contract.provider);
    assert_eq!(path.file_stem(), Some(name.as_ref()), "it has another name");
    contract
}

#[cfg(test)]
mod tests;
