//! A Kubernetes cluster in one process, in memory, for one machine.
//!
//! It serves the part of the Kubernetes API which `kubectl` and kube-rs need,
//! and keeps to the real semantics wherever these decide whether a request to a
//! pod succeeds. It knows nothing of the rest of Holdfast.

mod api;
mod cause;
mod clock;
mod controllers;
mod custom;
mod events;
mod images;
mod local_cluster;
mod managed_fields;
mod metrics;
mod node;
mod object;
mod patch;
pub mod pod_shim;
mod proxy;
mod quality_of_service;
mod quantity;
mod selector;
mod store;
mod subnet;

pub use controllers::AutoscalingOptions;
pub use images::{ImageMap, Program, ProgramError};
pub use local_cluster::{LocalCluster, Options, StartError};
pub use patch::strategic_merge;
pub use proxy::{Backend, ServiceRoutes};
pub use store::Holdings;
