//! The one loop: carries out a plan with drivers, and guarantees that what was broken is put back.
//!
//! It knows no Kubernetes, no HTTP and no terminal. Drivers do the work and send
//! [`Event`](holdfast_core::event::Event)s; the loop stamps them, folds them into the record and
//! hands each to the sink.

mod asking;
pub mod drivers;
mod faults;
mod guard;
mod load;
mod run;
mod stop_condition;

pub use drivers::{
    Because, ConditionReader, ConditionReaderError, Drivers, Events, FaultDriver, FaultDriverError,
    HttpAnswer, HttpClient, HttpClientError, LoadDriver, LoadDriverError, NoConditions, NoFaults,
    NoHttp, NoObserver, Observer,
};
pub use run::run;
