//! The Kubernetes side of a run: faults, their controller, and what is watched from outside.
//!
//! Everything goes through [`kube::Client`]; nothing here knows which kind of cluster answers.
//!
//! ```text
//! fault ─kinds→ blueprint (actions as data, targets) ─safety, locks→ recorded in a FaultInjection
//!       ─controller→ injected, evidence ─controller→ reverted, evidence
//! ```
//!
//! * [`KubeFaults`] is the loop's driver: it makes a [`FaultInjection`] and waits;
//! * [`Controller`] brings FaultInjections about and undoes them;
//! * [`KubeObserver`] reports endpoints and circuit breakers of the target Service.

mod action;
mod blueprint;
mod controller;
mod driver;
mod error;
mod field;
mod halt;
mod injection;
mod install;
mod kinds;
mod lease;
mod lock;
mod object;
mod observer;
mod pods;
mod recover;
mod safety;

pub use action::Rule;
pub use controller::Controller;
pub use driver::{Effect, KubeFaults};
pub use error::FaultError;
pub use halt::{HALT_NAME, HALT_NAMESPACE, halt, halted, resume};
pub use injection::{FaultInjection, FaultInjectionSpec, FaultInjectionStatus};
pub use install::{definitions, install};
pub use observer::KubeObserver;
pub use recover::{Found, found, is_wanted, recover};
pub use safety::CHAOS_LABEL;
