//! The Kubernetes side of a run: faults with their undo ledger, and what is watched from outside.
//!
//! Everything goes through [`kube::Client`]; nothing here knows which kind of cluster answers.
//!
//! * [`KubeFaults`] brings faults about and undoes them (one file per fault in `kinds`);
//! * [`KubeObserver`] reports endpoints and circuit breakers of the target Service.

mod driver;
mod error;
mod kinds;
mod ledger;
mod observer;

pub use driver::{CHAOS_LABEL, KubeFaults};
pub use observer::KubeObserver;
