//! The Kubernetes side of a run: faults, their controller, and what is watched from outside.
//!
//! Everything goes through [`kube::Client`]; nothing here knows which kind of cluster answers.
//!
//! ```text
//! fault ─kinds→ blueprint (actions as data, targets) ─safety, locks→ recorded in a FaultInjection
//!       ─controller→ injected, evidence ─controller→ reverted, evidence
//! ```
//!
//! * [`client`] makes the client for it;
//! * [`KubeFaults`] is the loop's driver: it makes a [`FaultInjection`] and waits;
//! * [`Planner`] says what a fault would do, and changes nothing;
//! * [`Controller`] brings FaultInjections about and undoes them;
//! * [`KubeObserver`] reports endpoints and circuit breakers of the target Service;
//! * [`KubeConditions`] reads the conditions of single objects, and the health of the cluster, for
//!   stop conditions;
//! * [`Http`] asks services and other addresses for invariants and stop conditions;
//! * [`check_cluster`] holds an experiment to the cluster it names.

mod action;
mod blueprint;
mod client;
mod cluster_lock;
mod conditions;
mod controller;
mod driver;
mod error;
mod field;
mod halt;
mod http;
mod injection;
mod install;
mod kinds;
mod lease;
mod lock;
mod object;
mod observer;
mod overdue;
mod plan;
mod pods;
mod recover;
mod rules;
mod safety;
mod undo;

pub use action::RUN_LABEL;
pub use client::client;
pub use cluster_lock::{ClusterLockError, check_cluster};
pub use conditions::{KubeConditions, READYZ};
pub use controller::Controller;
pub use driver::KubeFaults;
pub use error::{FaultError, gone_is_done};
pub use halt::{HALT_NAME, HALT_NAMESPACE, halt, halted, resume};
pub use http::{Addresses, Http};
pub use injection::{
    FaultInjection, FaultInjectionSpec, FaultInjectionStatus, Phase, anything, anything_many,
};
pub use install::{definitions, install};
pub use observer::KubeObserver;
pub use overdue::undo_overdue;
pub use plan::{Affected, Effect, Planner};
pub use recover::{Found, found, is_wanted, recover};
pub use rules::{Rule, reading, reading_health, rules};
pub use safety::CHAOS_LABEL;
