//! The Kubernetes side of a run: faults with their undo ledger, and what is watched from outside.
//!
//! Everything goes through [`kube::Client`]; nothing here knows which kind of cluster answers.
//!
//! * [`KubeFaults`] brings faults about and undoes them (one file per fault in `kinds`);
//! * [`KubeObserver`] reports endpoints and circuit breakers of the target Service;
//! * [`Http`] asks services and other addresses for invariants and stop conditions;
//! * [`check_cluster`] holds an experiment to the cluster it names.

mod cluster_lock;
mod driver;
mod error;
mod http;
mod kinds;
mod ledger;
mod observer;

pub use cluster_lock::{ClusterLockError, check_cluster};
pub use driver::{CHAOS_LABEL, KubeFaults};
pub use http::{Addresses, Http};
pub use observer::KubeObserver;
