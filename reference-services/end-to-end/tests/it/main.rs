//! The services together, as processes that talk over HTTP and over the broker, and as manifests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod bad_input;
mod flow;
mod kills;
mod manifests;
mod replicas;
mod sessions;
mod traces;
