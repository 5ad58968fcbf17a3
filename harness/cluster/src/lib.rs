//! A Kubernetes cluster in one process, in memory, for one machine.
//!
//! It serves the part of the Kubernetes API which `kubectl` and kube-rs need,
//! and keeps to the real semantics wherever these decide whether a request to a
//! pod succeeds. It knows nothing of the rest of Holdfast.

mod clock;
mod events;
mod object;
mod store;
