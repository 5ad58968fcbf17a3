//! The conformance suite: what a Kubernetes cluster must do for its figures to be believed, as
//! checks that are written once and run against any cluster.
//!
//! Everything goes through [`kube::Client`]; nothing here knows which cluster answers, except for
//! the [`Bounds`] it is measured by. The programs in the pods are the [`victim`], whose behaviour
//! is scripted by its arguments and whose evidence is its log: that works wherever pods run.

mod check;
mod checks;
mod context;
mod journal;
mod kubectl;
mod report;
mod runner;
mod transcript;
mod value;
pub mod victim;

pub use check::{Check, Group};
pub use checks::all;
pub use context::{Bounds, Kubectl};
pub use report::{Report, Row, Verdict};
pub use runner::{Progress, RunError, Target, run};
